"""Integer frequency tables as entropy models of constriction's range coder."""

import constriction
import numpy as np
import numpy.typing as npt

PRECISION = 24
"""Frequencies of one table sum to 2**24: the fixed-point precision of constriction's range coder."""


def static_models(frequencies: npt.NDArray[np.int64]) -> list[constriction.stream.model.Categorical]:
    """One model per row of frequencies (C, L), each integer at least 1 and each row summing to 2**24.

    constriction takes floats, hands each of the L symbols one unit, and shares the other 2**24 - L units out in
    proportion. Fed n - 1, which float32 holds exactly and which sums to just that, it arrives at n with no rounding;
    fed n / 2**24 it does not. The golden streams and an independent decoder in the tests hold this.
    """
    if frequencies.min() < 1 or (frequencies.sum(1) != 1 << PRECISION).any():
        raise ValueError(f"frequencies must be at least 1 and sum to {1 << PRECISION} in each row")
    return [constriction.stream.model.Categorical((row - 1).astype(np.float32), perfect=False) for row in frequencies]
