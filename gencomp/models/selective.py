"""Selective compression (SC, section 3.3 and appendix of the paper): F, E and G, as in the paper and light.

    s -> F ----------------------------------+
                                             +-> concatenated -> the layers of GC's generator -> x_hat
    x -> E -> q -> masked w_hat -> latent ---+      (with noise: [masked w_hat, v])

E quantises at half of G's stride, at 8 for the paper: the last downsampling is on the decoder's side. F and all else
that decoding depends on is part of G, so that G's tensors are the whole decoder.

A convolutional G draws the same tile of `stride` pixels again and again wherever F(s) and w_hat are constant, as they
are inside a wall that was not preserved. Noise v beside w_hat, zero where w_hat is coded, gives each place something of
its own to start from.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from gencomp.models.blocks import ChannelNorm, Layers, Norm, c3s1, c7s1, d, linear
from gencomp.models.generator import Generator
from gencomp.models.latent import assembled
from gencomp.models.light import PATCH, LightConfig, light_generator_layers, residual_blocks
from gencomp.models.transform import Analysis, Synthesis

STRIDE = 8
"""Pixels per element of the latent, along one side, of the paper's networks and of the light ones."""


def mask_to_latent(m: Tensor, stride: int = STRIDE) -> Tensor:
    """m (N, 1, H, W), 1 where preserved, else 0 -> (N, 1, H/stride, W/stride); H, W multiples of the stride.

    A position is preserved where any of its pixels is: a preserved pixel whose symbol was dropped could not come back
    as it was, while a whole symbol too many costs C log2(L) bits. w_hat times this is what G gets and what is coded.
    """
    return max_pool2d(m, stride)


class LabelEncoder(nn.Module):
    """F: c7s1-60, d120, d240, d480, d960 for width 60 and four downsamplings.

    s (N, inputs, H, W) -> (N, outputs, H/stride, W/stride), outputs = width * stride, stride = 2**downsamplings.
    """

    def __init__(self, inputs: int, width: int, downsamplings: int, norm: Norm) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(downsamplings + 1)]
        self.outputs = widths[-1]
        self.layers = Layers(
            c7s1(inputs, width, norm),
            *(d(inputs, k, norm) for inputs, k in pairwise(widths)),
        )

    def forward(self, s: Tensor) -> Tensor:
        features: Tensor = self.layers(s)  # (N, 960, H/16, W/16)
        return features


class SelectiveEncoder(nn.Module):
    """E: c7s1-60, d120, d240, d480, c3s1-C for width 60 and four downsamplings, of which it does all but the last.

    x (N, 3, H, W) in [-1, 1] -> w (N, channels, H/stride, W/stride), stride = 2**(downsamplings - 1); the last layer
    is linear. `semantics` is the number of channels of s that E sees beside x; 0: it sees x alone and ignores s.
    """

    def __init__(self, width: int, downsamplings: int, channels: int, norm: Norm, semantics: int = 0) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(downsamplings)]
        self.semantics = semantics
        self.layers = Layers(
            c7s1(3 + semantics, width, norm),
            *(d(inputs, k, norm) for inputs, k in pairwise(widths)),
            linear(widths[-1], channels, 3),
        )

    def forward(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        """s (N, semantics, H, W), as `one_hot` gives it. Raises ValueError when E needs it and there is none."""
        w: Tensor = self.layers(torch.cat([x, _needed(s)], 1) if self.semantics else x)  # (N, C, H/8, W/8)
        return w


class SelectiveGenerator(nn.Module):
    """G: F(s) beside c3s1-480, d960 of the masked w_hat, then the layers of GC's generator on both concatenated.

    w_hat (N, channels, H/8, W/8), zero where masked, s (N, semantics, H, W) and, with `noise`, v (N, noise, H/8, W/8)
    -> x_hat (N, 3, H, W) in [-1, 1], for four downsamplings. H and W are multiples of 16 and at least 32, since
    reflection padding needs two elements.
    """

    def __init__(
        self, width: int, downsamplings: int, blocks: int, channels: int, norm: Norm, *, semantics: int, noise: int = 0
    ) -> None:
        super().__init__()
        coarse = width * 2**downsamplings
        self.F = LabelEncoder(semantics, width, downsamplings, norm)
        self.latent = Layers(c3s1(channels + noise, coarse // 2, norm), d(coarse // 2, coarse, norm))
        self.merged = Generator(width, downsamplings, blocks, self.F.outputs + coarse, norm)

    def forward(self, w_hat: Tensor, s: Tensor, v: Tensor | None = None) -> Tensor:
        latent = self.latent(assembled(w_hat, None, None, v))
        x_hat: Tensor = self.merged(torch.cat([self.F(s), latent], 1))  # (N, 960 + 960, H/16, W/16) inside
        return x_hat


class LightLabelEncoder(nn.Module):
    """F, with half of the filters of light's E: s (N, inputs, H, W) -> (N, outputs, H/16, W/16); H, W as for G.

    It enters by a convolution of one position's pixels, so that no label or edge is averaged away.
    """

    def __init__(self, config: LightConfig, inputs: int) -> None:
        super().__init__()
        fine, middle, coarse = (k // 2 for k in config.encoder)
        blocks = config.encoder_blocks
        self.outputs = coarse
        self.layers = Layers(
            nn.Conv2d(inputs, fine, PATCH, stride=PATCH),
            *residual_blocks(fine, blocks[0]),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1, padding_mode="reflect"),
            *residual_blocks(middle, blocks[1]),
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1, padding_mode="reflect"),
            *residual_blocks(coarse, blocks[2]),
            ChannelNorm(coarse),
        )

    def forward(self, s: Tensor) -> Tensor:
        features: Tensor = self.layers(s)
        return features


class LightSelectiveEncoder(nn.Module):
    """E, light's down to stride 8: x (N, 3, H, W) in [-1, 1] -> w (N, channels, H/8, W/8); H and W as for G.

    w is the block transform of x, and what the layers add to it. `semantics` as for SelectiveEncoder; s enters by a
    convolution of one position's pixels, added to the first layer.
    """

    def __init__(self, config: LightConfig, channels: int, semantics: int = 0) -> None:
        super().__init__()
        fine, middle, _ = config.encoder
        blocks = config.encoder_blocks
        self.analysis = Analysis(channels, STRIDE)
        self.entry = nn.Sequential(
            nn.PixelUnshuffle(PATCH), nn.Conv2d(3 * PATCH**2, fine, 3, padding=1, padding_mode="reflect")
        )
        self.semantics = nn.Conv2d(semantics, fine, PATCH, stride=PATCH, bias=False) if semantics else None
        self.layers = Layers(
            *residual_blocks(fine, blocks[0]),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1, padding_mode="reflect"),
            *residual_blocks(middle, blocks[1]),
            ChannelNorm(middle),
            nn.Conv2d(middle, channels, 3, padding=1, padding_mode="reflect"),
        )

    def forward(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        """s (N, semantics, H, W), as `one_hot` gives it. Raises ValueError when E needs it and there is none."""
        features: Tensor = self.entry(x)  # (N, fine, H/4, W/4)
        if self.semantics is not None:
            features = features + self.semantics(_needed(s))
        w: Tensor = self.layers(features) + self.analysis(x)
        return w


class LightSelectiveGenerator(nn.Module):
    """G: F(s) beside the masked w_hat taken from stride 8 to 16, then the layers of light's generator on both.

    w_hat (N, channels, H/8, W/8), zero where masked, s (N, semantics, H, W) and, with `noise`, v (N, noise, H/8, W/8)
    -> x_hat (N, 3, H, W) in [-1, 1]; H and W multiples of 16 and at least 32. The picture is the inverse block
    transform of w_hat, grey where masked, and what the layers add to it. Nothing in it reads statistics of the picture.
    """

    def __init__(self, config: LightConfig, channels: int, *, semantics: int, noise: int = 0) -> None:
        super().__init__()
        middle = config.generator[1]
        self.F = LightLabelEncoder(config, semantics)
        self.latent = Layers(
            nn.Conv2d(channels + noise, middle, 3, padding=1, padding_mode="reflect"),
            *residual_blocks(middle, config.generator_blocks[1]),
            ChannelNorm(middle),
            nn.Conv2d(middle, middle, 3, stride=2, padding=1, padding_mode="reflect"),
        )
        self.layers = light_generator_layers(config, self.F.outputs + middle)
        self.synthesis = Synthesis(channels, STRIDE)

    def forward(self, w_hat: Tensor, s: Tensor, v: Tensor | None = None) -> Tensor:
        latent = self.latent(assembled(w_hat, None, None, v))
        x_hat: Tensor = self.layers(torch.cat([self.F(s), latent], 1))
        return torch.tanh(x_hat + self.synthesis(w_hat))


def _needed(s: Tensor | None) -> Tensor:
    if s is None:
        raise ValueError("this encoder sees the semantics beside the image, and none were given")
    return s
