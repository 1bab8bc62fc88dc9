"""The blocks of the paper's notation: c7s1-k, dk, Rk and uk, after Johnson et al. and pix2pixHD.

Each is a convolution with reflection padding, then a normalisation and ReLU.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Norm = Callable[[int], nn.Module]
"""Makes the normalisation behind a convolution with k filters: `nn.InstanceNorm2d` in the paper, or ChannelNorm."""


class ChannelNorm(nn.Module):
    """Divides each pixel by the root mean square of its channels: scale_c x / sqrt(mean_c x^2 + 1e-6), scale learned.

    It reads no statistics of the picture, so brightness and colour pass through and tiles agree with the whole.
    """

    def __init__(self, k: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(k, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6) * self.scale


class Layers(nn.Sequential):
    """Layers in a row, which can trade time for memory: with `checkpointing`, training keeps only what goes into each
    layer and computes the rest again on the way back. The gradients are the same."""

    checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = checkpoint(layer, x, use_reentrant=False) if self.checkpointing and self.training else layer(x)
        return x


def c7s1(inputs: int, k: int, norm: Norm) -> nn.Sequential:
    """`c7s1-k`: 7x7, stride 1, k filters. (N, inputs, H, W) -> (N, k, H, W); H, W > 3."""
    return _normalised(_convolution(inputs, k, 7), norm(k))


def c3s1(inputs: int, k: int, norm: Norm) -> nn.Sequential:
    """`c3s1-k`: 3x3, stride 1, k filters. (N, inputs, H, W) -> (N, k, H, W); H, W > 1."""
    return _normalised(_convolution(inputs, k, 3), norm(k))


def d(inputs: int, k: int, norm: Norm) -> nn.Sequential:
    """`dk`: 3x3, stride 2, k filters. (N, inputs, H, W) -> (N, k, H/2, W/2)."""
    return _normalised(_convolution(inputs, k, 3, stride=2), norm(k))


def u(inputs: int, k: int, norm: Norm) -> nn.Sequential:
    """`uk`: 3x3, fractionally strided by 1/2, k filters. (N, inputs, H, W) -> (N, k, 2H, 2W)."""
    return _normalised(nn.ConvTranspose2d(inputs, k, 3, stride=2, padding=1, output_padding=1), norm(k))


def linear(inputs: int, k: int, size: int) -> nn.Conv2d:
    """A size x size convolution without normalisation or activation, for the ends of the networks.

    The bottleneck must be linear: behind a ReLU the negative centers would never be used.
    """
    return _convolution(inputs, k, size)


class R(nn.Module):
    """`Rk`: residual block of two 3x3 convolutions with k filters. (N, k, H, W) -> (N, k, H, W)."""

    def __init__(self, k: int, norm: Norm) -> None:
        super().__init__()
        self.inner = nn.Sequential(*c3s1(k, k, norm), _convolution(k, k, 3), norm(k))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.inner(x)
        return x + residual


def _normalised(convolution: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


def _convolution(inputs: int, k: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, k, size, stride=stride, padding=size // 2, padding_mode="reflect")
