"""Live logging: nothing waits for the server, nothing is lost, nothing is told twice."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from gencomp.registry import tracking
from gencomp.registry.manifests import TrainingData, log_data
from gencomp.registry.store import PACKAGE_TAG, connect, experiment_id
from gencomp.registry.tracking import Curve, MetricRow, RunLogger
from tests.registry.logged import run_of, steps


def artifacts(client: MlflowClient, run: str, folder: str) -> list[str]:
    return [file.path for file in client.list_artifacts(run, folder)]


def test_a_run_gets_params_metrics_pictures_and_its_package(store: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"first")
    with RunLogger("gc", "content", {"model.width": "60"}, store) as logger:
        logger.metrics(10, {"loss": 2.0, "psnr": 20.0})
        logger.picture(10, "kodim01", picture)
        picture.write_bytes(b"second")
        logger.picture(20, "kodim01", picture)
        logger.metrics(20, {"loss": 1.0})
        logger.package("abc")
    client = connect(store)
    run = client.get_run(run_of(client, store, "content"))
    assert (run.info.run_name, run.info.status) == ("gc", "FINISHED")
    assert run.data.params == {"model.width": "60"}
    assert run.data.tags[PACKAGE_TAG] == "abc"
    assert steps(client, run.info.run_id, "loss") == [(10, 2.0), (20, 1.0)]
    assert steps(client, run.info.run_id, "psnr") == [(10, 20.0)]
    assert artifacts(client, run.info.run_id, "pictures/kodim01") == [
        "pictures/kodim01/00000010.png",
        "pictures/kodim01/00000020.png",
    ]
    stored = client.download_artifacts(run.info.run_id, "pictures/kodim01/00000010.png", str(tmp_path))
    assert Path(stored).read_bytes() == b"first"


def test_a_resumed_training_continues_its_run_and_repeats_no_step(store: str) -> None:
    def interrupted() -> None:
        with RunLogger("gc", "content", {"seed": "1"}, store) as logger:
            logger.metrics(10, {"loss": 3.0})
            logger.metrics(20, {"loss": 2.0})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    client = connect(store)
    run = run_of(client, store, "content")
    assert client.get_run(run).info.status == "KILLED"
    with RunLogger("gc", "content", {"seed": "1"}, store) as logger:
        logger.metrics(20, {"loss": 2.0})
        logger.metrics(30, {"loss": 1.0})
    assert run_of(client, store, "content") == run
    assert client.get_run(run).info.status == "FINISHED"
    assert steps(client, run, "loss") == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert len(client.search_runs([experiment_id(client, store)])) == 1


def test_a_record_that_the_store_refuses_does_not_hold_up_the_others(
    store: str, capsys: pytest.CaptureFixture[str], eventually: Callable[[Callable[[], bool]], None]
) -> None:
    with RunLogger("gc", "content", {}, store) as logger:
        logger.metrics(1, {"not/../a name": 1.0})
        eventually(lambda: not logger._queue)
        logger.metrics(2, {"loss": 1.0})
    client = connect(store)
    assert steps(client, run_of(client, store, "content"), "loss") == [(2, 1.0)]
    assert capsys.readouterr().err.count("refuses a record") == 1


def test_a_run_tells_of_its_training_data_once_by_its_manifest(store: str, photo_shards: Path, tmp_path: Path) -> None:
    data = TrainingData("photographs", photo_shards)
    with RunLogger("gc", "content", {}, store, data):
        pass
    client = connect(store)
    run = run_of(client, store, "content")
    log_data(client, run, data)
    (found,) = client.get_run(run).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("photographs", data.digest()[:32])
    assert json.loads(found.dataset.profile)["splits"]["train"] == {"samples": 4, "shards": 2}
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    stored = client.download_artifacts(run, "data/photographs/manifest.json", str(tmp_path))
    assert Path(stored).read_bytes() == data.manifest.read_bytes()


def test_the_load_of_the_machine_is_logged_unless_it_is_switched_off(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.5")
    for content, switch in (("on", "true"), ("off", "false")):
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", switch)
        with RunLogger("gc", content, {}, store):
            time.sleep(1.2)
    client = connect(store)
    names = {name: set(client.get_run(run_of(client, store, name)).data.metrics) for name in ("on", "off")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= names["on"]
    assert {"system/disk_usage_percentage", "system/network_receive_megabytes"} <= names["on"]
    assert names["off"] == set()
    taken = steps(client, run_of(client, store, "on"), "system/system_memory_usage_megabytes")
    assert len(taken) == len(dict(taken)) >= 2
    assert all(abs(step / 1000 - time.time()) < 60 and megabytes > 0 for step, megabytes in taken)


def test_a_curve_gets_only_the_steps_that_it_lacks(store: str) -> None:
    client = connect(store)
    run = client.create_run(experiment_id(client, store)).info.run_id
    Curve(client, run).extend([MetricRow(step, {"loss": float(step)}, 1) for step in (1, 3)])
    Curve(client, run).extend([MetricRow(step, {"loss": float(step), "psnr": 9.0}, 2) for step in (1, 2, 3)])
    assert sorted(steps(client, run, "loss")) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert len(steps(client, run, "psnr")) == 3


def test_a_server_that_is_not_there_costs_one_line_and_no_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracking, "FAREWELL", 1.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with RunLogger("gc", "content", {}, f"http://me:secret@{address}") as logger:
            started = time.monotonic()
            for step in range(1000):
                logger.metrics(step, {"loss": 1.0})
            assert time.monotonic() - started < 1.0
            time.sleep(1.0)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"http://{address} cannot be reached" in error
    assert "refused" in error and "secret" not in error


def test_what_waits_for_a_lost_server_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "FAREWELL", 0.1)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"picture")
    with RunLogger("gc", "content", {}, "http://127.0.0.1:9") as logger:
        for step in range(100):
            logger.metrics(step, {"loss": 1.0})
            logger.picture(step, "name", picture)
        waiting = [type(record).__name__ for record in logger._queue]
    assert waiting.count("Picture") == tracking.PICTURE_CAPACITY
    assert waiting.count("MetricRow") == 100
