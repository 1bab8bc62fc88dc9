import itertools
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.flows.api import ask, set_state, start_run, state
from tests.flows.checkouts import TRAIN, WAITING_TRAIN, Family, Server, clean_environment, wait_for
from tests.listening import listening

SERVE = ("-m", "flows.serve")


class Serving(NamedTuple):
    """`flows.serve` in a checkout of its own, and the id of its deployment `retrain/scheduled`."""

    checkout: Path
    server: Server
    family: Family
    deployment: str

    def train_by(self, script: str) -> None:
        (self.checkout / "train.sh").write_text(script)
        for started in self.checkout.glob("started-*"):
            started.unlink()

    def training(self) -> bool:
        return (self.checkout / "started-a").exists()

    def stages(self) -> list[str]:
        return [command for command in self.family.commands() if "sleep 300" in command or "dvc" in command]

    def ends_as(self, run: str, expected: str) -> bool:
        return wait_for(lambda: state(self.server, run) == expected, 120)


@pytest.fixture(scope="module")
def serving(template: Path, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    checkout = Path(shutil.copytree(template, folder / "checkout"))
    prefect = {"PREFECT_API_URL": server.api, "PREFECT_HOME": str(checkout / ".prefect")}
    family = Family(checkout, clean_environment(folder) | prefect)
    serve = family.start(*SERVE, "--cron", "0 3 29 2 *", background=True)

    def deployed() -> bool:
        try:
            ask(server, "deployments/name/retrain/scheduled")
        except OSError:
            return False
        return True

    assert wait_for(deployed)
    try:
        yield Serving(checkout, server, family, str(ask(server, "deployments/name/retrain/scheduled")["id"]))
        serve.send_signal(signal.SIGTERM)
        output, _ = serve.communicate(timeout=120)
        assert wait_for(lambda: not family.members(), 20), (family.commands(), output)
        assert "Traceback" not in output, output
    finally:
        family.end()


def test_an_overlapping_run_is_refused_and_a_cancelled_one_ends_with_its_whole_tree(serving: Serving) -> None:
    serving.train_by(WAITING_TRAIN)
    deployment = ask(serving.server, f"deployments/{serving.deployment}")
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 3 29 2 *"]  # type: ignore[index]
    first = start_run(serving.server, serving.deployment)
    assert wait_for(serving.training, 120)
    assert len(serving.stages()) > 2
    second = start_run(serving.server, serving.deployment)
    assert serving.ends_as(second, "CANCELLED"), state(serving.server, second)
    assert state(serving.server, first) == "RUNNING"
    set_state(serving.server, first, "CANCELLING", "Cancelling")
    assert serving.ends_as(first, "CANCELLED"), state(serving.server, first)
    assert wait_for(lambda: not serving.stages(), 30), serving.stages()


def test_a_failed_run_is_run_again_from_where_it_failed(serving: Serving) -> None:
    serving.train_by("echo trained $1 >> trained.txt; [ $1 = a -o -e mended ] || exit 3\n" + TRAIN)
    run = start_run(serving.server, serving.deployment)
    assert serving.ends_as(run, "FAILED"), state(serving.server, run)
    (serving.checkout / "mended").touch()
    set_state(serving.server, run, "SCHEDULED", "AwaitingRetry")
    assert serving.ends_as(run, "COMPLETED"), state(serving.server, run)
    assert (serving.checkout / "trained.txt").read_text() == "trained a\ntrained b\ntrained b\n"
    assert (serving.checkout / "registered.txt").exists()


def test_every_server_listens_on_loopback_alone(serving: Serving) -> None:
    everything = [*serving.family.members(), *psutil.Process().children(recursive=True)]
    found = listening(everything)
    assert int(serving.server.api.split(":")[2].split("/")[0]) in {port for _, port in found}
    assert {address for address, _ in found} == {"127.0.0.1"}


@pytest.mark.usefixtures("migrated_home")
def test_the_server_listens_where_the_option_host_says_and_nowhere_else(family: Family) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        port = probe.getsockname()[1]
    serve = family.start(*SERVE, "--host", "127.0.0.2", "--port", str(port), background=True)
    assert serve.stdout is not None
    said = list(itertools.takewhile(lambda line: "Serving" not in line, iter(serve.stdout.readline, "")))
    assert said == [f"Prefect server: http://127.0.0.2:{port}\n"]
    assert listening(family.members()) == {("127.0.0.2", port)}
    serve.send_signal(signal.SIGTERM)
    serve.wait(timeout=60)


def test_a_wrong_cron_expression_is_refused_before_anything_starts(family: Family, checkout: Path) -> None:
    serve = family.start(*SERVE, "--cron", "every night")
    output, _ = serve.communicate(timeout=120)
    assert serve.returncode == 2
    assert "Invalid value for --cron: 'every night' is not a cron expression" in output
    assert not (checkout / ".prefect" / "prefect.db").exists()


def test_the_help_has_an_example(family: Family) -> None:
    output, _ = family.start(*SERVE, "--help").communicate(timeout=60)
    assert "python -m flows.serve --cron '0 3 * * *'" in output
