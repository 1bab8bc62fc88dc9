"""Small packages, a project folder, MLflow stores, and a real MLflow server."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gencomp.registry.store import prepare_store
from tests.registry.project import Project, make_package
from tests.registry.server import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two different packages."""
    folder = tmp_path_factory.mktemp("packages")
    return make_package(folder / "first", 1), make_package(folder / "second", 2)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store as `prepare_store` leaves it, to be copied."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare_store(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty SQLite store of one test."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def project(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project folder with an empty store, as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Project(tmp_path)


@pytest.fixture(scope="session")
def python_env() -> dict[str, str]:
    """The environment of a stage started as a process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="session")
def server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server over a store of its own, not yet started: `start` or `wait`."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    server = Server(folder)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds, at most 60 s."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, "it never held"
            time.sleep(0.1)

    return wait
