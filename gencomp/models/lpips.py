"""LPIPS, the learned perceptual distance of Zhang et al. (2018), version 0.1, with its AlexNet backbone."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gencomp.models.features import MissingWeightsError

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""LPIPS' own normalisation of images in [-1, 1]."""
ALEXNET = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
"""Inputs, filters, size, stride and padding of conv1 to conv5."""
POOLED_BEFORE = (1, 2)
"""Indices of the convolutions that stand behind a 3x3 max pooling of stride 2."""


class LPIPS(nn.Module):
    """Distance of image pairs (N, 3, H, W) in [-1, 1] -> (N,), 0 for equal ones, seldom above 1; H, W >= 32.

    Per layer, features are scaled to unit length over channels, their squared difference is weighted by a learned
    head and averaged over positions; the layers are summed.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(i, k, n, stride=s, padding=p) for i, k, n, s, p in ALEXNET)
        self.heads = nn.ModuleList(nn.Conv2d(k, 1, 1, bias=False) for _, k, *_ in ALEXNET)
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor, x_hat: Tensor) -> Tensor:
        with torch.no_grad():
            targets = self._features(x)
        pairs = zip(self.heads, targets, self._features(x_hat), strict=True)
        return torch.stack([head((a - b).square()).mean((1, 2, 3)) for head, a, b in pairs]).sum(0)

    def _features(self, x: Tensor) -> list[Tensor]:
        x = (x - self.shift) / self.scale
        features: list[Tensor] = []
        for index, convolution in enumerate(self.convolutions):
            if index in POOLED_BEFORE:
                x = torch.max_pool2d(x, 3, stride=2)
            x = torch.relu(convolution(x))
            features.append(x * torch.rsqrt(x.square().sum(1, keepdim=True) + 1e-10))
        return features


def load_lpips(path: Path) -> LPIPS:
    """LPIPS with weights from a safetensors file. Raises MissingWeightsError when there is no such file."""
    if not path.is_file():
        raise MissingWeightsError(f"no LPIPS weights at {path}: run `gencomp weights fetch`, or set losses.lpips to 0")
    network = LPIPS()
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
