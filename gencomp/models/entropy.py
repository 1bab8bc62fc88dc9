"""Entropy tables as integers: per-channel frequencies of the centers, as in the paper, and by a symbol's neighbours."""

import numpy as np
from numpy.typing import NDArray

PRECISION = 24
"""Bits; the frequencies of a table sum to 2**PRECISION, the fixed-point precision of constriction's range coder."""

MAX_CONTEXT_LEVELS = 8
"""Beyond so many centers there are no tables by context: they would hold L**3 numbers per channel."""
PRIOR = 8
"""Symbols of the channel's mean that each context is taken to have seen before it saw any."""


def contexts_of(symbols: NDArray[np.integer], levels: int) -> NDArray[np.intp]:
    """Symbols (..., h, w) -> the context of each, L a + b for left neighbour a and upper neighbour b of its channel.

    A neighbour outside the picture is L // 2, and so must those be that are not coded.
    """
    left, upper = (np.full(symbols.shape, levels // 2, np.intp) for _ in range(2))
    left[..., 1:] = symbols[..., :-1]
    upper[..., 1:, :] = symbols[..., :-1, :]
    return left * levels + upper


def count_contexts(symbols: NDArray[np.integer], levels: int) -> NDArray[np.int64]:
    """Symbols (C, h, w) in [0, levels) -> how often each occurs per channel and context, (C, levels**2, levels).

    Summed over contexts, they are the counts of `count_symbols`; those alone, (C, 1, levels), for more than
    MAX_CONTEXT_LEVELS levels.
    """
    if levels > MAX_CONTEXT_LEVELS:
        return count_symbols(symbols, levels)[:, None]
    cells = contexts_of(symbols, levels) * levels + symbols
    counts = count_symbols(cells.astype(np.int64), levels**3)
    return counts.reshape(len(symbols), levels**2, levels)


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


def fit_contexts(counts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Counts (C, L**2, L) -> frequencies of that shape, as `fit_frequencies` makes them; None for more than
    MAX_CONTEXT_LEVELS centers.

    What a context has not seen enough of comes from the channel's mean, with the weight of PRIOR symbols.
    """
    channels, contexts, levels = counts.shape
    if levels > MAX_CONTEXT_LEVELS:
        return None
    means = counts.sum(1, keepdims=True).astype(object)
    weighed = counts * np.maximum(means.sum(2, keepdims=True), 1) + PRIOR * means
    return fit_frequencies(weighed.reshape(-1, levels)).reshape(channels, contexts, levels)
