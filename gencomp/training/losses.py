"""The training objective: eq. 6 of the paper with its feature-matching and VGG terms, LPIPS and DISTS.

    min over E, G, max over D of  E[f(D(x))] + E[g(D(x_hat))] + lambda E[d(x, x_hat)] + beta H(w_hat)

with x_hat = G(q(E(x))). The paper's beta is 0: the rate is bounded by dim(w_hat) log2(L) (eq. 5).
"""

from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss, softplus

from gencomp.models.discriminator import Judgement
from gencomp.models.dists import DISTS
from gencomp.models.features import VGG19
from gencomp.models.lpips import LPIPS
from gencomp.models.quantizer import Quantizer
from gencomp.models.transform import LATENT_STD

Weight = Annotated[float, msgspec.Meta(ge=0)]


class LossConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Weights of the terms. By default lambda is the paper's and feature matching is weighed as in pix2pixHD, without
    VGG; `profiles/paper-*.yaml` have those of the paper's runs."""

    gan: Literal["least-squares", "vanilla"] = "least-squares"
    """f and g: (y - 1)^2 and y^2, or eq. 1's -log sigmoid(y) and -log(1 - sigmoid(y))."""
    adversarial: Weight = 1.0
    """Weight of the generator's adversarial term; 0 trains without D: the MSE baseline."""
    distortion: Weight = 10.0
    """lambda, weight of the mean squared error of images in [-1, 1]."""
    feature_matching: Weight = 10.0
    """Weight of the L1 distance of D's features."""
    vgg: Weight = 0.0
    """Weight of the L1 distance of VGG19 features; needs `gencomp weights fetch`, unless 0."""
    vgg_network: Literal["vgg19", "vgg19-torchvision"] = "vgg19"
    """Its weights: those of VGG's authors with normalised filters, or torchvision's, as in pix2pixHD."""
    spread: Weight = 0.0
    """Weight of what keeps the latent spread over the centers of each channel."""
    beta: Weight = 0.0
    """Weight of the entropy of what w_hat codes, bits per symbol; 0 leaves the rate to its bound, as the paper does."""
    rate: Weight = 0.0
    """Weight of what the context network of `init` charges for w_hat, bits per symbol; goes with `part: encoder`."""
    lpips: Weight = 0.0
    """Weight of LPIPS (AlexNet); needs `gencomp weights fetch`, unless 0."""
    lpips_vgg: Weight = 0.0
    """Weight of LPIPS (VGG16); needs `gencomp weights fetch`, unless 0."""
    dists: Weight = 0.0
    """Weight of DISTS; needs `gencomp weights fetch`, unless 0."""
    vgg16_images: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """DISTS and LPIPS (VGG16) look at so many images of a batch, the first, since they cost more than everything else;
    none: at all."""
    vgg16_turns: bool = False
    """DISTS in even steps alone and LPIPS (VGG16) in odd ones, each with its weight."""

    def __post_init__(self) -> None:
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
    lpips_vgg: Tensor
    dists: Tensor
    spread: Tensor
    entropy: Tensor
    rate: Tensor


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


def masked_mse(x: Tensor, x_hat: Tensor, m: Tensor) -> Tensor:
    """d(x, x_hat) of selective compression: the mean squared error over the batch's preserved pixels, 0 without any.

    x, x_hat (N, 3, H, W); m (N, 1, H, W), 1 where preserved, else 0. Feature matching and VGG stay unmasked.
    """
    return (m * (x - x_hat).square()).sum() / (3 * m.sum()).clamp(min=1)


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


def mean_distance(x: Tensor, x_hat: Tensor, network: LPIPS | DISTS, origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Mean LPIPS or DISTS of images (N, 3, H, W) in [-1, 1], cut at the row and column of `origin`."""
    top, left = origin
    distances: Tensor = network(x[..., top:, left:], x_hat[..., top:, left:])
    return distances.mean()


def spread_loss(w: Tensor) -> Tensor:
    """How far the channels of w (N, C, h, w) are from mean 0 and standard deviation LATENT_STD, mean over channels.

    An encoder gains by larger latents, which shout down the noise of an untrained generator, until most of them lie
    beyond the outermost centers, where no gradient comes back and a symbol carries one bit.
    """
    channels = w.float().transpose(0, 1).flatten(1)  # (C, N h w)
    return (channels.mean(1).square() + (channels.std(1) - LATENT_STD).square()).mean()


def entropy_estimate(assignments: Tensor, coded: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
    """H(w_hat), bits per symbol: the entropy of the centers' shares in each channel, mean over the channels.

    `assignments` (N, C, h, w, L): q's soft assignments, whose mean over a batch is a differentiable stand-in for the
    shares (Agustsson et al. 2017). It is what the static tables' coder pays. `coded` (N,): the first so many channels
    of an image are coded, and its mean is over those; none: all are. A bit then weighs the less the more of them an
    image has, as it should where quality falls with the logarithm of the rate. `kept` (N, 1, h, w), of SC: 1 where
    symbols are coded, else 0; the shares are of those.
    """
    if kept is None:
        shares = assignments.float().mean((0, 2, 3))  # (C, L)
    else:
        shares = (assignments.float() * kept.unsqueeze(-1)).sum((0, 2, 3)) / kept.sum().clamp(min=1)
    bits = -(shares * shares.clamp(min=1e-9).log2()).sum(1)  # (C,)
    return _mean_of_coded(bits.expand(len(assignments), -1), coded)


def charged_bits(assignments: Tensor, prices: Tensor, coded: Tensor | None = None) -> Tensor:
    """What a coder charges for w_hat, bits per symbol, by q's soft assignments.

    `assignments` and `prices`, the bits that each center would cost, (N, C, h, w, L); `coded` as `entropy_estimate` has
    it. Where prices hang on neighbouring symbols differentiably, so does the result.
    """
    bits = (assignments.float() * prices).sum(-1).mean((2, 3))  # (N, C)
    return _mean_of_coded(bits, coded)


def _mean_of_coded(bits: Tensor, coded: Tensor | None) -> Tensor:
    """The mean of bits per channel (N, C) over each image's coded channels, then over images."""
    if coded is None:
        return bits.mean()
    return (bits.cumsum(1).gather(1, coded[:, None] - 1)[:, 0] / coded).mean()


class Perceptual(NamedTuple):
    """The networks behind the perceptual terms; None where the term is off."""

    vgg: VGG19 | None = None
    lpips: LPIPS | None = None
    lpips_vgg: LPIPS | None = None
    dists: DISTS | None = None

    def taking_turns(self, step: int) -> "Perceptual":
        """Of DISTS and LPIPS (VGG16), only the one whose turn it is in step number `step`."""
        return self._replace(lpips_vgg=None) if step % 2 == 0 else self._replace(dists=None)


class Decoded(NamedTuple):
    """What the generator's loss is computed from, beside D's judgements."""

    x: Tensor
    """The image, (N, 3, H, W) in [-1, 1]."""
    x_hat: Tensor
    """Its reconstruction."""
    w: Tensor
    """The latent before q, (N, C, h, w)."""
    m: Tensor | None = None
    """SC: (N, 1, H, W), 1 where preserved, to which the distortion is restricted."""
    coded: Tensor | None = None
    """Nested channels: (N,) int64, the first so many channels of each image are coded."""
    prices: Tensor | None = None
    """Bits that each center would cost, (N, C, h, w, L), where the rate has a weight."""
    kept: Tensor | None = None
    """SC: (N, 1, h, w), 1 where symbols are coded, else 0."""


def generator_loss(
    decoded: Decoded,
    real: list[Judgement],
    fake: list[Judgement],
    config: LossConfig,
    perceptual: Perceptual,
    quantizer: Quantizer,
    origin: tuple[int, int] = (0, 0),
) -> GeneratorLoss:
    """lambda d(x, x_hat) + E[f(D(x_hat))] + FM + VGG + LPIPS + DISTS + beta H(w_hat) + rate, each with its weight.

    Without judgements, no D terms. `origin`: where LPIPS starts to look.
    """
    x, x_hat, w, m, coded, prices, kept = decoded
    seen, vgg16 = config.vgg16_images, perceptual.lpips_vgg
    zero = x.new_zeros(())
    terms = GeneratorLoss(
        total=zero,
        distortion=config.distortion * (mse_loss(x_hat, x) if m is None else masked_mse(x, x_hat, m)),
        adversarial=config.adversarial * adversarial_loss(fake, config.gan) if fake else zero,
        feature_matching=config.feature_matching * feature_matching_loss(real, fake) if fake else zero,
        vgg=config.vgg * vgg_loss(x, x_hat, perceptual.vgg) if perceptual.vgg else zero,
        lpips=config.lpips * mean_distance(x, x_hat, perceptual.lpips, origin) if perceptual.lpips else zero,
        lpips_vgg=config.lpips_vgg * mean_distance(x[:seen], x_hat[:seen], vgg16) if vgg16 else zero,
        dists=config.dists * mean_distance(x[:seen], x_hat[:seen], perceptual.dists) if perceptual.dists else zero,
        spread=config.spread * spread_loss(w) if config.spread else zero,
        entropy=config.beta * entropy_estimate(quantizer.assign(w), coded, kept) if config.beta else zero,
        rate=zero if prices is None else config.rate * charged_bits(quantizer.assign(w), prices, coded),
    )
    return terms._replace(total=torch.stack(terms[1:]).sum())
