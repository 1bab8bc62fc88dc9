"""The environment of flows and of what they start: no telemetry, Prefect's files in the checkout."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

QUIET = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
_SQLITE = "sqlite:///"
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def prepare(root: Path) -> None:
    """Set this process's environment before Prefect is imported; what the user has set stays, telemetry excepted."""
    os.environ.update(QUIET)
    os.environ.setdefault("PREFECT_HOME", str(root / ".prefect"))


def for_stages(environment: Mapping[str, str]) -> dict[str, str]:
    """What dvc and its stages see: this Python first on PATH, unbuffered output, the checkout's own git folder."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    kept = {name: value for name, value in environment.items() if name not in _GIT_VARIABLES}
    return kept | QUIET | {"PATH": path, "PYTHONUNBUFFERED": "1"}


def for_worktree(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The same for a worktree of the checkout `root`: runs are logged to the MLflow store of `root`."""
    store = environment.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if store.startswith(_SQLITE):
        store = _SQLITE + str(root / store.removeprefix(_SQLITE))
    return for_stages(environment) | {"MLFLOW_TRACKING_URI": store}
