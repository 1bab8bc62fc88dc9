"""Integer frequency tables as entropy models of constriction's range coder."""

import constriction
import numpy as np
import numpy.typing as npt

from gencomp.models.entropy import PRECISION

CONTEXT_MODEL = constriction.stream.model.Categorical(perfect=False)
"""Takes a row of probabilities beside each symbol."""


def static_models(frequencies: npt.NDArray[np.int64]) -> list[constriction.stream.model.Categorical]:
    """One model per row of frequencies (C, L), each integer at least 1 and each row summing to 2**24.

    constriction takes floats, hands each of the L symbols one unit, and shares the other 2**24 - L units out in
    proportion. Fed n - 1, which float32 holds exactly and which sums to just that, it arrives at n with no rounding;
    fed n / 2**24 it does not. The golden streams and an independent decoder in the tests hold this.
    """
    _check(frequencies)
    return [constriction.stream.model.Categorical((row - 1).astype(np.float32), perfect=False) for row in frequencies]


def context_rows(contexts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """What CONTEXT_MODEL takes beside each symbol, by channel and context, for frequencies (C, L**2, L), as exactly."""
    _check(contexts)
    return (contexts - 1).astype(np.float32)


def _check(frequencies: npt.NDArray[np.int64]) -> None:
    if frequencies.min() < 1 or (frequencies.sum(-1) != 1 << PRECISION).any():
        raise ValueError(f"frequencies must be at least 1 and sum to {1 << PRECISION} in each row")
