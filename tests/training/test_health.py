"""What the warnings fire on, and what not."""

import pytest
import torch

from gencomp.models.discriminator import Judgement
from gencomp.training.health import center_counts, dead_centers, score_gap, warnings

CENTERS = torch.arange(5.0) - 2


def row(step: int, dead: int = 0, gap: float = 0.5, adversarial: float = 1.0) -> dict[str, float]:
    return {"step": step, "dead_centers": dead, "score_gap": gap, "adversarial": adversarial}


def test_centers_are_counted_per_channel_and_only_where_they_are_coded() -> None:
    w_hat = torch.tensor([[-2.0, 0.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]]).reshape(1, 2, 2, 2)
    assert center_counts(w_hat, CENTERS, None).tolist() == [[1, 0, 2, 0, 1], [0, 0, 0, 4, 0]]
    kept = torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert center_counts(w_hat, CENTERS, kept).tolist() == [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]


def test_a_center_with_less_than_a_thousandth_of_its_channel_is_dead() -> None:
    assert dead_centers(torch.tensor([[1.0, 2.0, 4000.0, 6.0, 5.0], [1.0, 1.0, 1.0, 1.0, 1.0]])) == 2


@pytest.mark.parametrize("gan", ["least-squares", "vanilla"])
def test_the_gap_is_one_for_a_d_that_is_always_right_and_zero_for_one_that_cannot_tell(gan: str) -> None:
    high, low = (1.0, 0.0) if gan == "least-squares" else (50.0, -50.0)
    real, fake = ([Judgement(torch.full((1, 1, 2, 2), score), [])] for score in (high, low))
    assert score_gap(real, fake, gan).item() == pytest.approx(1)
    assert score_gap(real, real, gan).item() == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(1, dead=3), row(2, dead=2)], "2 centers were hardly used since step 1"),
        ([row(1, gap=0.96), row(2, gap=1.0)], "the discriminator wins since step 1"),
        ([row(1, gap=0.002), row(2, gap=-0.004)], "the discriminator has given up since step 1"),
    ],
)
def test_what_lasts_is_told(rows: list[dict[str, float]], words: str) -> None:
    assert [message for message in warnings(rows) if words in message] == warnings(rows) != []


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row(1), row(2)],
        [row(1, dead=3), row(2)],
        [row(1, gap=0.99), row(2, gap=0.5)],
        [row(1, gap=0.0), row(2, gap=0.2)],
        [row(1, gap=0.0, adversarial=0.0), row(2, gap=0.0, adversarial=0.0)],
    ],
)
def test_what_passes_is_not(rows: list[dict[str, float]]) -> None:
    assert warnings(rows) == []
