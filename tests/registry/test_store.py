"""The MLflow store: created once by whoever comes first, found by everyone."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gencomp.registry.store import connect, experiment_id, flatten, prepare_store, reason, shown, sqlite_file, store_uri

OPENING = """
import multiprocessing, sys
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
from gencomp.registry.store import connect, experiment_id

def open_store(uri, barrier):
    barrier.wait(60)
    client = connect(uri)
    client.create_run(experiment_id(client, uri))

context = multiprocessing.get_context("fork")
barrier = context.Barrier(4)
uri = f"sqlite:///{sys.argv[1]}"
processes = [context.Process(target=open_store, args=(uri, barrier)) for _ in range(4)]
[process.start() for process in processes]
[process.join() for process in processes]
print([process.exitcode for process in processes])
"""
"""Four processes that have MLflow in memory, so that they meet at the store and not on the way to it."""


def test_four_processes_that_open_a_fresh_store_at_once_all_work_even_after_a_killed_creation(
    tmp_path: Path, empty_store: Path, python_env: dict[str, str]
) -> None:
    file = tmp_path / "a folder" / "mlflow.db"
    file.parent.mkdir()
    file.with_name("mlflow.db.unfinished").write_bytes(empty_store.read_bytes()[:100_000])
    command = [sys.executable, "-c", OPENING, str(file)]
    opened = subprocess.run(command, env=python_env, capture_output=True, text=True, timeout=200, check=False)
    assert (opened.stdout, opened.stderr) == ("[0, 0, 0, 0]\n", "")
    client = connect(f"sqlite:///{file}")
    assert len(client.search_runs([experiment_id(client, f"sqlite:///{file}")])) == 4
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert sorted(path.name for path in file.parent.iterdir() if path.suffix != ".lock") == ["mlflow.db"]


def test_a_store_that_exists_is_left_as_it_is(store: str) -> None:
    file = sqlite_file(store)
    assert file is not None
    before = file.read_bytes()
    prepare_store(store)
    assert file.read_bytes() == before
    assert not file.with_name("mlflow.db.lock").exists()


def test_files_of_a_sqlite_store_lie_beside_it(store: str, tmp_path: Path) -> None:
    client = connect(store)
    experiment = client.get_experiment(experiment_id(client, store))
    assert experiment.artifact_location == (tmp_path / "mlartifacts").as_uri()
    assert experiment_id(client, store) == experiment.experiment_id


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri() == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert store_uri() == "http://127.0.0.1:5000"


def test_only_sqlite_stores_have_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sqlite_file("sqlite:///mlflow.db") == tmp_path / "mlflow.db"
    assert sqlite_file("sqlite:////data/m.db?timeout=5") == Path("/data/m.db")
    for other in ("http://host:5000", "postgresql://user@host/db", "sqlite://"):
        assert sqlite_file(other) is None


def test_a_password_in_an_address_is_never_shown() -> None:
    assert shown("https://me:secret@host:5000/path") == "https://host:5000/path"
    assert shown("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
    assert (
        reason(ValueError("no answer from https://me:secret@host:5000/path")) == "no answer from https://host:5000/path"
    )


def test_nested_params_become_dotted_names() -> None:
    section = {
        "dataset": "photos",
        "model": {"width": 60, "loss": {"mse": 10.0}},
        "empty": None,
        "from": "s3://me:secret@host/x",
    }
    flat = {"dataset": "photos", "model.width": "60", "model.loss.mse": "10.0", "empty": "None"}
    flat |= {"from": "s3://host/x"}
    assert flatten(section) == flat
