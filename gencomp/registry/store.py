"""The MLflow store: where it is, its safe creation, a client of it, and runs found by their tags."""

import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DEFAULT_STORE = Path("mlflow.db")
EXPERIMENT = "gencomp"
CONTENT_TAG = "gencomp.content"
"""Tag of a run: the key of what is trained (config, data, code), so that a re-run continues its run."""
PACKAGE_TAG = "gencomp.package"
"""Tag of runs and of versions: the content hash of the model package."""
DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's own defaults call home, print between our lines, and wait four minutes for a server that is not there."""
_USER = re.compile(r"//[^/\s]*@")


class RegistryError(Exception):
    """Something that the store cannot give or take; the message is one line."""


def store_uri() -> str:
    """The store that MLFLOW_TRACKING_URI names, or the SQLite file `mlflow.db` in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DEFAULT_STORE.absolute()}"


def shown(uri: str) -> str:
    """A store's address for messages: without the user and password that it may carry."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store, absolute; None for any other store."""
    scheme, _, path = uri.partition(":///")
    return Path(path.partition("?")[0]).absolute() if scheme.split("+")[0] == "sqlite" and path else None


def prepare_store(uri: str) -> None:
    """Create a SQLite store that does not exist yet, whole or not at all, by one process at a time.

    MLflow creates the tables itself on first use, but processes that do so at once corrupt the file for good. Any
    other kind of store is left alone.
    """
    file = sqlite_file(uri)
    if file is None or file.exists():
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock"):
        if not file.exists():
            unfinished = file.with_name(f"{file.name}.unfinished")
            unfinished.unlink(missing_ok=True)
            _create_tables(f"sqlite:///{unfinished}")
            os.replace(unfinished, file)


def _create_tables(uri: str) -> None:
    """`mlflow db upgrade`, then a first query: it inserts the default experiment, which processes also race for."""
    from mlflow.db import upgrade

    upgrade.main([uri], standalone_mode=False)
    client_class()(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)


def connect(uri: str) -> "MlflowClient":
    """A client of a store that is ready for use."""
    client = client_class()
    prepare_store(uri)
    return client(tracking_uri=uri, registry_uri=uri)


def client_class() -> "type[MlflowClient]":
    """MLflow's client, imported on demand (2 s), with DEFAULTS and silent unless the environment asks otherwise."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return MlflowClient


def reason(error: BaseException) -> str:
    """The first cause of an error in one line, without the user and password of an address in it.

    MLflow wraps it in several that repeat the address.
    """
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return _USER.sub("//", (str(error).strip() or type(error).__name__).splitlines()[0])


def now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return time.time_ns() // 1_000_000


def experiment_id(client: "MlflowClient", uri: str, name: str = EXPERIMENT) -> str:
    """The experiment of this name, created where it is missing; a SQLite store keeps files beside it, `mlartifacts`."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(uri)
        try:
            artifacts = (file.parent / "mlartifacts").as_uri() if file else None
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    return str(found.experiment_id)


def find_run(client: "MlflowClient", experiment: str, tag: str, value: str) -> str | None:
    """The id of the oldest run that carries this tag."""
    runs = client.search_runs([experiment], f"tags.`{tag}` = '{value}'", max_results=1, order_by=["start_time ASC"])
    return str(runs[0].info.run_id) if runs else None


def flatten(section: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """A nested section of params as MLflow params: `{"model": {"width": 60}}` is `{"model.width": "60"}`.

    Addresses lose the user and password that they may carry.
    """
    flat: dict[str, str] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _USER.sub("//", str(value))
    return flat
