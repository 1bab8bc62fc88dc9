"""Intervals of 95 %: Wilson's for a share, and percentiles over resampled participants for everything else."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


class Share(NamedTuple):
    """How many of how many, with Wilson's interval (1927), which takes the votes to be independent."""

    yes: int
    of: int
    share: float | None
    """None of nothing."""
    low: float
    high: float


def share(yes: int, of: int) -> Share:
    """`yes` of `of`, and the interval of the probability behind it; 0 to 1 where `of` is 0."""
    if not of:
        return Share(0, 0, None, 0.0, 1.0)
    found = yes / of
    center = (found + Z**2 / (2 * of)) / (1 + Z**2 / of)
    half = Z / (1 + Z**2 / of) * math.sqrt(found * (1 - found) / of + Z**2 / (4 * of**2))
    return Share(yes, of, found, max(0.0, center - half), min(1.0, center + half))


def resampled(participants: int, resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How often each participant is in each resample: (resamples, participants), rows that sum to `participants`."""
    shares = np.full(participants, 1 / participants)
    return generator.multinomial(participants, shares, resamples).astype(np.float64)


def percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of values (resamples,), which may be infinite."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
