"""The training objective: eq. 6 of the paper with its feature-matching and VGG terms, and LPIPS.

    min over E, G, max over D of  E[f(D(x))] + E[g(D(x_hat))] + lambda E[d(x, x_hat)] + beta H(w_hat)

with x_hat = G(q(E(x))). beta is 0: the rate is bounded by dim(w_hat) log2(L) (eq. 5).
"""

from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, softplus

from gencomp.models.discriminator import Judgement
from gencomp.models.features import VGG19
from gencomp.models.lpips import LPIPS

Weight = Annotated[float, msgspec.Meta(ge=0)]


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Weights of the terms. The defaults are the paper's."""

    gan: Literal["least-squares", "vanilla"] = "least-squares"
    """f and g: (y - 1)^2 and y^2, or eq. 1's -log sigmoid(y) and -log(1 - sigmoid(y))."""
    adversarial: Weight = 1.0
    """Weight of the generator's adversarial term; 0 trains without D: the MSE baseline."""
    distortion: Weight = 10.0
    """lambda, weight of the mean squared error of images in [-1, 1]."""
    feature_matching: Weight = 10.0
    """Weight of the L1 distance of D's features."""
    vgg: Weight = 0.0
    """Weight of the L1 distance of VGG19 features; needs `vgg_weights`."""
    vgg_weights: str | None = None
    """Path of a safetensors file with torchvision's VGG19 weights."""
    lpips: Weight = 0.0
    """Weight of LPIPS (AlexNet); needs `lpips_weights`."""
    lpips_weights: str | None = None
    """Path of a safetensors file with the weights of LPIPS."""

    def __post_init__(self) -> None:
        if self.vgg and self.vgg_weights is None:
            raise ValueError("vgg > 0 needs vgg_weights, the path of VGG19's weights")
        if self.lpips and self.lpips_weights is None:
            raise ValueError("lpips > 0 needs lpips_weights, the path of its weights")
        if self.feature_matching and not self.adversarial:
            raise ValueError("feature_matching > 0 needs adversarial > 0, since it reads D's features")


class GeneratorLoss(NamedTuple):
    """The weighted terms that E and G minimise, each a scalar; `total` is their sum."""

    total: Tensor
    distortion: Tensor
    adversarial: Tensor
    feature_matching: Tensor
    vgg: Tensor
    lpips: Tensor


def f(y: Tensor, gan: str) -> Tensor:
    """What D pays for a score y on what should look real: (y - 1)^2, or -log sigmoid(y)."""
    return (y - 1).square() if gan == "least-squares" else softplus(-y)


def g(y: Tensor, gan: str) -> Tensor:
    """What D pays for a score y on a reconstruction: y^2, or -log(1 - sigmoid(y))."""
    return y.square() if gan == "least-squares" else softplus(y)


def discriminator_loss(real: list[Judgement], fake: list[Judgement], gan: str) -> Tensor:
    """E[f(D(x))] + E[g(D(x_hat))], summed over the scales of D."""
    terms = [f(r.scores, gan).mean() + g(h.scores, gan).mean() for r, h in zip(real, fake, strict=True)]
    return torch.stack(terms).sum()


def adversarial_loss(fake: list[Judgement], gan: str) -> Tensor:
    """E[f(D(x_hat))] summed over scales: the non-saturating form, G is paid for scores that look real."""
    return torch.stack([f(h.scores, gan).mean() for h in fake]).sum()


def feature_matching_loss(real: list[Judgement], fake: list[Judgement]) -> Tensor:
    """(4 / (layers + 1)) (1 / scales) sum of L1(D_k(x), D_k(x_hat)) over layers and scales, as in pix2pixHD.

    `layers` counts the strided convolutions, one less than the feature maps of a scale.
    """
    terms = [
        4.0 / len(r.features) / len(real) * l1_loss(b, a.detach())
        for r, h in zip(real, fake, strict=True)
        for a, b in zip(r.features, h.features, strict=True)
    ]
    return torch.stack(terms).sum()


VGG_LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""For relu1_1 to relu5_1, as in pix2pixHD."""


def vgg_loss(x: Tensor, x_hat: Tensor, network: VGG19) -> Tensor:
    """Weighted L1 distance of VGG19 features of images (N, 3, H, W) in [-1, 1]."""
    with torch.no_grad():
        targets = network(x)
    terms = [weight * l1_loss(b, a) for weight, a, b in zip(VGG_LAYER_WEIGHTS, targets, network(x_hat), strict=True)]
    return torch.stack(terms).sum()


LPIPS_GRID = 16
"""Pixels within which LPIPS looks from shifting origins. AlexNet steps by 4 and more: seen always from the same origin,
a generator learns a grid that LPIPS does not mind and the eye does."""


def lpips_loss(x: Tensor, x_hat: Tensor, network: LPIPS, origin: tuple[int, int]) -> Tensor:
    """Mean LPIPS of images (N, 3, H, W) in [-1, 1], cut at the row and column of `origin`, each below LPIPS_GRID."""
    top, left = origin
    distances: Tensor = network(x[..., top:, left:], x_hat[..., top:, left:])
    return distances.mean()


class Perceptual(NamedTuple):
    """The networks behind the perceptual terms; None where the term is off."""

    vgg: VGG19 | None = None
    lpips: LPIPS | None = None


def generator_loss(
    x: Tensor,
    x_hat: Tensor,
    real: list[Judgement],
    fake: list[Judgement],
    config: LossConfig,
    perceptual: Perceptual,
    origin: tuple[int, int] = (0, 0),
) -> GeneratorLoss:
    """lambda d(x, x_hat) + E[f(D(x_hat))] + FM + VGG + LPIPS, each with its weight; without judgements, no D terms."""
    zero = x.new_zeros(())
    distortion = config.distortion * mse_loss(x_hat, x)
    adversarial = config.adversarial * adversarial_loss(fake, config.gan) if fake else zero
    matching = config.feature_matching * feature_matching_loss(real, fake) if fake else zero
    vgg = config.vgg * vgg_loss(x, x_hat, perceptual.vgg) if perceptual.vgg else zero
    lpips = config.lpips * lpips_loss(x, x_hat, perceptual.lpips, origin) if perceptual.lpips else zero
    total = distortion + adversarial + matching + vgg + lpips
    return GeneratorLoss(total, distortion, adversarial, matching, vgg, lpips)
