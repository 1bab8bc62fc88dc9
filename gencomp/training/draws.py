"""What a training step draws at random, as pure functions of seed and step, so that no state needs to be kept."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gencomp.data.loader import derived_seed
from gencomp.training.losses import LPIPS_GRID


class Draw(NamedTuple):
    """The random choices of one step."""

    coded: Tensor
    """How many channels of each image of the whole batch are coded, (batch,) int64 in [1, C]."""
    origin: tuple[int, int]
    """Row and column at which LPIPS starts to look, pixels."""
    noise: int
    """Seed of the noise v beside w_hat."""

    def of_rank(self, rank: int, ranks: int) -> Tensor:
        """The part of `coded` that belongs to a rank's slice of the batch."""
        return self.coded.chunk(ranks)[rank]


def draw_step(seed: int, step: int, batch: int, channels: int) -> Draw:
    """The choices of step number `step`."""
    generator = np.random.default_rng(derived_seed(seed, "step", step))
    coded = draw_channels(generator, batch, channels)
    origin = (int(generator.integers(LPIPS_GRID)), int(generator.integers(LPIPS_GRID)))
    return Draw(coded, origin, derived_seed(seed, "noise", step))


def draw_channels(generator: np.random.Generator, batch: int, channels: int) -> Tensor:
    """(batch,) int64, each C in [1, channels] with a chance in proportion to 1 / (C + 2): low rates often, so that the
    first channels learn the most, and high ones often enough."""
    counts = np.arange(1, channels + 1)
    chances = 1 / (counts + 2)
    return torch.from_numpy(generator.choice(counts, batch, p=chances / chances.sum()))


def mask_generators(seed: int, step: int, images: range) -> list[np.random.Generator]:
    """One generator per image of a batch, by its place in the whole batch."""
    return [np.random.default_rng(derived_seed(seed, "mask", step, image)) for image in images]
