"""The run of a finished training, found by the package that it made or created, and completed."""

import csv
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
