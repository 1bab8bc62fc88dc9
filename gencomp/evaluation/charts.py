"""The geometry of the report's charts: values become positions here, and the template only draws them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

LABEL_DISTANCE = 16.0
"""Least distance between two labels at the ends of curves, in units of the drawing."""

LOGARITHMIC_SPAN = 30.0
"""A loss that varies by more than this factor is drawn on a logarithmic scale."""


class Tick(NamedTuple):
    """One line of a grid."""

    position: float
    label: str


class Dot(NamedTuple):
    """One measured point."""

    x: float
    y: float
    title: str
    """What a reader sees who points at it."""


class Curve(NamedTuple):
    """The points of one codec or variant."""

    name: str
    title: str
    colour: str
    """Name of its colour in the style sheet."""
    is_model: bool
    dots: list[Dot]
    path: str
    """Its line, as the `d` of an SVG path; empty for a single point."""
    end: Dot
    """Its last point."""
    label: Tick
    """Its name, at a height that no other name of its kind takes."""


class Chart(NamedTuple):
    """A chart, in units of its own drawing."""

    title: str
    x_title: str
    y_title: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]


class Line(NamedTuple):
    """What goes into a chart: a named line through (x, y, title)."""

    name: str
    title: str
    colour: str
    is_model: bool
    points: Sequence[tuple[float, float, str]]


class Scale(NamedTuple):
    """From values to positions along one axis."""

    low: float
    high: float
    start: float
    """Position of `low`."""
    end: float
    """Position of `high`."""
    logarithmic: bool

    def position(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 2)


def rate_chart(title: str, y_title: str, lines: Sequence[Line]) -> Chart:
    """Quality over bits per pixel, on a logarithmic rate axis. `lines` hold at least one point."""
    return _chart(title, "bits per pixel, logarithmic", y_title, lines, (560.0, 400.0), (50.0, 82.0, 14.0, 44.0), True)


def training_chart(title: str, lines: Sequence[Line]) -> Chart:
    """One column of a training's history over its steps, small; logarithmic where it spans much."""
    return _chart(title, "step", "", lines, (320.0, 180.0), (50.0, 10.0, 8.0, 24.0), False)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` points: the means of neighbours of equal count. The points themselves when they are few."""
    if len(points) <= most:
        return list(points)
    edges = [index * len(points) // most for index in range(most + 1)]
    groups = [points[start:end] for start, end in pairwise(edges)]
    return [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round values from `low` to `high`."""
    rough = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """The values 1, 2 and 5 of each decade from `low` to `high`; only 1 when there are more than three decades."""
    digits = (1, 2, 5) if math.log10(high / low) <= 3 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [digit * 10.0**decade for decade in decades for digit in digits]
    return [value for value in values if low * 0.9999 <= value <= high * 1.0001]


def _chart(
    title: str,
    x_title: str,
    y_title: str,
    lines: Sequence[Line],
    size: tuple[float, float],
    margins: tuple[float, float, float, float],
    logarithmic_x: bool,
) -> Chart:
    (width, height), (left, right, top, bottom) = size, margins
    xs = [x for line in lines for x, _, _ in line.points]
    ys = [y for line in lines for _, y, _ in line.points]
    x_scale = Scale(*_padded(xs, logarithmic_x), left, width - right, logarithmic_x)
    logarithmic_y = not y_title and min(ys) > 0 and max(ys) / min(ys) > LOGARITHMIC_SPAN
    y_scale = Scale(*_padded(ys, logarithmic_y), height - bottom, top, logarithmic_y)
    return Chart(
        *(title, x_title, y_title, width, height, left, width - right, top, height - bottom),
        x_ticks=_ticks(x_scale, 4),
        y_ticks=_ticks(y_scale, 6 if y_title else 3),
        curves=_labelled([_curve(line, x_scale.position, y_scale.position) for line in lines], height - bottom),
    )


def _padded(values: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if logarithmic:
        return low / 1.15, high * 1.15
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def _ticks(scale: Scale, count: int) -> list[Tick]:
    values = logarithmic_ticks(scale.low, scale.high) if scale.logarithmic else []
    if len(values) < 2:
        values = [v for v in linear_ticks(scale.low, scale.high, count) if v > 0 or not scale.logarithmic]
    return [Tick(scale.position(value), number(value)) for value in values]


def number(value: float) -> str:
    """A number as an axis shows it: `0.05`, `30`, `20k`."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.6g}"


def _curve(line: Line, x_position: Callable[[float], float], y_position: Callable[[float], float]) -> Curve:
    dots = [Dot(x_position(x), y_position(y), title) for x, y, title in line.points]
    path = "M" + "L".join(f"{dot.x:g} {dot.y:g}" for dot in dots) if len(dots) > 1 else ""
    return Curve(*line[:4], dots, path, end=dots[-1], label=Tick(dots[-1].y, line.title))


def _labelled(curves: list[Curve], lowest: float) -> list[Curve]:
    """Move names apart, those of models and those of codecs each among themselves."""
    return [
        curve._replace(label=curve.label._replace(position=position))
        for kind in (False, True)
        for curve, position in _apart([curve for curve in curves if curve.is_model == kind], lowest)
    ]


def _apart(curves: list[Curve], lowest: float) -> list[tuple[Curve, float]]:
    """Heights in the order of the ends of the curves: pushed down from the top, then up again from the axis."""
    ends = sorted(curves, key=lambda curve: (curve.end.y, -curve.end.x))
    heights: list[float] = []
    for curve in ends:
        heights.append(max(curve.end.y, heights[-1] + LABEL_DISTANCE if heights else -math.inf))
    for index in range(len(heights) - 1, -1, -1):
        heights[index] = min(heights[index], lowest - LABEL_DISTANCE * (len(heights) - 1 - index))
    return [(curve, round(height, 2)) for curve, height in zip(ends, heights, strict=True)]
