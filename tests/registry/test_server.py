"""Tracking, registering and pulling through a real MLflow server, which comes, serves and is killed.

Each test works alone; in this order the server is started once.
"""

import base64
import io
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image

from gencomp.cli import main
from gencomp.evaluation.gate import Measured
from gencomp.models.content import content_hash
from gencomp.registry import tracking
from gencomp.registry.card import GAP
from gencomp.registry.manifests import TrainingData
from gencomp.registry.release import pull
from gencomp.registry.runs import complete_run
from gencomp.registry.store import RegistryError, connect
from gencomp.registry.tracking import RunLogger
from stages import register
from tests.registry.logged import run_of, steps
from tests.registry.project import Project
from tests.registry.server import Server
from tests.registry.serving import by_codec, invoke, loaded, pixels, served, text

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
    client = connect(server.uri)
    run = str(client.get_model_version("gencomp-gc", "1").run_id)
    (tmp_path / "downloaded").mkdir()
    tables = Path(client.download_artifacts(run, "evaluation", str(tmp_path / "downloaded")))
    assert (tables / "rates.csv").read_bytes() == Path("report/rates.csv").read_bytes()
    assert sorted(path.name for path in tables.iterdir()) == ["centers.csv", "metrics.json", "rates.csv"]
    assert not Path("mlartifacts").exists()


@pytest.fixture
def champion(project: Project, server: Server, packages: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """The first package, registered with the server as the champion; its reference."""
    server.wait()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    project.place(packages[0])
    register.main()
    return "models:/gencomp-gc@champion"


def test_the_server_shows_the_pictures_of_the_model_card(champion: str, server: Server) -> None:
    version = connect(server.uri).get_model_version_by_alias("gencomp-gc", "champion")
    [address] = re.findall(r"!\[pictures\]\(([^)]+)\)", version.description)
    with urllib.request.urlopen(urljoin(f"{server.uri}/", address), timeout=60) as answer:
        data = answer.read()
    with Image.open(io.BytesIO(data), formats=["PNG"]) as sheet:
        sheet.load()
        assert sheet.size == (40 + GAP + 40, 30)  # one picture, and what is drawn of it


@pytest.fixture
def outside(server: Server, python_env: dict[str, str]) -> dict[str, str]:
    """The environment of a process that has the server and not this checkout."""
    kept = {name: value for name, value in python_env.items() if name != "PYTHONPATH"}
    return kept | {"MLFLOW_TRACKING_URI": server.uri}


def test_the_loaded_champion_codes_pictures_of_any_size_as_the_codec_does_and_refuses_in_one_line(
    champion: str, packages: tuple[Path, Path], outside: dict[str, str], tmp_path: Path
) -> None:
    expected = by_codec(packages[0])
    requests = [("compress", text(png)) for png, _, _ in expected]
    requests += [("decompress", text(stream)) for _, stream, _ in expected]
    stream = expected[1][1]
    refused = [("guess", text(stream)), ("decompress", text(stream[:8])), ("decompress", "no base64")]
    refused += [("compress", text(stream))]
    *answers, code = loaded(champion, requests + refused, outside, tmp_path)
    assert [base64.b64decode(answer) for answer in answers[:3]] == [stream for _, stream, _ in expected]
    for answer, (_, _, reconstruction) in zip(answers[3:6], expected, strict=True):
        assert np.array_equal(pixels(answer), reconstruction)
    assert all(answer.startswith("refused: ") and "\n" not in answer for answer in answers[6:])
    assert "op is 'guess', not compress or decompress" in answers[6]
    assert "/code/gencomp/" in code  # its own, not this checkout's


def test_the_champion_is_served_on_loopback_alone_and_refuses_with_status_400(
    champion: str, packages: tuple[Path, Path], outside: dict[str, str], tmp_path: Path
) -> None:
    expected = by_codec(packages[0])
    with served(champion, outside, tmp_path) as port:
        for png, stream, reconstruction in expected:
            assert base64.b64decode(invoke(port, "compress", text(png))) == stream
            assert np.array_equal(pixels(invoke(port, "decompress", text(stream))), reconstruction)
        with pytest.raises(urllib.error.HTTPError) as refusal:
            invoke(port, "decompress", text(expected[0][1][:8]))
        assert refusal.value.code == 400
        assert listening(port) == {"127.0.0.1"}


def listening(port: int) -> set[str]:
    """The addresses at which a port is listened to."""
    found = psutil.net_connections("tcp")
    return {one.laddr.ip for one in found if one.laddr.port == port and one.status == psutil.CONN_LISTEN}


def test_the_server_listens_on_loopback_alone_where_no_host_is_named(server: Server) -> None:
    server.wait()
    assert listening(server.port) == {"127.0.0.1"}


def test_a_pulled_champion_needs_no_server_and_no_network(
    champion: str, packages: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = CliRunner().invoke(main, ["models", "pull", champion, str(tmp_path / "pulled")])
    assert (pulled.exit_code, pulled.output) == (0, f"{tmp_path / 'pulled'}\n")

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    png, stream, _ = by_codec(packages[0])[1]
    (tmp_path / "a.png").write_bytes(png)
    command = ["compress", str(tmp_path / "a.png"), str(tmp_path / "a.gnc"), "--model", str(tmp_path / "pulled")]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert (tmp_path / "a.gnc").read_bytes() == stream


def test_secrets_of_the_environment_and_of_addresses_reach_neither_the_store_nor_what_is_printed(
    project: Project,
    server: Server,
    packages: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A password in the store's address, an access key in the environment, and a DVC remote's password in a file."""
    server.wait()
    address = server.uri.replace("//", "//someone:hunter2@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("['remote \"lab\"']\n    password = hunter2\n")
    measured = project.place(packages[1])
    data = TrainingData("photos", Path("data/shards/photos"))
    with RunLogger("gc", "secrets", {"seed": "1"}, data=data) as logger:
        logger.package(measured.package)
        logger.metrics(1, {"loss": 1.0})
    register.main()
    with pytest.raises(RegistryError):
        pull("models:/nothing@champion", tmp_path / "nothing")
    with pytest.raises(RegistryError) as refusal:
        pull("models:/gencomp-gc@champion", tmp_path / "nothing", "http://someone:hunter2@127.0.0.1:9")
    said = capfd.readouterr()
    assert "registered as gencomp-gc version" in said.out
    assert "hunter2" not in said.out + said.err + str(refusal.value)
    stored = [path for path in server.folder.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in stored)
    assert [path for path in stored if b"hunter2" in path.read_bytes()] == []


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
    assert complete_run(client, server.store, "gc", MEASURED.package, {}, tmp_path / "gc.csv") == run
    assert steps(client, run, "loss") == [(1, 4.0), (2, 3.0), (3, 2.0), (4, 1.0)]
    assert client.get_run(run).info.status == "FINISHED"
