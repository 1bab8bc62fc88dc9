"""The compressor: its config, and E, q and G composed (sections 3 and 4 of the paper).

| mode | compresses | semantics s go to |
|---|---|---|
| GC | the whole image | nobody |
| GC (D+) | the whole image | D, in training only: `discriminator.semantics` of the training config |
| SC | what a mask preserves; G draws the rest from s | F within G, D, and E by `semantics_to_encoder` |

The MSE baseline is GC trained without D.
"""

import functools
from typing import Annotated, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from gencomp.models.blocks import ChannelNorm, Norm
from gencomp.models.encoder import Encoder
from gencomp.models.generator import Generator
from gencomp.models.latent import Fill
from gencomp.models.light import STRIDE as LIGHT_STRIDE
from gencomp.models.light import LightConfig, LightEncoder, LightGenerator, initialise_light
from gencomp.models.quantizer import Quantizer
from gencomp.models.selective import (
    LightSelectiveEncoder,
    LightSelectiveGenerator,
    SelectiveEncoder,
    SelectiveGenerator,
    mask_to_latent,
)


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
    normalisation: Literal["instance", "tracked", "channel"] = "instance"
    """Of E and G: over the picture per channel, as in the paper; the same with G tracking the statistics, which
    inference then uses, and training too from `statistics_from` on; or over the channels per pixel."""
    light: LightConfig | None = None
    """Shape of the light networks, which then replace the paper's: width, downsamplings, blocks and normalisation are
    unused."""
    nested: bool = False
    """Any first channels may be coded; G fills the others with learned constants."""
    noise: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Channels of noise v that G gets beside w_hat; of SC where nothing is preserved, without which what it draws there
    repeats itself."""
    mode: Literal["gc", "sc"] = "gc"
    """Global or selective compression."""
    classes: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0
    """Classes of the label maps that SC draws from."""
    semantics_to_encoder: bool = False
    """Give s to SC's E too."""

    def __post_init__(self) -> None:
        if (self.mode == "sc") != (self.classes > 0):
            raise ValueError("mode sc needs classes, the number of label classes, and mode gc has none")
        if self.mode == "sc" and self.nested:
            raise ValueError("mode sc goes without nested channels")
        if self.mode == "gc" and self.semantics_to_encoder:
            raise ValueError("semantics_to_encoder belongs to mode sc")

    @property
    def stride(self) -> int:
        """Pixels per element along one side where the networks are coarsest; sides are padded to multiples of it."""
        return LIGHT_STRIDE if self.light else 2**self.downsamplings

    @property
    def latent_stride(self) -> int:
        """Pixels of the image per element of the latent, along one side; SC quantises one downsampling earlier."""
        return self.stride // 2 if self.mode == "sc" else self.stride

    @property
    def smallest_side(self) -> int:
        """Pixels; reflection padding needs at least two elements of the latent along a side."""
        return max(2 * self.stride, 8)

    @property
    def semantics(self) -> int:
        """Channels of s: one per class, and one for the edges of instances; 0 for GC."""
        return self.classes + 1 if self.mode == "sc" else 0


class Reconstruction(NamedTuple):
    """What a forward pass gives."""

    x_hat: Tensor
    """The decoded image, (N, 3, H, W) in [-1, 1]."""
    w_hat: Tensor
    """The quantised latent, (N, C, H/stride, W/stride), each element a center; zero where SC masks."""
    w: Tensor
    """The latent before q, of the same shape."""


class Compressor(nn.Module):
    """x -> E -> w -> q -> w_hat -> G -> x_hat.

    (N, 3, H, W) in [-1, 1], H and W multiples of `config.stride` and at least `config.smallest_side`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.E = _encoder(config)
        self.q = Quantizer(config.levels, config.sigma)
        self.G = _generator(config)

    def forward(
        self,
        x: Tensor,
        *,
        coded: Tensor | None = None,
        v: Tensor | None = None,
        s: Tensor | None = None,
        m: Tensor | None = None,
    ) -> Reconstruction:
        """Compress and decode a batch.

        Nested: `coded` (N,), how many channels of each image are coded, int64 in [1, C]; None codes all of them.
        With noise: `v` (N, noise, h, w), as large as the latent; SC takes it where nothing is preserved. SC: `s`
        (N, classes + 1, H, W) as `one_hot` gives it, and `m` (N, 1, H, W), 1 where preserved, else 0.
        """
        if self.config.mode == "gc":
            w = self.E(x)
            w_hat = self.q(w)
            return Reconstruction(self.G(w_hat, coded, v), w_hat, w)
        if s is None or m is None:
            raise ValueError("selective compression needs the semantics s and the mask m")
        w, kept = self.E(x, s), mask_to_latent(m, self.config.latent_stride)
        w_hat = self.q(w) * kept
        return Reconstruction(self.G(w_hat, s, None if v is None else v * (1 - kept)), w_hat, w)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Weights of all convolutions from N(0, 0.02^2), biases zero, as in pix2pixHD; the light networks by their own
    rule. Drawn from `generator`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, LightEncoder | LightGenerator | LightSelectiveEncoder | LightSelectiveGenerator):
            initialise_light(module, generator)


def _encoder(config: ModelConfig) -> nn.Module:
    norm: Norm = ChannelNorm if config.normalisation == "channel" else nn.InstanceNorm2d
    if config.mode == "sc":
        semantics = config.semantics if config.semantics_to_encoder else 0
        if config.light:
            return LightSelectiveEncoder(config.light, config.channels, semantics)
        return SelectiveEncoder(config.width, config.downsamplings, config.channels, norm, semantics)
    if config.light:
        return LightEncoder(config.light, config.channels)
    return Encoder(config.width, config.downsamplings, config.channels, norm)


def _generator(config: ModelConfig) -> nn.Module:
    norm = _generator_norm(config)
    shape = (config.width, config.downsamplings, config.blocks)
    if config.mode == "sc":
        semantics, noise = config.semantics, config.noise
        if config.light:
            return LightSelectiveGenerator(config.light, config.channels, semantics=semantics, noise=noise)
        return SelectiveGenerator(*shape, config.channels, norm, semantics=semantics, noise=noise)
    fill = Fill(config.channels) if config.nested else None
    if config.light:
        return LightGenerator(config.light, config.channels + config.noise, config.channels, fill)
    return Generator(*shape, config.channels + config.noise, norm, fill)


def _generator_norm(config: ModelConfig) -> Norm:
    match config.normalisation:
        case "instance":
            return nn.InstanceNorm2d
        case "tracked":
            return functools.partial(nn.InstanceNorm2d, track_running_stats=True)
        case "channel":
            return ChannelNorm
