"""What a coder charges: the bits that each center would cost as a symbol, beside its neighbours as they are."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from gencomp.codec.coder import Symbols
from gencomp.codec.context import Coding, ContextModel
from gencomp.models.entropy import PRECISION

Prices = npt.NDArray[np.float32]
"""Bits that each center would cost, (C, h, w, L)."""
Pricing = Callable[[Symbols], Prices]
"""The prices beside what symbols (C, h, w) are now, of the first C channels."""


def context_pricing(model: ContextModel) -> Pricing:
    """By a package's context network."""

    def prices(symbols: Symbols) -> Prices:
        return Coding(model.first(len(symbols)), symbols).prices(len(symbols))

    return prices


def static_pricing(frequencies: npt.NDArray[np.integer]) -> Pricing:
    """By frequencies (C, L), which sum to 2**24 in each row."""
    table = (PRECISION - np.log2(np.asarray(frequencies))).astype(np.float32)[:, None, None]

    def prices(symbols: Symbols) -> Prices:
        return np.broadcast_to(table[: len(symbols)], (*symbols.shape, table.shape[-1]))

    return prices


def costs(prices: Prices, symbols: Symbols) -> npt.NDArray[np.float64]:
    """Bits of each channel of symbols (C, h, w) at their prices, (C,)."""
    chosen = np.take_along_axis(prices, symbols[..., None].astype(np.intp), -1)
    found: npt.NDArray[np.float64] = chosen.sum((1, 2, 3), dtype=np.float64)
    return found
