"""What a flow leaves to read: a page and a table in Prefect, one line for the terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prefect.artifacts import create_markdown_artifact, create_table_artifact

REPORT = Path("report") / "index.html"
METRICS = Path("metrics")
_EVALUATION = "evaluate@"

Cell = str | int | float | None


class Row(NamedTuple):
    """A target, how it came to be up to date (an Outcome, `failed` or `not run`), and the seconds that it took."""

    target: str
    status: str
    seconds: float


def publish(root: Path, rows: Sequence[Row], failures: Sequence[str]) -> str:
    """Write the artifacts `reproduce` (page) and `targets` (table) of the current flow run; returns the one line."""
    line = one_line(rows)
    create_markdown_artifact(markdown(root, rows, failures), key="reproduce", description=line)
    create_table_artifact(
        table(root, rows),
        key="targets",
        description="Targets, and the metrics of each evaluation",
    )
    return line


def one_line(rows: Sequence[Row]) -> str:
    """Such as `9 targets in 12.3 s: 3 ran, 6 unchanged`."""
    statuses = [row.status for row in rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return f"{len(rows)} targets in {sum(row.seconds for row in rows):.1f} s: {counts}"


def markdown(root: Path, rows: Sequence[Row], failures: Sequence[str]) -> str:
    """A page: the one line, failures, the report's address where there is one, every target."""
    parts = ["# Reproduction", one_line(rows)]
    parts += [f"**Failed:** `{failure}`" for failure in failures]
    if (root / REPORT).exists():
        parts.append(f"Report: [{REPORT}]({(root / REPORT).as_uri()})")
    lines = [f"| `{row.target}` | {row.status} | {row.seconds:.1f} |" for row in rows]
    parts.append("\n".join(["| target | status | seconds |", "|---|---|---:|", *lines]))
    return "\n\n".join(parts) + "\n"


def table(root: Path, rows: Sequence[Row]) -> list[dict[str, Cell]]:
    """One row per target; those of `evaluate@<variant>` carry the numbers of `metrics/<variant>.json` as well."""
    metrics = {row.target: _metrics(root, row.target) for row in rows}
    names = sorted({name for values in metrics.values() for name in values})
    listed: list[dict[str, Cell]] = []
    for row in rows:
        cells: dict[str, Cell] = {
            "target": row.target,
            "status": row.status,
            "seconds": round(row.seconds, 1),
        }
        listed.append(cells | {name: metrics[row.target].get(name) for name in names})
    return listed


def _metrics(root: Path, target: str) -> dict[str, int | float]:
    path = root / METRICS / f"{target.removeprefix(_EVALUATION)}.json"
    if not target.startswith(_EVALUATION) or not path.exists():
        return {}
    values = json.loads(path.read_text())
    return {name: value for name, value in values.items() if isinstance(value, int | float)}
