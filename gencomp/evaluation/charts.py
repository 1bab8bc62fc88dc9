"""The geometry of training charts: values become positions here, and the template only draws them."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

LOGARITHMIC_SPAN = 30.0
"""A loss that varies by more than this factor is drawn on a logarithmic scale."""
WIDTH, HEIGHT = 320.0, 180.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 10.0, 8.0, 24.0
"""A drawing's size and margins."""


class Tick(NamedTuple):
    """One line of a grid."""

    position: float
    label: str


class Dot(NamedTuple):
    """One point."""

    x: float
    y: float


class Line(NamedTuple):
    """What goes into a chart: a named line through (x, y)."""

    name: str
    colour: str
    """Name of its colour in the style sheet."""
    points: Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """A line as it is drawn."""

    name: str
    colour: str
    dots: list[Dot]
    path: str
    """The `d` of an SVG path; empty for a single point."""


class Chart(NamedTuple):
    """A chart, in units of its own drawing."""

    title: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[Curve]


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


def training_chart(title: str, lines: Sequence[Line]) -> Chart:
    """One column of a training's history over its steps; logarithmic where it spans much. At least one point."""
    xs, ys = ([point[axis] for line in lines for point in line.points] for axis in (0, 1))
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > LOGARITHMIC_SPAN
    x_scale = Scale(*_padded(xs, False), LEFT, WIDTH - RIGHT, False)
    y_scale = Scale(*_padded(ys, logarithmic), HEIGHT - BOTTOM, TOP, logarithmic)
    return Chart(
        *(title, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM),
        x_ticks=_ticks(x_scale, 4),
        y_ticks=_ticks(y_scale, 3),
        curves=[_curve(line, x_scale.position, y_scale.position) for line in lines],
    )


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


def number(value: float) -> str:
    """A number as an axis shows it: `0.05`, `30`, `20k`."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:.6g}"


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


def _curve(line: Line, x_position: Callable[[float], float], y_position: Callable[[float], float]) -> Curve:
    dots = [Dot(x_position(x), y_position(y)) for x, y in line.points]
    path = "M" + "L".join(f"{dot.x:g} {dot.y:g}" for dot in dots) if len(dots) > 1 else ""
    return Curve(line.name, line.colour, dots, path)
