"""Servers that are away in mid-training: it ends, and what it had to tell arrives."""

import json
import socket
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows.server import prefect_server
from gencomp.registry.store import prepare_store
from tests.flows.api import ask_for_all, logs
from tests.flows.checkouts import Family, Server, wait_for
from tests.registry.logged import run_of, steps
from tests.registry.server import Server as MlflowServer

PIPELINE = """\
stages:
  train:
    foreach: [gc]
    do: {cmd: python train.py}
"""
TRAIN = """\
import time
from pathlib import Path
from gencomp.registry.tracking import RunLogger
with RunLogger("gc", "content", {}) as logger:
    step, longest, last = 0, 0.0, time.monotonic()
    while not Path("stop").exists():
        step += 1
        logger.metrics(step, {"loss": 1 / step})
        if step % 10 == 0:
            print(f"step {step}")
            Path("step").write_text(str(step))
        time.sleep(0.1)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
Path("trained").write_text(f"[{step}, {longest}]")
"""


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=pytest.mark.slow)])
def test_the_mlflow_server_and_then_the_prefect_server_are_away_and_nothing_is_lost(
    seconds: int, family: Family, checkout: Path, migrated_home: Path, tmp_path: Path
) -> None:
    (checkout / "dvc.yaml").write_text(PIPELINE)
    (checkout / "train.py").write_text(TRAIN)
    mlflow = MlflowServer(tmp_path)
    prepare_store(mlflow.store)
    mlflow.wait()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    try:
        with prefect_server(migrated_home, port=port) as api:
            family.environment.update({"PREFECT_API_URL": api, "MLFLOW_TRACKING_URI": mlflow.uri})
            flow = family.start("-m", "flows.pipeline")
            trains_on(checkout, 10)
            mlflow.kill()
            outage(checkout, seconds)
            mlflow.wait()
        outage(checkout, seconds)
        with prefect_server(migrated_home, port=port) as api:
            trains_on(checkout, 10)
            (checkout / "stop").touch()
            output, _ = flow.communicate(timeout=200)
            assert flow.returncode == 0, output
            trained, longest_step = json.loads((checkout / "trained").read_text())
            assert longest_step < max(seconds, 10)
            server = Server(api, migrated_home)
            last = ask_for_all(server, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
            assert (last["state_type"], last["end_time"] is None) == ("COMPLETED", False)
            tasks = ask_for_all(server, "task_runs/filter", {"flow_runs": {"id": {"any_": [last["id"]]}}})
            assert [(task["name"], task["state_type"]) for task in tasks] == [("train@gc", "COMPLETED")]
            said = logs(server, str(last["id"]))
            limits = ask_for_all(server, "v2/concurrency_limits/filter", {})
        # Given back to another process than the one that lent it. (The database that the home was made from may know
        # the limits of other tests' deployments.)
        assert {limit["name"]: limit["active_slots"] for limit in limits}["gpu"] == 0
        assert [line for line in said if line.startswith("step ")] == [f"step {n}" for n in range(10, trained + 1, 10)]
        client = MlflowClient(mlflow.uri)
        run = run_of(client, mlflow.uri, "content")
        assert client.get_run(run).info.status == "FINISHED"
        assert sorted(step for step, _ in steps(client, run, "loss")) == list(range(1, trained + 1))
    finally:
        mlflow.kill()


def outage(checkout: Path, seconds: float) -> None:
    """That long, in which the training goes on."""
    step = at(checkout)
    time.sleep(seconds)
    assert wait_for(lambda: at(checkout) > step, 30)


def trains_on(checkout: Path, steps: int) -> None:
    step = at(checkout)
    assert wait_for(lambda: at(checkout) >= step + steps, 120)


def at(checkout: Path) -> int:
    """The training's last told step."""
    told = checkout / "step"
    return int(told.read_text() or 0) if told.exists() else 0
