"""The run of a finished training, found by the package that it made or created, and completed."""

import csv
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gencomp.registry.manifests import TrainingData, log_data
from gencomp.registry.store import PACKAGE_TAG, experiment_id, find_run, now
from gencomp.registry.tracking import Curve, MetricRow, add_params

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EVALUATION = "evaluation"
"""Folder of a run's artifacts with the tables of its evaluation, and head of the names of its metrics."""
MEANS = "metrics.json"
"""Name of the table that holds the means."""
EVALUATION_TAG = "gencomp.evaluation"
"""Tag of a run: SHA-256 over these tables, so that they are logged once and again when they change."""


def complete_run(
    client: "MlflowClient",
    uri: str,
    name: str,
    content: str,
    params: Mapping[str, str],
    history: Path,
    data: TrainingData | None = None,
) -> str:
    """The id of the run that made the package `content`, with params, training data, and a training curve without gaps.

    `history` is the training curve as CSV; rows that live logging has brought are not added again.
    """
    experiment = experiment_id(client, uri)
    found = find_run(client, experiment, PACKAGE_TAG, content)
    run = found or str(client.create_run(experiment, run_name=name, tags={PACKAGE_TAG: content}).info.run_id)
    add_params(client, run, params)
    if data is not None:
        log_data(client, run, data)
    Curve(client, run).extend(_rows(history))
    client.set_terminated(run)
    return run


def log_evaluation(client: "MlflowClient", run: str, files: Mapping[str, Path]) -> None:
    """Log tables of numbers as the artifacts `evaluation/<name>` of a run, and every number of `metrics.json` as one of
    its metrics, `evaluation/psnr` or `evaluation/selective/seam`, unless they are what it has already.

    Metrics of a later evaluation get the next step, so that MLflow shows them as the latest; one that the later
    evaluation lacks is NaN there. `files` are by the names that they get; those that are missing are left out.
    """
    contents = {name: path.read_bytes() for name, path in sorted(files.items()) if path.is_file()}
    if MEANS in contents:
        _log_numbers(client, run, dict(_numbers(EVALUATION, json.loads(contents[MEANS]))))
    digest = hashlib.sha256()
    for name, data in contents.items():
        digest.update(f"{name} {len(data)}\n".encode() + data)
    if not contents or client.get_run(run).data.tags.get(EVALUATION_TAG) == digest.hexdigest():
        return
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in contents.items():
            file = Path(scratch) / name
            file.write_bytes(data)
            client.log_artifact(run, str(file), EVALUATION)
    client.set_tag(run, EVALUATION_TAG, digest.hexdigest())


def _rows(history: Path) -> list[MetricRow]:
    """The training curve, one row per reported step; empty cells are left out."""
    time = now()
    with history.open(newline="") as file:
        return [
            MetricRow(int(row.pop("step")), {name: float(cell) for name, cell in row.items() if cell}, time)
            for row in csv.DictReader(file)
        ]


def _log_numbers(client: "MlflowClient", run: str, numbers: Mapping[str, float]) -> None:
    logged = {
        name: value for name, value in client.get_run(run).data.metrics.items() if name.startswith(f"{EVALUATION}/")
    }
    if {name: value for name, value in logged.items() if not math.isnan(value)} == numbers:
        return
    steps = [metric.step for name in list(logged)[:1] for metric in client.get_metric_history(run, name)]
    values = {**dict.fromkeys(logged, math.nan), **numbers}
    Curve(client, run).extend([MetricRow(max(steps, default=-1) + 1, values, now())])


def _numbers(name: str, found: object) -> Iterator[tuple[str, float]]:
    """The numbers in a JSON value by their paths; the ends of an interval are `low` and `high`."""
    match found:
        case dict():
            for key, value in found.items():
                yield from _numbers(f"{name}/{key}", value)
        case [low, high]:
            yield from _numbers(name, {"low": low, "high": high})
        case int() | float() if not isinstance(found, bool):
            yield name, float(found)
