"""Tables of the page: cells that are shown as one thing and sorted as another."""

from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    value: float | str
    """By which it is sorted."""
    below: str = ""
    """A smaller line."""


class Table(NamedTuple):
    """A sortable table, and what is said of it."""

    title: str
    note: str
    columns: Sequence[str]
    """The first one holds words, the others numbers."""
    rows: Sequence[Sequence[Cell]]


def fixed(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point; a dash for None."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


def number(value: float | None, digits: int, below: str = "") -> Cell:
    """A cell that holds a number, or a dash that is sorted last."""
    return Cell(fixed(value, digits), "" if value is None else value, below)
