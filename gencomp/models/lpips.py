"""LPIPS, the learned perceptual distance of Zhang et al. (2018), version 0.1, with AlexNet or VGG16 behind it."""

from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp.models import vgg16

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""LPIPS' own normalisation of images in [-1, 1]."""
ALEXNET = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
VGG16 = tuple((i, k, 3, 1, 1) for i, k in pairwise((3, *vgg16.WIDTHS)))
"""Inputs, filters, size, stride and padding of every convolution."""


SMALLEST_SIDE = 32
"""Pixels, of what is compared."""


class Backbone(NamedTuple):
    """A network whose features are compared."""

    convolutions: tuple[tuple[int, int, int, int, int], ...]
    pooled_before: tuple[int, ...]
    """Indices of the convolutions that stand behind a max pooling of stride 2."""
    pooling: int
    """Its side."""
    taps: tuple[int, ...]
    """Indices of the convolutions whose ReLU outputs are compared."""


Name = Literal["alex", "vgg"]
BACKBONES: dict[Name, Backbone] = {
    "alex": Backbone(ALEXNET, (1, 2), 3, (0, 1, 2, 3, 4)),
    "vgg": Backbone(VGG16, vgg16.POOLED_BEFORE, 2, vgg16.TAPS),
}


class LPIPS(nn.Module):
    """Distance of image pairs (N, 3, H, W) in [-1, 1] -> (N,), 0 for equal ones, seldom above 1; H, W >= SMALLEST_SIDE.

    Per layer, features are scaled to unit length over channels, their squared difference is weighted by a learned
    head and averaged over positions; the layers are summed.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Name = "alex") -> None:
        super().__init__()
        layers, self.pooled_before, self.pooling, self.taps = BACKBONES[backbone]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, k, n, stride=s, padding=p) for i, k, n, s, p in layers)
        self.heads = nn.ModuleList(nn.Conv2d(layers[tap][1], 1, 1, bias=False) for tap in self.taps)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self.features(x)
        return self.distance(targets, self.features(x_hat))

    def distance(self, targets: list[Tensor], features: list[Tensor]) -> Tensor:
        """Of pictures (N, 3, H, W) whose features are known -> (N,)."""
        pairs = zip(self.heads, targets, features, strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in pairs]).sum(0)

    def features(self, x: Tensor, first: Tensor | None = None) -> list[Tensor]:
        """What is compared of pictures (N, 3, H, W) in [-1, 1]: one (N, C, h, w) per layer, of unit length over C.
        `first`: what `first_block` says of them, where that is known."""
        x = self.first_block(x) if first is None else first
        features = [_of_unit_length(x)]
        for index in range(self.taps[0] + 1, len(self.convolutions)):
            if index in self.pooled_before:
                x = torch.max_pool2d(x, self.pooling, stride=2)
            x = torch.relu_(self.convolutions[index](x))
            if index in self.taps:
                features.append(_of_unit_length(x))
        return features

    def first_block(self, x: Tensor) -> Tensor:
        """The first layer that is compared, as it is, of pictures (N, 3, H, W) in [-1, 1]."""
        return vgg16.block((x - self.shift) / self.scale, self.convolutions[: self.taps[0] + 1])


def _of_unit_length(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-10)


def load_lpips(path: Path, backbone: Name = "alex") -> LPIPS:
    """LPIPS with weights from a safetensors file, tensors `convolutions.<i>.{weight,bias}` and `heads.<i>.weight`, as
    `gencomp weights` makes them. Raises FileNotFoundError."""
    network = LPIPS(backbone)
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
