"""Integer frequency tables."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gencomp.models.entropy import PRECISION, count_symbols, fit_frequencies


@given(st.lists(st.lists(st.integers(0, 10**12), min_size=5, max_size=5), min_size=1, max_size=4))
def test_every_table_sums_to_its_precision_and_can_code_every_symbol(counts: list[list[int]]) -> None:
    frequencies = fit_frequencies(np.array(counts))
    assert frequencies.dtype == np.int64
    assert (frequencies >= 1).all()
    assert (frequencies.sum(1) == 2**PRECISION).all()


def test_frequencies_follow_the_counts() -> None:
    frequencies = fit_frequencies(np.array([[1, 1, 2, 4, 0]]))[0]
    assert np.allclose(frequencies / 2**PRECISION, [1 / 8, 1 / 8, 1 / 4, 1 / 2, 0], atol=1e-6)
    assert frequencies[4] == 1


def test_symbols_are_counted_per_channel() -> None:
    symbols = np.array([[[0, 1], [1, 4]], [[2, 2], [2, 2]]])
    assert count_symbols(symbols, 5).tolist() == [[1, 2, 0, 0, 1], [0, 0, 4, 0, 0]]
