"""The run of a finished training, found by the package that it made or created, and completed."""

import csv
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gencomp.evaluation.gate import Measured
from gencomp.registry.manifests import TrainingData, log_data
from gencomp.registry.store import PACKAGE_TAG, experiment_id, find_run, now
from gencomp.registry.tracking import Curve, MetricRow, add_params

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EVALUATION = "evaluation"
"""Folder of a run's artifacts with the tables of its evaluation."""
EVALUATION_TAG = "gencomp.evaluation"
"""Tag of a run: SHA-256 over these tables, so that they are logged once and again when they change."""


def complete_run(
    client: "MlflowClient",
    uri: str,
    name: str,
    content: str,
    params: Mapping[str, str],
    measured: Measured,
    history: Path,
    data: TrainingData | None = None,
) -> str:
    """The id of the run that made the package `content`, with params, training data, evaluation, and a training curve
    without gaps.

    `history` is the training curve as CSV; rows that live logging has brought are not added again.
    """
    experiment = experiment_id(client, uri)
    found = find_run(client, experiment, PACKAGE_TAG, content)
    run = found or str(client.create_run(experiment, run_name=name, tags={PACKAGE_TAG: content}).info.run_id)
    add_params(client, run, params)
    if data is not None:
        log_data(client, run, data)
    Curve(client, run).extend([*_rows(history), MetricRow(0, _evaluation(measured), now())])
    client.set_terminated(run)
    return run


def log_evaluation(client: "MlflowClient", run: str, files: Mapping[str, Path]) -> None:
    """Log tables of numbers as the artifacts `evaluation/<name>` of a run, unless they are what it has already.

    `files` are by the names that they get; those that are missing are left out.
    """
    contents = {name: path.read_bytes() for name, path in sorted(files.items()) if path.is_file()}
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


def _evaluation(measured: Measured) -> dict[str, float]:
    fields = msgspec.to_builtins(measured).items()
    return {f"evaluation/{name}": float(value) for name, value in fields if isinstance(value, int | float)}
