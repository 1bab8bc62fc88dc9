"""A block transform as the skeleton of the light networks: what they know of pictures before the first step.

Each latent channel starts as one coefficient of a discrete cosine transform in an orthonormal opponent colour space, of
blocks as large as the latent's stride, and the convolutions learn what to add. Without it, thousands of steps go into
finding out that a symbol can stand for the mean of a block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

BLOCK = 16
"""Side of a block, pixels, unless another one is asked for: the stride of the light networks."""
COLOURS = {"Y": (1, 1, 1), "A": (1, 0, -1), "B": (1, -2, 1)}
"""Luminance, red against blue, and both against green."""
COEFFICIENTS = (
    *(("Y", 0, 0, 14.6), ("A", 0, 0, 4.9), ("Y", 0, 1, 2.9), ("Y", 1, 0, 2.9)),
    *(("B", 0, 0, 2.3), ("Y", 1, 1, 1.4), ("Y", 0, 2, 1.7), ("Y", 2, 0, 1.7)),
    *(("Y", 1, 2, 1.0), ("Y", 2, 1, 1.0), ("Y", 0, 3, 1.2), ("Y", 3, 0, 1.2)),
    *(("A", 0, 1, 0.9), ("A", 1, 0, 0.9), ("Y", 2, 2, 0.8), ("B", 0, 1, 0.45)),
)
"""Colour, vertical and horizontal frequency, and standard deviation over photographs in [-1, 1] of each channel's
coefficient in blocks of 16, the ones that carry most first. Photographs being alike at all scales, it goes with the
side of the block."""
LATENT_STD = 1.2
"""Standard deviation that the coefficients are brought to: a normal latent then uses the centers -2 to 2 in shares of
0.11, 0.23, 0.32, 0.23 and 0.11."""


class Analysis(nn.Module):
    """x (N, 3, H, W) in [-1, 1] -> coefficients (N, channels, H/block, W/block); fixed."""

    filters: Tensor

    def __init__(self, channels: int, block: int = BLOCK) -> None:
        super().__init__()
        filters = basis(channels, block) * (LATENT_STD / deviations(channels, block))
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32, device="cpu"), persistent=False)
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.filters.to(x.dtype), stride=self.block)


class Synthesis(nn.Module):
    """w_hat (N, channels, h, w) -> a picture (N, 3, block h, block w); learned from the inverse transform on.

    Each basis function goes on beyond its block to twice its side and fades there, so that neighbours blend and no
    border of a block is seen. Beyond the picture the outermost symbols are repeated.
    """

    def __init__(self, channels: int, block: int = BLOCK) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 3, 2 * block, 2 * block))
        self.block = block

    def forward(self, w_hat: Tensor) -> Tensor:
        tall = torch.cat([w_hat[:, :, :1], w_hat, w_hat[:, :, -1:]], 2)
        beyond = torch.cat([tall[..., :1], tall, tall[..., -1:]], 3)  # as pad does, whose gradient cannot be compiled
        return conv_transpose2d(beyond, self.weight, stride=self.block, padding=self.block + self.block // 2)

    def initialise(self) -> None:
        """Set the weights to the inverse transform."""
        channels, block = len(self.weight), self.block
        inverse = basis(channels, block, block // 2) * fade(block) * (deviations(channels, block) / LATENT_STD)
        with torch.no_grad():
            self.weight.copy_(torch.tensor(inverse, dtype=torch.float32))


def basis(channels: int, block: int = BLOCK, margin: int = 0) -> NDArray[np.float64]:
    """The first basis functions, orthonormal over a block, (channels, 3, block, block), or going on for `margin` more
    pixels on each side; channels at most 16."""
    return np.stack([_function(colour, u, v, block, margin) for colour, u, v, _ in COEFFICIENTS[:channels]])


def fade(block: int = BLOCK) -> NDArray[np.float64]:
    """(2 block, 2 block), 1 in the middle of a block and falling to 0 at the middles of its neighbours; shifted by
    blocks, the fades sum to 1."""
    ramp = np.sin((np.arange(2 * block) + 0.5) * np.pi / (2 * block)) ** 2
    return np.asarray(ramp[:, None] * ramp)


def deviations(channels: int, block: int = BLOCK) -> NDArray[np.float64]:
    """The coefficients' standard deviations, (channels, 1, 1, 1)."""
    found = np.array([deviation for *_, deviation in COEFFICIENTS[:channels]])
    return np.asarray(found.reshape(-1, 1, 1, 1) * (block / BLOCK))


def _function(colour: str, u: int, v: int, block: int, margin: int) -> NDArray[np.float64]:
    weights = np.array(COLOURS[colour]) / np.linalg.norm(COLOURS[colour])
    across, down = _cosine(v, block, margin), _cosine(u, block, margin)
    function: NDArray[np.float64] = weights[:, None, None] * down[:, None] * across
    return function


def _cosine(frequency: int, block: int, margin: int) -> NDArray[np.float64]:
    wave = np.cos((2 * np.arange(-margin, block + margin) + 1) * frequency * np.pi / (2 * block))
    return np.asarray(wave / np.linalg.norm(wave[margin : margin + block]))
