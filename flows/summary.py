"""What a flow leaves to read: a page and a table in Prefect, one line for the terminal."""

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.environment import for_worktree
from flows.progress import artifact_key
from flows.redaction import Redaction
from gencomp.registry.store import RegistryError
from gencomp.registry.whereabouts import Whereabouts, whereabouts

REPORT = Path("report") / "index.html"
METRICS = Path("metrics")
MODELS = Path("models")
_EVALUATION = "evaluate@"

FAILED = "failed"
Cell = str | int | float | None


class Row(NamedTuple):
    """A target, how it came to be up to date (an Outcome, `failed` or `not run`), and the seconds that it took."""

    target: str
    status: str
    seconds: float


def publish(root: Path, rows: Sequence[Row], failures: Sequence[str]) -> str:
    """Write the artifacts of the current flow run: `reproduce` (page), `targets` (table), and a link to each MLflow run
    that a tracking server shows; returns the one line."""
    line = one_line(rows)
    models, away = registered(root)
    create_markdown_artifact(markdown(root, rows, failures, models, away), key="reproduce", description=line)
    for model in models:
        if model.link:
            create_link_artifact(model.link, f"Training of {model.variant}", key=artifact_key("run", model.variant))
    create_table_artifact(
        table(root, rows),
        key="targets",
        description="Targets, and the metrics of each evaluation",
    )
    return line


def registered(root: Path) -> tuple[list[Whereabouts], str]:
    """Where MLflow shows the checkout's packages, and why it does not, where it is away."""
    packages = {folder.name: folder for folder in sorted((root / MODELS).glob("[!.]*"))}
    store = for_worktree(root, os.environ)["MLFLOW_TRACKING_URI"]
    try:
        return whereabouts(packages, store), ""
    except (RegistryError, OSError) as error:
        return [], Redaction(root, os.environ)(str(error))


def one_line(rows: Sequence[Row]) -> str:
    """Such as `9 targets in 12.3 s: 3 ran, 6 unchanged`."""
    statuses = [row.status for row in rows]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    return f"{len(rows)} targets in {sum(row.seconds for row in rows):.1f} s: {counts}"


def markdown(
    root: Path, rows: Sequence[Row], failures: Sequence[str], models: Sequence[Whereabouts] = (), away: str = ""
) -> str:
    """A page: the one line, failures, the report's place where there is one, MLflow's runs, every target."""
    parts = ["# Reproduction", one_line(rows)]
    parts += [f"**Failed:** `{failure}`" for failure in failures]
    if report := report_path(root):
        parts.append(f"Report: `{report}`, a file of the machine that ran this (`{platform.node()}`)")
    if away:
        parts.append(f"MLflow: `{away}`")
    if models:
        named = [f"| {_linked(model)} | {_version(model)} |" for model in models]
        parts.append("\n".join(["| run in MLflow | registered as |", "|---|---|", *named]))
    lines = [f"| `{row.target}` | {row.status} | {row.seconds:.1f} |" for row in rows]
    parts.append("\n".join(["| target | status | seconds |", "|---|---|---:|", *lines]))
    return "\n\n".join(parts) + "\n"


def report_path(root: Path) -> str:
    """Where the checkout's report lies; empty where there is none. No address: browsers open no file for a server."""
    return str(root / REPORT) if (root / REPORT).exists() else ""


def _linked(model: Whereabouts) -> str:
    name = f"{model.variant} `{model.run[:8] or 'none'}`"
    return f"[{name}]({model.link})" if model.link else name


def _version(model: Whereabouts) -> str:
    return " ".join([f"{model.model} version {model.version}", *model.aliases]) if model.version else "not registered"


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
