"""The course of a training, as the report draws it: loss columns over steps, and which centers are used."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gencomp.evaluation.charts import Chart, Line, thinned, training_chart

MOST_POINTS = 240
"""Points of a curve; longer histories are averaged."""


class CenterUse(NamedTuple):
    """How often the centers occur in one channel of the quantised latent."""

    channel: str
    shares: list[tuple[str, float]]
    """(center, share of the symbols), in ascending order of the centers."""


def read_history(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Column -> its (step, value) points; empty cells and columns without a number are left out."""
    columns: dict[str, list[tuple[float, float]]] = {}
    with path.open(newline="") as file:
        for cells in csv.DictReader(file):
            step = float(cells.pop("step"))
            for name, value in cells.items():
                if value:
                    columns.setdefault(name, []).append((step, float(value)))
    return columns


def training_charts(
    histories: Mapping[str, Mapping[str, list[tuple[float, float]]]], colours: Mapping[str, str]
) -> list[Chart]:
    """One chart per column of the histories (variant -> column -> points), with a curve for each variant having it.

    Columns that are zero throughout, such as terms that are off, have none.
    """
    used = (c for history in histories.values() for c, points in history.items() if any(value for _, value in points))
    columns = dict.fromkeys(used)
    return [training_chart(column, _lines(column, histories, colours)) for column in columns]


def read_centers(path: Path) -> list[CenterUse]:
    """The rows of a `<variant>-centers.csv` (channel, center, share), by channel."""
    channels: dict[str, list[tuple[str, float]]] = {}
    with path.open(newline="") as file:
        for cells in csv.DictReader(file):
            channels.setdefault(cells["channel"], []).append((cells["center"], float(cells["share"])))
    return [CenterUse(channel, sorted(shares, key=lambda item: float(item[0]))) for channel, shares in channels.items()]


def _lines(
    column: str, histories: Mapping[str, Mapping[str, list[tuple[float, float]]]], colours: Mapping[str, str]
) -> list[Line]:
    return [
        Line(name, colours[name], thinned(history[column], MOST_POINTS))
        for name, history in histories.items()
        if column in history
    ]
