import numpy as np
import pytest

from gencomp.codec.tables import static_models
from gencomp.models import entropy


@pytest.mark.parametrize(
    "rows", [[[1 << 24, 0]], [[1 << 23, (1 << 23) - 1]], [[1 << 23, 1 << 23], [1 << 23, 1 + (1 << 23)]]]
)
def test_frequencies_that_cannot_be_coded_with_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least 1 and sum to 16777216"):
        static_models(np.array(rows))


def test_each_channel_gets_a_model() -> None:
    assert len(static_models(entropy.fit_frequencies(np.ones((7, 5), np.int64)))) == 7
