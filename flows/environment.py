"""The environment of flows and of what they start: no telemetry, Prefect's files in the checkout, a folder of its own
for temporary files."""

import contextlib
import getpass
import hashlib
import os
import shutil
import stat
import sys
import tempfile
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


def temporary_folder(root: Path) -> Path:
    """Where what runs in the checkout `root` puts temporary files; in a short path, since sockets lie in it too."""
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"gencomp-{os.getuid()}-{digest}"


def clear_temporary(root: Path) -> None:
    """Remove what killed processes left in that folder; only for who holds the checkout (flows/lock.py)."""
    if _is_ours(folder := temporary_folder(root)):
        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder, no link, and this user's: anybody may make a name in /tmp."""
    with contextlib.suppress(FileNotFoundError):
        status = folder.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return False


def for_stages(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What dvc and its stages see in the checkout `root`: this Python first on PATH, unbuffered output, the checkout's
    own git folder, and the checkout's folder for temporary files while there is one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    kept = {name: value for name, value in environment.items() if name not in _GIT_VARIABLES}
    own = QUIET | {"PATH": path, "PYTHONUNBUFFERED": "1"}
    if not _is_ours(folder := temporary_folder(root)):
        return kept | own
    # What torch has compiled would go with the folder; this is where it keeps it otherwise.
    compiled = {"TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}")}
    return compiled | kept | own | {"TMPDIR": str(folder)}


def for_worktree(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The same for a worktree of the checkout `root`: runs are logged to the MLflow store of `root`."""
    store = environment.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    if store.startswith(_SQLITE):
        store = _SQLITE + str(root / store.removeprefix(_SQLITE))
    return for_stages(root, environment) | {"MLFLOW_TRACKING_URI": store}
