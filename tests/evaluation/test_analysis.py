"""BD-rates and needed bytes, on curves whose answers are known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gencomp.evaluation.analysis import bd_rate, curve, needed
from gencomp.evaluation.rates import RateRow

SIZES = (100, 200, 400, 800, 1600)


def rows(
    codec: str, sizes: tuple[int, ...], lpips: Callable[[int, float], float | None], pictures: int = 6
) -> list[RateRow]:
    """Files of 100 x 80 pixels, `lpips` being that of a size and of how hard a picture is (0 to 1)."""
    return [
        RateRow(
            *(f"picture-{number}", codec, f"{size:04}", 100, 80, size, None, None, 20 + math.log2(size), None),
            lpips_alex=lpips(size, number / 6),
        )
        for number in range(6)
        for size in sizes
    ]


def falling(factor: float) -> Callable[[int, float], float]:
    """LPIPS that falls with the logarithm of the size; a codec of factor 2 needs twice the bytes for the same."""
    return lambda size, hard: 1 + 0.1 * hard - 0.1 * math.log(size / factor)


def test_a_curve_has_its_points_in_order_of_rate_with_intervals() -> None:
    points = curve(rows("jpeg", (400, 100), falling(1)), "jpeg", "lpips_alex")
    assert [(point.setting, round(point.bpp, 9)) for point in points] == [("0100", 0.1), ("0400", 0.4)]
    assert all(point.value.low <= point.value.mean <= point.value.high and point.images == 6 for point in points)
    assert curve(rows("jpeg", (400, 100), falling(1)), "webp", "lpips_alex") == []


def test_a_picture_that_lacks_a_figure_at_one_setting_is_left_out_of_all() -> None:
    some = rows("jpeg", SIZES, lambda size, hard: None if (size, hard) == (400, 0.5) else hard)
    points = curve(some, "jpeg", "lpips_alex")
    assert {point.images for point in points} == {5}
    assert points[0].value.mean == pytest.approx(np.mean([0, 1, 2, 4, 5]) / 6)


def test_a_codec_that_needs_twice_the_bytes_is_said_to_need_twice_the_bytes() -> None:
    model = rows("gc", (250,), falling(1))
    [found] = needed({"gc": model}, rows("jpeg", SIZES, falling(2)), "lpips_alex")
    assert found.bound == "exact"
    assert found.ratio == pytest.approx(2) and found.more == pytest.approx(1)
    assert found.low == pytest.approx(2) and found.high == pytest.approx(2)  # equally on every picture
    assert found.bpp == pytest.approx(500 * 8 / 8000)
    assert (found.model, found.codec, found.images) == ("gc", "jpeg", 6)


def test_pictures_that_disagree_make_the_interval_wide() -> None:
    model = rows("gc", (250,), lambda size, hard: falling(1)(size, hard) + (0.2 if hard > 0.4 else -0.2))
    [found] = needed({"gc": model}, rows("jpeg", SIZES, falling(2)), "lpips_alex")
    assert found.low < 1 < 4 < found.high


def test_an_end_of_an_interval_that_lies_beyond_the_ladder_is_a_bound() -> None:
    """Half of the pictures are 20 % better and half 20 % worse than they should be for twice the bytes."""
    model = rows("gc", (250,), lambda size, hard: falling(1)(size, hard) + (0.05 if hard > 0.4 else -0.05))
    whole, short, long = rows("jpeg", SIZES, falling(2)), (100, 200, 400, 550), (450, 800, 1600)
    [exact] = needed({"gc": model}, whole, "lpips_alex")
    assert (exact.bound, exact.low_bound, exact.high_bound) == ("exact", "exact", "exact")
    [above] = needed({"gc": model}, rows("jpeg", short, falling(2)), "lpips_alex")
    assert (above.bound, above.low_bound, above.high_bound) == ("exact", "exact", "at least")
    assert above.low == pytest.approx(exact.low) and above.high == pytest.approx(550 / 250) and exact.high > 2.2
    [below] = needed({"gc": model}, rows("jpeg", long, falling(2)), "lpips_alex")
    assert (below.bound, below.low_bound, below.high_bound) == ("exact", "at most", "exact")
    assert below.high == pytest.approx(exact.high) and below.low == pytest.approx(450 / 250) and exact.low < 1.8


@pytest.mark.parametrize(("factor", "bound", "size"), [(100, "at least", 1600), (0.01, "at most", 100)])
def test_beyond_the_ends_of_a_ladder_only_a_bound_is_known(factor: float, bound: str, size: int) -> None:
    [found] = needed({"gc": rows("gc", (250,), falling(1))}, rows("jpeg", SIZES, falling(factor)), "lpips_alex")
    assert found.bound == bound
    assert found.ratio == pytest.approx(size / 250)
    assert found.low_bound == found.high_bound == bound


def test_a_point_worse_than_one_of_a_lower_rate_is_passed_over() -> None:
    bumpy = rows("jpeg", SIZES, lambda size, hard: falling(2)(size, hard) + (0.5 if size == 400 else 0))
    [found] = needed({"gc": rows("gc", (100,), falling(1))}, bumpy, "lpips_alex")
    assert found.ratio == pytest.approx(2)


def test_codecs_without_common_pictures_or_figures_are_left_out() -> None:
    model = rows("gc", (250,), falling(1))
    others = [row._replace(key=f"other-{row.key}") for row in rows("jpeg", SIZES, falling(2))]
    assert needed({"gc": model}, others, "lpips_alex") == []
    assert needed({"gc": model}, rows("jpeg", SIZES, falling(2)), "dists") == []


def test_a_codec_that_takes_twice_the_bytes_everywhere_has_a_bd_rate_of_100_percent() -> None:
    found = bd_rate(rows("jpeg", SIZES, falling(2)), "jpeg", rows("gc", SIZES, falling(1)), "gc", "lpips_alex")
    assert found.reason == ""
    assert found.percent == pytest.approx(100)
    assert found.low == pytest.approx(100) and found.high == pytest.approx(100)
    back = bd_rate(rows("gc", SIZES, falling(1)), "gc", rows("jpeg", SIZES, falling(2)), "jpeg", "lpips_alex")
    assert back.percent == pytest.approx(-50)
    same = bd_rate(rows("jpeg", SIZES, falling(2)), "jpeg", rows("gc", SIZES, falling(1)), "gc", "psnr")
    assert same.percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("sizes", "factor", "reason"),
    [
        (SIZES[:3], 1, "a curve has 3 points"),
        (SIZES, 8, "the curves share 25% of the shorter one's range"),
        (SIZES, 1000, "the curves share 0% of the shorter one's range"),
    ],
)
def test_there_is_no_bd_rate_without_points_enough_and_overlap(
    sizes: tuple[int, ...], factor: float, reason: str
) -> None:
    found = bd_rate(rows("jpeg", sizes, falling(factor)), "jpeg", rows("gc", SIZES, falling(1)), "gc", "lpips_alex")
    assert found.percent is found.low is found.high is None
    assert found.reason.startswith(reason)


def test_a_bd_rate_has_no_interval_with_one_picture_or_when_too_many_draws_have_no_bd_rate() -> None:
    """One picture of six shares no quality with the anchor: draws that have it often have none."""
    first = [f"picture-{number}" for number in range(5)]
    anchor, tested = rows("gc", SIZES, falling(1)), rows("jpeg", SIZES, falling(1.5))
    moved = [
        row if row.key in first or row.lpips_alex is None else row._replace(lpips_alex=row.lpips_alex + 0.55)
        for row in tested
    ]
    found = bd_rate(moved, "jpeg", anchor, "gc", "lpips_alex")
    assert found.percent is not None and found.low is found.high is None
    found = bd_rate(tested, "jpeg", anchor, "gc", "lpips_alex")
    assert found.low is not None and found.high is not None
    one = [row for row in tested if row.key == first[0]]
    found = bd_rate(one, "jpeg", anchor, "gc", "lpips_alex")
    assert found.percent == pytest.approx(50) and found.low is found.high is None
