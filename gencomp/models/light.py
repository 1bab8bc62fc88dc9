"""The light encoder and generator: for two CPU cores, with nothing that reads the size of the picture.

Heavy layers stand at strides 16 and 8, the picture enters and leaves by (un)shuffling pixels at stride 4, and the only
normalisation is per pixel over channels, so tiles agree with the whole. A block transform is their skeleton.
docs/log.md tells what was measured beside them.
"""

from typing import Annotated

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from gencomp.models.blocks import ChannelNorm, Layers
from gencomp.models.latent import Fill, assembled
from gencomp.models.transform import Analysis, Synthesis

Width = Annotated[int, msgspec.Meta(ge=4, le=1024)]
Blocks = Annotated[int, msgspec.Meta(ge=0, le=64)]
STRIDE = 16
PATCH = 4
"""Pixels along a side that one position at the finest stride stands for."""
RESIDUAL_GAIN = 0.2
"""Scale of a residual branch's last weights at the start, so that each block begins near the identity."""


class LightConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Filters and residual blocks of the light networks, in the order the picture passes them; by default those of the
    one that ships."""

    encoder: tuple[Width, Width, Width] = (48, 96, 160)
    """Filters of E at strides 4, 8 and 16."""
    encoder_blocks: tuple[Blocks, Blocks, Blocks] = (1, 2, 3)
    """Residual blocks of E at strides 4, 8 and 16."""
    generator: tuple[Width, Width, Width] = (192, 96, 48)
    """Filters of G at strides 16, 8 and 4."""
    generator_blocks: tuple[Blocks, Blocks, Blocks] = (5, 2, 2)
    """Residual blocks of G at strides 16, 8 and 4."""


class ResidualBlock(nn.Module):
    """x + conv(GELU(conv(ChannelNorm(x)))), 3x3 with k filters. (N, k, H, W) -> (N, k, H, W)."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(k)
        self.inner = nn.Conv2d(k, k, 3, padding=1, padding_mode="reflect")
        self.outer = nn.Conv2d(k, k, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.outer(gelu(self.inner(self.norm(x))))
        return x + residual


class LightEncoder(nn.Module):
    """E: (N, 3, H, W) in [-1, 1] -> w (N, channels, H/16, W/16); H and W multiples of 16. The last layer is linear.

    w is the block transform of x, and what the layers add to it.
    """

    def __init__(self, config: LightConfig, channels: int) -> None:
        super().__init__()
        fine, middle, coarse = config.encoder
        blocks = config.encoder_blocks
        self.analysis = Analysis(channels)
        self.layers = Layers(
            nn.PixelUnshuffle(PATCH),
            nn.Conv2d(3 * PATCH**2, fine, 3, padding=1, padding_mode="reflect"),
            *residual_blocks(fine, blocks[0]),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1, padding_mode="reflect"),
            *residual_blocks(middle, blocks[1]),
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1, padding_mode="reflect"),
            *residual_blocks(coarse, blocks[2]),
            ChannelNorm(coarse),
            nn.Conv2d(coarse, channels, 3, padding=1, padding_mode="reflect"),
        )

    def forward(self, x: Tensor) -> Tensor:
        w: Tensor = self.layers(x) + self.analysis(x)
        return w


class LightGenerator(nn.Module):
    """G: z (N, inputs, h, w) -> x_hat (N, 3, 16 h, 16 w) in [-1, 1].

    Of the inputs, the first `channels` are w_hat, of which with `fill` the first ones alone will do, and the others
    noise v. The picture is the inverse block transform of w_hat and what the layers add to it.
    """

    def __init__(self, config: LightConfig, inputs: int, channels: int, fill: Fill | None = None) -> None:
        super().__init__()
        self.fill = fill
        self.synthesis = Synthesis(channels)
        self.layers = light_generator_layers(config, inputs)

    def forward(self, w_hat: Tensor, coded: Tensor | None = None, v: Tensor | None = None) -> Tensor:
        z = assembled(w_hat, self.fill, coded, v)
        x_hat: Tensor = self.layers(z) + self.synthesis(z[:, : len(self.synthesis.weight)])
        return torch.tanh(x_hat)


def light_generator_layers(config: LightConfig, inputs: int) -> Layers:
    """(N, inputs, h, w) -> what is added to the inverse block transform, (N, 3, 16 h, 16 w)."""
    coarse, middle, fine = config.generator
    blocks = config.generator_blocks
    return Layers(
        nn.Conv2d(inputs, coarse, 3, padding=1, padding_mode="reflect"),
        *residual_blocks(coarse, blocks[0]),
        _doubled(coarse, middle),
        *residual_blocks(middle, blocks[1]),
        _doubled(middle, fine),
        *residual_blocks(fine, blocks[2]),
        ChannelNorm(fine),
        nn.Conv2d(fine, 3 * PATCH**2, 3, padding=1, padding_mode="reflect"),
        nn.PixelShuffle(PATCH),
    )


def initialise_light(network: nn.Module, generator: torch.Generator) -> None:
    """Weights uniform in +-1/sqrt(fan_in), biases zero; the last ones of a residual branch, and of what is added to a
    block transform, scaled down."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            bound = (module.weight[0].numel()) ** -0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        with torch.no_grad():
            if isinstance(module, ResidualBlock):
                _shrink(module.outer)
            elif isinstance(module, Synthesis):
                module.initialise()
            elif hasattr(module, "analysis") or hasattr(module, "synthesis"):
                assert isinstance(module.layers, Layers)
                _shrink([layer for layer in module.layers if isinstance(layer, nn.Conv2d)][-1])


def _shrink(convolution: nn.Module) -> None:
    assert isinstance(convolution, nn.Conv2d)
    convolution.weight.mul_(RESIDUAL_GAIN)


def residual_blocks(k: int, count: int) -> list[ResidualBlock]:
    """So many blocks of k filters in a row."""
    return [ResidualBlock(k) for _ in range(count)]


def _doubled(inputs: int, k: int) -> nn.Sequential:
    """(N, inputs, h, w) -> (N, k, 2h, 2w) by a 1x1 convolution and a shuffle of pixels."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * k, 1), nn.PixelShuffle(2))
