"""Tracking, registering and pulling through a real MLflow server, which comes, serves and is killed.

Each test works alone; in this order the server is started once.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gencomp.evaluation.gate import Measured
from gencomp.models.content import content_hash
from gencomp.registry import tracking
from gencomp.registry.release import pull
from gencomp.registry.runs import complete_run
from gencomp.registry.store import connect
from gencomp.registry.tracking import RunLogger
from stages import register
from tests.registry.logged import run_of, steps
from tests.registry.project import Project
from tests.registry.server import Server

MEASURED = Measured(
    images=1,
    evaluation_digest="d",
    package="outage package",
    bpp=0.03,
    psnr=20.0,
    ms_ssim=None,
    bound_violations=0,
    symbol_mismatches=0,
)


def test_metrics_logged_while_the_server_is_away_arrive_when_it_comes(
    server: Server,
    capsys: pytest.CaptureFixture[str],
    eventually: Callable[[Callable[[], bool]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "LONGEST_PAUSE", 1.0)
    server.kill()
    with RunLogger("gc", "early", {"seed": "1"}, server.uri) as logger:
        logger.metrics(1, {"loss": 2.0})
        eventually(lambda: logger._warned)
        server.wait()
        logger.metrics(2, {"loss": 1.0})
    client = connect(server.uri)
    run = run_of(client, server.uri, "early")
    assert steps(client, run, "loss") == [(1, 2.0), (2, 1.0)]
    assert client.get_run(run).data.params == {"seed": "1"}
    assert capsys.readouterr().err.count("\n") == 1


def test_a_server_serves_registration_and_pulling_alike(
    project: Project,
    server: Server,
    packages: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.wait()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    project.place(packages[0])
    register.main()
    register.main()
    assert capsys.readouterr().out.splitlines() == [
        "gc: registered as gencomp-gc version 1, champion",
        "gc: is gencomp-gc version 1, champion",
    ]
    assert content_hash(pull("models:/gencomp-gc@champion", tmp_path / "pulled")) == content_hash(packages[0])
    assert not Path("mlartifacts").exists()


def test_training_outlives_a_server_that_is_killed_and_its_curve_is_completed_later(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    eventually: Callable[[Callable[[], bool]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "FAREWELL", 2.0)
    server.wait()
    with RunLogger("gc", "outage", {}, server.uri) as logger:
        logger.package(MEASURED.package)
        logger.metrics(1, {"loss": 4.0})
        logger.metrics(2, {"loss": 3.0})
        eventually(lambda: not logger._queue)
        server.kill()
        started = time.monotonic()
        logger.metrics(3, {"loss": 2.0})
        time.sleep(0.5)
        logger.metrics(4, {"loss": 1.0})
        assert time.monotonic() - started < 1.0
    assert capsys.readouterr().err.count("\n") == 1
    client = connect(server.store)
    run = run_of(client, server.store, "outage")
    assert steps(client, run, "loss") == [(1, 4.0), (2, 3.0)]
    (tmp_path / "gc.csv").write_text("step,loss\n1,4\n2,3\n3,2\n4,1\n")
    assert complete_run(client, server.store, "gc", MEASURED.package, {}, MEASURED, tmp_path / "gc.csv") == run
    assert steps(client, run, "loss") == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert client.get_run(run).info.status == "FINISHED"
