"""DISTS, the distance of structure and texture of Ding et al. (2020), which forgives texture that is only resampled."""

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import conv2d

from gencomp.models.features import IMAGENET_MEAN, IMAGENET_STD
from gencomp.models.vgg16 import POOLED_BEFORE, TAPS, WIDTHS, block

CHANNELS = (3, *(WIDTHS[tap] for tap in TAPS))
"""Of the image and of the five feature maps behind it."""
HANN = (0.25, 0.5, 0.25)
"""The inner part of the Hann window of five that pooling blurs with, along rows and along columns."""
EPSILON = 1e-6
"""c1 and c2, which keep the similarities of flat maps at 1."""


class DISTS(nn.Module):
    """Distance of image pairs (N, 3, H, W) in [-1, 1] -> (N,), 0 for equal ones, below 1; H, W >= 16.

    1 - sum over channels of alpha l + beta s with, for a channel of the image or of VGG16's feature maps,

        l = (2 mean(x) mean(y) + c1) / (mean(x)^2 + mean(y)^2 + c1)
        s = (2 cov(x, y) + c2) / (var(x) + var(y) + c2)

    alpha and beta are learned and sum to 1. VGG16 pools by the root of a blurred square instead of the maximum.
    """

    mean: Tensor
    std: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, k, 3, padding=1) for i, k in pairwise((3, *WIDTHS)))
        self.alpha = nn.Parameter(torch.full((sum(CHANNELS),), 0.1))
        self.beta = nn.Parameter(torch.full((sum(CHANNELS),), 0.1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.register_buffer("window", torch.outer(*2 * [torch.tensor(HANN)]), persistent=False)

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self.features(x)
        return self.distance(targets, self.features(x_hat))

    def distance(self, targets: list[Tensor], features: list[Tensor]) -> Tensor:
        """Of pictures (N, 3, H, W) whose features are known -> (N,)."""
        total = self.alpha.sum() + self.beta.sum()
        alphas, betas = (self.alpha / total).split(CHANNELS), (self.beta / total).split(CHANNELS)
        layers = zip(alphas, betas, targets, features, strict=True)
        return 1 - torch.stack([_similarity(*layer) for layer in layers]).sum(0)

    def features(self, x: Tensor, first: Tensor | None = None) -> list[Tensor]:
        """Of pictures in [-1, 1]: themselves in [0, 1] and relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3. `first`:
        what `first_block` says of them, where that is known."""
        image = (x + 1) / 2
        x = self.first_block(x) if first is None else first
        features = [image, x]
        for index in range(TAPS[0] + 1, len(self.convolutions)):
            if index in POOLED_BEFORE:
                x = self._pooled(x)
            x = torch.relu_(self.convolutions[index](x))
            if index in TAPS:
                features.append(x)
        return features

    def first_block(self, x: Tensor) -> Tensor:
        """relu1_2 of pictures (N, 3, H, W) in [-1, 1]."""
        return block(((x + 1) / 2 - self.mean) / self.std, self.convolutions[: TAPS[0] + 1])

    def _pooled(self, x: Tensor) -> Tensor:
        """sqrt(window * x^2), (N, C, H, W) -> (N, C, ceil(H/2), ceil(W/2))."""
        channels = x.shape[1]
        window = self.window.expand(channels, 1, 3, 3)
        return (conv2d(x.square(), window, stride=2, padding=1, groups=channels) + 1e-12).sqrt()


def _similarity(alpha: Tensor, beta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """sum over channels of alpha l + beta s for feature maps (N, C, H, W) -> (N,)."""
    x, y = x.float(), y.float()
    mean_x, mean_y = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
    dx, dy = x - mean_x, y - mean_y
    covariance, variances = (dx * dy).mean((2, 3)), dx.square().mean((2, 3)) + dy.square().mean((2, 3))
    squares = mean_x.square() + mean_y.square()
    luminance = ((2 * mean_x * mean_y + EPSILON) / (squares + EPSILON)).flatten(1)  # (N, C)
    structure = (2 * covariance + EPSILON) / (variances + EPSILON)  # (N, C)
    return (alpha * luminance + beta * structure).sum(1)


def load_dists(path: Path, backbone: Path) -> DISTS:
    """DISTS with alpha and beta from one safetensors file and VGG16 from that of LPIPS with VGG16, whose heads are
    passed over. Raises FileNotFoundError."""
    network = DISTS()
    convolutions = {name: t for name, t in load_file(backbone).items() if name.startswith("convolutions.")}
    network.load_state_dict(load_file(path) | convolutions)
    return network.eval().requires_grad_(False)
