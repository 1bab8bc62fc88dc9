"""Bootstrap intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.evaluation.bootstrap import interval


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30))
def test_the_mean_lies_in_its_interval_which_lies_between_the_values(values: list[float]) -> None:
    found = interval(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert (
        min(values) - 1e-9 <= found.low <= found.mean + 1e-9 and found.mean - 1e-9 <= found.high <= max(values) + 1e-9
    )
    assert interval(values) == found


def test_it_holds_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [interval(rng.normal(5, 2, 40).tolist()) for _ in range(300)]
    assert 0.90 <= np.mean([one.low <= 5 <= one.high for one in found]) <= 0.98


def test_nothing_has_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        interval([])
