"""A block transform as the skeleton of the light networks: what they know of pictures before the first step.

Each latent channel starts as one coefficient of a 16 x 16 discrete cosine transform in an orthonormal opponent colour
space, and the convolutions learn what to add. Without it, thousands of steps go into finding out that a symbol can
stand for the mean of a block.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

BLOCK = 16
"""Side of a block, pixels: the stride of the light networks."""
COLOURS = {"Y": (1, 1, 1), "A": (1, 0, -1), "B": (1, -2, 1)}
"""Luminance, red against blue, and both against green."""
COEFFICIENTS = (
    *(("Y", 0, 0, 14.6), ("A", 0, 0, 4.9), ("Y", 0, 1, 2.9), ("Y", 1, 0, 2.9)),
    *(("B", 0, 0, 2.3), ("Y", 1, 1, 1.4), ("Y", 0, 2, 1.7), ("Y", 2, 0, 1.7)),
    *(("Y", 1, 2, 1.0), ("Y", 2, 1, 1.0), ("Y", 0, 3, 1.2), ("Y", 3, 0, 1.2)),
    *(("A", 0, 1, 0.9), ("A", 1, 0, 0.9), ("Y", 2, 2, 0.8), ("B", 0, 1, 0.45)),
)
"""Colour, vertical and horizontal frequency, and standard deviation over photographs in [-1, 1] of each channel's
coefficient, the ones that carry most first."""
LATENT_STD = 1.2
"""Standard deviation that the coefficients are brought to, so that the centers -2 to 2 are all used."""


class Analysis(nn.Module):
    """x (N, 3, H, W) in [-1, 1] -> coefficients (N, channels, H/16, W/16); fixed."""

    filters: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        filters = basis(channels) * (LATENT_STD / deviations(channels))
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32, device="cpu"), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return conv2d(x, self.filters.to(x.dtype), stride=BLOCK)


class Synthesis(nn.Module):
    """w_hat (N, channels, h, w) -> a picture (N, 3, 16 h, 16 w) in blocks; learned from the inverse transform on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 3, BLOCK, BLOCK))

    def forward(self, w_hat: Tensor) -> Tensor:
        return conv_transpose2d(w_hat, self.weight, stride=BLOCK)

    def initialise(self) -> None:
        """Set the weights to the inverse transform."""
        channels = len(self.weight)
        inverse = basis(channels) * (deviations(channels) / LATENT_STD)
        with torch.no_grad():
            self.weight.copy_(torch.tensor(inverse, dtype=torch.float32))


def basis(channels: int) -> NDArray[np.float64]:
    """The first orthonormal basis functions, (channels, 3, 16, 16); channels at most 16."""
    return np.stack([_function(colour, u, v) for colour, u, v, _ in COEFFICIENTS[:channels]])


def deviations(channels: int) -> NDArray[np.float64]:
    """The coefficients' standard deviations, (channels, 1, 1, 1)."""
    return np.array([deviation for *_, deviation in COEFFICIENTS[:channels]]).reshape(-1, 1, 1, 1)


def _function(colour: str, u: int, v: int) -> NDArray[np.float64]:
    weights = np.array(COLOURS[colour]) / np.linalg.norm(COLOURS[colour])
    function: NDArray[np.float64] = weights[:, None, None] * _cosine(u)[:, None] * _cosine(v)
    return function


def _cosine(frequency: int) -> NDArray[np.float64]:
    wave = np.cos((2 * np.arange(BLOCK) + 1) * frequency * np.pi / (2 * BLOCK))
    return np.asarray(wave / np.linalg.norm(wave))
