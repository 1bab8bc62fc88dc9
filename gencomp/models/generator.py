"""The generator G of global generative compression (GC), section 5.3 and appendix of the paper."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from gencomp.models.blocks import Layers, Norm, R, c3s1, linear, u
from gencomp.models.latent import Fill, assembled


class Generator(nn.Module):
    """G: c3s1-960, R960 x 9, u480, u240, u120, u60, c7s1-3 for width 60; tanh alone ends it.

    w_hat (N, channels, h, w), one center per element -> x_hat (N, 3, h * stride, w * stride) in [-1, 1]; h, w >= 2.
    With `fill`, the first channels alone will do; `channels` counts those of noise v too.
    """

    def __init__(
        self, width: int, downsamplings: int, blocks: int, channels: int, norm: Norm, fill: Fill | None = None
    ) -> None:
        super().__init__()
        self.fill = fill
        widths = [width * 2**i for i in reversed(range(downsamplings + 1))]
        self.layers = Layers(
            c3s1(channels, widths[0], norm),
            *(R(widths[0], norm) for _ in range(blocks)),
            *(u(inputs, k, norm) for inputs, k in pairwise(widths)),
            linear(width, 3, 7),
        )

    def forward(self, w_hat: Tensor, coded: Tensor | None = None, v: Tensor | None = None) -> Tensor:
        return torch.tanh(self.layers(assembled(w_hat, self.fill, coded, v)))  # (N, 3, H, W)
