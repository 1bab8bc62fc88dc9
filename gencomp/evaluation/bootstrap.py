"""How far a mean over pictures can be trusted: percentile bootstrap intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
COVERAGE = 0.95


class Interval(NamedTuple):
    """A mean and the interval that holds 95 % of the means of resampled pictures."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Of the mean of values, one per picture. Equal values give equal intervals. Raises ValueError for none."""
    if not values:
        raise ValueError("no values, no mean")
    found = np.asarray(values, np.float64)
    draws = np.random.default_rng(seed).integers(len(found), size=(RESAMPLES, len(found)))
    low, high = np.quantile(found[draws].mean(1), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Interval(float(found.mean()), float(low), float(high))
