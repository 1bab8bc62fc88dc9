"""The compressor: its config, and E, q and G composed (section 4 of the paper)."""

from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from gencomp.models.blocks import ChannelNorm, Norm
from gencomp.models.encoder import Encoder
from gencomp.models.generator import Generator
from gencomp.models.light import STRIDE as LIGHT_STRIDE
from gencomp.models.light import LightConfig, LightEncoder, LightGenerator, initialise_light
from gencomp.models.nested import Fill
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
    light: LightConfig | None = None
    """Shape of the light networks, which then replace the paper's: width, downsamplings, blocks and normalisation are
    unused."""
    nested: bool = False
    """Any first channels may be coded; G fills the others with learned constants."""

    @property
    def stride(self) -> int:
        """Pixels of the image per element of the latent, along one side."""
        return LIGHT_STRIDE if self.light else 2**self.downsamplings

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
        self.E = _encoder(config)
        self.q = Quantizer(config.levels, config.sigma)
        self.G = _generator(config)

    def forward(self, x: Tensor, coded: Tensor | None = None) -> Reconstruction:
        """`coded` (N,): how many channels of each image are coded, int64 in [1, C]; None codes all of them."""
        w_hat = self.q(self.E(x))
        return Reconstruction(self.G(w_hat, coded), w_hat)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of all convolutions from N(0, 0.02^2), biases zero, as in pix2pixHD; the light networks by their own
    rule. Drawn from `generator`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, LightEncoder | LightGenerator):
            initialise_light(module, generator)


def _encoder(config: ModelConfig) -> Encoder | LightEncoder:
    if config.light:
        return LightEncoder(config.light, config.channels)
    return Encoder(config.width, config.downsamplings, config.channels, _norm(config))


def _generator(config: ModelConfig) -> Generator | LightGenerator:
    fill = Fill(config.channels) if config.nested else None
    if config.light:
        return LightGenerator(config.light, config.channels, fill)
    return Generator(config.width, config.downsamplings, config.blocks, config.channels, _norm(config), fill)


def _norm(config: ModelConfig) -> Norm:
    return nn.InstanceNorm2d if config.normalisation == "instance" else ChannelNorm
