"""What a benchmark reports: rows of figures, a table of them, a JSON file, and an exit code."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple


class Bar(NamedTuple):
    """A limit to a row's ratio, or to its value where it has no reference."""

    sense: Literal["<=", ">="]
    limit: float

    def __str__(self) -> str:
        return f"{self.sense} {self.limit:g}"

    def met_by(self, figure: float) -> bool:
        """Whether a figure keeps the limit; one that is no number does not."""
        return figure <= self.limit if self.sense == "<=" else figure >= self.limit


class Row(NamedTuple):
    """One figure."""

    name: str
    value: float | None
    """None: it could not be measured, and `note` says why."""
    unit: str
    reference: str | None = None
    """Name of the row that the value is compared with."""
    ratio: float | None = None
    """Value over the reference's value."""
    bar: str | None = None
    met: bool | None = None
    note: str = ""


def measured(name: str, value: float, unit: str, bar: Bar | None = None) -> Row:
    """A figure, judged by itself where there is a bar."""
    value = float(value)  # numpy's numbers make booleans that JSON does not know
    return Row(name, value, unit, bar=str(bar) if bar else None, met=bar.met_by(value) if bar else None)


def compared(name: str, value: float, unit: str, reference: Row, bar: Bar | None = None) -> Row:
    """A figure beside another one, its ratio judged where there is a bar; alone where the other was not measured."""
    value = float(value)
    if reference.value is None:
        return Row(name, value, unit, reference.name, note="without its reference")
    ratio = value / reference.value
    met = bar.met_by(ratio) if bar else None
    return Row(name, value, unit, reference.name, ratio, str(bar) if bar else None, met)


def unmeasured(name: str, unit: str, reason: str) -> Row:
    """What could not be measured here, and why."""
    return Row(name, None, unit, note=reason)


def one_line(error: Exception) -> str:
    """The first line of an error, or its type's name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text, under a heading."""
    cells = [("name", "value", "unit", "ratio", "of", "bar", ""), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(_aligned(line, widths) for line in cells)


def finish(rows: Sequence[Row], file: Path | None, shown: Sequence[Row] | None = None) -> int:
    """Print the table, of the rows `shown` where they are named, write `file`, and return the exit code: 1 when a bar
    is missed, else 0."""
    print(table(rows if shown is None else shown))
    if file is not None:
        file.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    missed = [row.name for row in rows if row.met is False]
    if missed:
        print(f"missed: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small settings, under a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows to FILE")
    return parser


def say(text: str) -> None:
    """What is being measured now, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {None: row.note, True: "met", False: "MISSED"}[row.met]
    value, ratio = ("-" if figure is None else f"{figure:.4g}" for figure in (row.value, row.ratio))
    return row.name, value, row.unit, ratio, row.reference or "-", row.bar or "-", verdict


def _aligned(line: Iterable[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
