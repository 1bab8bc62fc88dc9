"""Lists of images as sets publish them: tables, names of splits, and names with gaps to fill in."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from gencomp.data.dataset import Split
from gencomp.data.failure import DataError

NAMES: dict[str, Split] = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def named_split(name: str, where: str) -> Split:
    """The split that a list means. Raises DataError, which begins with `where`, for any other word."""
    if name.lower() not in NAMES:
        raise DataError(f"{where}: split {name!r} is none of train, validation, test")
    return NAMES[name.lower()]


def read_table(path: Path, name: str, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a CSV by column, whatever its line ends; absent columns and values beyond the header are left out.

    Raises DataError, which names the table `name`, when it or a required column is missing or a row lacks its value.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline=None) as file:
            rows = csv.reader(file)
            header = [column.strip() for column in next(rows, [])]
            absent = [column for column in required if column not in header]
            if absent:
                raise DataError(f"{name}: no column {', '.join(absent)}")
            for row in rows:
                values = {column: value.strip() for column, value in zip(header, row, strict=False)}
                if not any(values.values()):
                    continue
                if not all(values.get(column) for column in required):
                    raise DataError(f"{name}: line {rows.line_num} has no {' or no '.join(required)}")
                yield values
    except FileNotFoundError:
        raise DataError(f"{name}: no such file") from None
    except csv.Error as error:
        raise DataError(f"{name}: {error}") from None


def filled(template: str, **values: str) -> str:
    """A URL or name with each `{name}` of `values` filled in, and other braces left alone."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template
