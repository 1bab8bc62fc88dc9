"""The picture of which centers are used."""

import numpy as np

from gencomp.training.histogram import BAR, COLUMNS, GAP, GROUND, HEIGHT, UNUSED, USED, draw_usage


def test_a_bar_is_as_high_as_the_share_of_its_center() -> None:
    picture = draw_usage(np.array([[0, 1, 3], [5, 0, 0]]))
    assert picture.shape == (HEIGHT + 2 * GAP, 2 * (3 * BAR + GAP) + GAP, 3)
    heights = [_filled(picture, GAP + level * BAR) for level in range(3)]
    assert heights == [0, HEIGHT // 4, 3 * HEIGHT // 4]
    second = GAP + 3 * BAR + GAP
    assert [_filled(picture, second + level * BAR) for level in range(3)] == [HEIGHT, 0, 0]
    assert (picture[:GAP] == GROUND).all()


def test_channels_beyond_a_row_go_to_the_next_one_and_unused_ones_are_empty() -> None:
    picture = draw_usage(np.zeros((COLUMNS + 1, 2), dtype=np.int64))
    assert picture.shape[0] == 2 * (HEIGHT + GAP) + GAP
    assert (picture[-GAP - 1, GAP] == UNUSED).all()
    assert not (picture == USED).all(2).any()


def _filled(picture: np.ndarray, column: int) -> int:
    return int((picture[:, column] == USED).all(1).sum())
