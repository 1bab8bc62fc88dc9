"""The compressor: its config, and E, q and G composed (section 4 of the paper)."""

from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from gencomp.models.blocks import ChannelNorm, Norm
from gencomp.models.encoder import Encoder
from gencomp.models.generator import Generator
from gencomp.models.quantizer import Quantizer


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides the shape of E, q and G. The defaults are the paper's GC."""

    width: Annotated[int, msgspec.Meta(ge=2, le=256)] = 60
    """Filters of the first layer of E; each downsampling doubles them."""
    downsamplings: Annotated[int, msgspec.Meta(ge=1, le=6)] = 4
    """Steps of stride 2 from the image to the latent."""
    blocks: Annotated[int, msgspec.Meta(ge=0, le=64)] = 9
    """Residual blocks of G."""
    channels: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    """C, channels of the latent; with L it bounds the rate."""
    levels: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    """L, centers of the quantiser."""
    sigma: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """Hardness of the soft assignment that carries the gradient."""
    normalisation: Literal["instance", "channel"] = "instance"
    """Of E and G: over the picture per channel, as in the paper, or over the channels per pixel."""

    @property
    def stride(self) -> int:
        """Pixels of the image per element of the latent, along one side."""
        return 2**self.downsamplings

    @property
    def smallest_side(self) -> int:
        """Pixels; reflection padding needs at least two elements of the latent along a side."""
        return max(2 * self.stride, 8)


class Reconstruction(NamedTuple):
    """What a forward pass gives."""

    x_hat: Tensor
    """The decoded image, (N, 3, H, W) in [-1, 1]."""
    w_hat: Tensor
    """The quantised latent, (N, C, H/stride, W/stride), each element a center."""


class Compressor(nn.Module):
    """x -> E -> w -> q -> w_hat -> G -> x_hat.

    (N, 3, H, W) in [-1, 1], H and W multiples of `config.stride` and at least `config.smallest_side`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        norm: Norm = nn.InstanceNorm2d if config.normalisation == "instance" else ChannelNorm
        self.E = Encoder(config.width, config.downsamplings, config.channels, norm)
        self.q = Quantizer(config.levels, config.sigma)
        self.G = Generator(config.width, config.downsamplings, config.blocks, config.channels, norm)

    def forward(self, x: Tensor) -> Reconstruction:
        w_hat = self.q(self.E(x))
        return Reconstruction(self.G(w_hat), w_hat)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of all convolutions from N(0, 0.02^2), biases zero, as in pix2pixHD; drawn from `generator`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
