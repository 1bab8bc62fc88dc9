"""The geometry of charts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.evaluation.charts import (
    Line,
    Scale,
    linear_ticks,
    logarithmic_ticks,
    number,
    thinned,
    training_chart,
)


def test_a_scale_puts_its_ends_where_they_belong_and_the_geometric_mean_in_the_middle() -> None:
    linear, logarithmic = Scale(10, 20, 0, 100, False), Scale(0.01, 1, 400, 0, True)
    assert [linear.position(v) for v in (10, 15, 20)] == [0, 50, 100]
    assert [logarithmic.position(v) for v in (0.01, 0.1, 1)] == [400, 200, 0]


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.integers(3, 8))
def test_linear_ticks_are_round_and_within(low: float, span: float, count: int) -> None:
    ticks = linear_ticks(low, low + span, count)
    assert 1 <= len(ticks) <= 2 * count
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in ticks)


def test_logarithmic_ticks_are_one_two_and_five() -> None:
    assert logarithmic_ticks(0.018, 1.1) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert logarithmic_ticks(1e-4, 10) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1, 10])


def test_numbers_on_an_axis_are_short() -> None:
    assert [number(v) for v in (0.05, 30.0, 0.1 + 0.2, 150_000, -2)] == ["0.05", "30", "0.3", "150k", "-2"]


def test_all_points_lie_within_the_axes() -> None:
    lines = [Line("a", "jpeg", [(0.0, 20.0), (150.0, 35.0)]), Line("m", "x", [(30.0, 8.0)])]
    chart = training_chart("loss", lines)
    dots = [dot for curve in chart.curves for dot in curve.dots]
    assert all(chart.left < dot.x < chart.right and chart.top < dot.y < chart.bottom for dot in dots)
    assert next(curve for curve in chart.curves if curve.name == "m").path == ""


def test_a_constant_or_a_single_point_still_makes_a_chart() -> None:
    for points in ([(0.0, 0.0)], [(0.0, 5.0), (1.0, 5.0)]):
        chart = training_chart("loss", [Line("a", "x", points)])
        assert all(math.isfinite(dot.x) and math.isfinite(dot.y) for dot in chart.curves[0].dots)


def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_scale() -> None:
    chart = training_chart("loss", [Line("a", "x", [(0, 100.0), (1, 1.0), (2, 0.01)])])
    first, middle, last = (dot.y for dot in chart.curves[0].dots)
    assert middle == pytest.approx((first + last) / 2, abs=0.02)


@given(st.integers(1, 2000), st.integers(1, 300))
def test_thinning_keeps_the_mean_of_neighbours_and_the_number_in_bounds(count: int, most: int) -> None:
    points = [(float(n), 2.0 * n) for n in range(count)]
    thin = thinned(points, most)
    assert len(thin) == min(count, most)
    assert all(y == pytest.approx(2 * x) for x, y in thin)
    assert [x for x, _ in thin] == sorted(x for x, _ in thin)
