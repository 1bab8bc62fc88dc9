"""Static entropy tables: the paper's per-channel frequencies of the centers, as integers."""

import numpy as np
from numpy.typing import NDArray

PRECISION = 24
"""Bits; the frequencies of a channel sum to 2**PRECISION."""


def count_symbols(symbols: NDArray[np.integer], levels: int) -> NDArray[np.int64]:
    """Symbols (C, ...) in [0, levels) -> how often each occurs per channel, (C, levels)."""
    return np.stack([np.bincount(channel.reshape(-1), minlength=levels) for channel in symbols]).astype(np.int64)


def fit_frequencies(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (C, L) -> frequencies (C, L), each at least 1 and each row summing to 2**PRECISION, in integers only.

    A center that never occurred keeps the smallest frequency, so that every symbol can be coded.
    """
    levels = counts.shape[1]
    exact = counts.astype(object)  # Python integers, which do not overflow
    totals = np.maximum(exact.sum(1, keepdims=True), 1)
    frequencies = (1 + exact * (2**PRECISION - levels) // totals).astype(np.int64)
    frequencies[np.arange(len(counts)), counts.argmax(1)] += 2**PRECISION - frequencies.sum(1)
    return frequencies
