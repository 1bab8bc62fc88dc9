import json
import signal
import socket
import time
from pathlib import Path

import pytest
import zc.lockfile

from tests.flows.api import artifacts, ask_for_all
from tests.flows.checkouts import Family, Server, shell, wait_for
from tests.listening import listening

PIPELINE = ("-m", "flows.pipeline")
SLOW_TRAIN = 'echo $$ > "$PWD/started-$1"; sleep 300\n'


def test_the_flow_runs_each_target_once_and_a_second_flow_is_refused_meanwhile(
    served: Family, checkout: Path, server: Server
) -> None:
    with (checkout / "train.sh").open("a") as script:
        script.write("echo $1 5/10  1.00 it/s; touch started-$1; while [ ! -e go ]; do sleep 0.1; done\n")
    flow = served.start(*PIPELINE)
    assert wait_for(lambda: (checkout / "started-a").exists())
    before = {path: path.stat().st_mtime for path in checkout.rglob("*") if ".git" not in path.parts}
    second = served.start(*PIPELINE)
    refusal, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    assert refusal == f"Error: another flow is running in {checkout}: wait for it or stop it, then start again\n"
    assert before == {path: path.stat().st_mtime for path in checkout.rglob("*") if ".git" not in path.parts}
    (checkout / "go").touch()
    output, _ = flow.communicate(timeout=120)
    assert flow.returncode == 0, output
    assert output.splitlines()[-1].startswith("6 targets in ")
    assert output.splitlines()[-1].endswith("6 ran")
    assert "Task run 'train@a' - training a" in output
    rows = {row["target"]: row for row in json.loads(artifacts(server, "targets")[0])}
    assert list(rows) == ["shard", "train@a", "train@b", "evaluate@a", "evaluate@b", "register"]
    assert rows["evaluate@b"]["bpp"] == 0.03
    assert rows["train@b"]["status"] == "ran"
    page = artifacts(server, "reproduce")[0]
    assert "| `train@a` | ran |" in page
    assert "Report: " not in page  # there is none
    assert float(artifacts(server, "progress")[0]) == 100
    assert float(artifacts(server, "progress-train-b")[0]) == 50
    status = json.loads(shell(checkout, "dvc", "status", "--json"))
    assert status == {"register": ["always changed"]}
    assert not served.members()


def test_variants_side_by_side_end_in_the_main_checkout_while_its_dvc_lock_is_held(
    served: Family, checkout: Path
) -> None:
    params = "size: 3\nvariants:\n  a: {steps: 10}\n  b: {steps: 20}\n"
    (checkout / "params.yaml").write_text(params)
    (checkout / "train.sh").write_text(
        "mkdir -p models/$1; echo $2 > models/$1/model.txt; echo $1 $PWD >> $MLFLOW_TRACKING_URI.runs\n"
        "touch .scratch/trained-$1; while [ ! -e .scratch/trained-a -o ! -e .scratch/trained-b ]; do sleep 0.1; done\n"
    )
    shared = checkout.parent / "store"
    served.environment["MLFLOW_TRACKING_URI"] = str(shared)
    flow = served.start(*PIPELINE, "--parallel", "2", "--gpu-slots", "2")
    # Both trainings wait for each other: this would hang were they not side by side.
    scratch = checkout / ".scratch"
    assert wait_for(lambda: (scratch / "trained-a").exists() and (scratch / "trained-b").exists(), 120)
    lock = zc.lockfile.LockFile(str(checkout / ".dvc" / "tmp" / "lock"))
    held_until = time.monotonic() + 10
    finished = [scratch / "worktrees" / name / "metrics" / f"{name}.json" for name in "ab"]
    assert wait_for(lambda: all(path.exists() for path in finished), 10)
    time.sleep(max(0.0, held_until - time.monotonic()))
    assert not (checkout / "metrics").exists()
    lock.close()
    output, _ = flow.communicate(timeout=120)
    assert flow.returncode == 0, output
    assert "was computed again" not in output
    assert (checkout / "models" / "b" / "model.txt").read_text() == "20\n"
    assert json.loads(shell(checkout, "dvc", "status", "--json")) == {"register": ["always changed"]}
    runs = sorted(Path(f"{shared}.runs").read_text().splitlines())
    assert runs == [f"{name} {scratch / 'worktrees' / name}" for name in "ab"]
    assert not (scratch / "worktrees").exists()
    assert not served.members()


def test_a_failing_variant_leaves_the_other_one_finished_and_fails_the_flow(served: Family, checkout: Path) -> None:
    (checkout / "evaluate.sh").write_text("[ $1 = b ] || { echo broken metric; exit 4; }\n" + "mkdir -p metrics; ")
    with (checkout / "evaluate.sh").open("a") as script:
        script.write("echo '{}' > metrics/$1.json\n")
    flow = served.start(*PIPELINE, "--parallel", "2")
    output, _ = flow.communicate(timeout=120)
    assert flow.returncode == 1
    last = output.splitlines()[-1]
    assert last.startswith("Error: evaluate@a: failed to run: sh evaluate.sh a")
    assert last.endswith("broken metric")
    assert "Traceback" not in output
    assert (checkout / "metrics" / "b.json").exists()
    assert (checkout / "models" / "a" / "model.txt").exists()
    assert not (checkout / "registered.txt").exists()


def test_what_crosses_a_network_is_tried_again_and_nothing_else(served: Family, checkout: Path) -> None:
    stages = """\
stages:
  download:
    foreach: [photos]
    do: {cmd: "echo asked >> asked.txt; grep -c asked asked.txt | grep 2 || { echo HTTP 503; exit 3; }"}
  train:
    foreach: [gc]
    do: {cmd: "echo gc 1/2  then; sleep 2; echo trained >> trained.txt; echo connection refused; exit 4"}
"""
    (checkout / "dvc.yaml").write_text(stages)
    output, _ = served.start(*PIPELINE).communicate(timeout=120)
    assert (checkout / "asked.txt").read_text() == "asked\nasked\n", output
    assert (checkout / "trained.txt").read_text() == "trained\n"
    assert output.splitlines()[-1].startswith("Error: train@gc: failed to run: ")
    assert "Retry 1/2 will start" in output


@pytest.mark.parametrize(
    ("number", "parallel"),
    [
        pytest.param(signal.SIGTERM, "1", marks=pytest.mark.slow),
        (signal.SIGTERM, "2"),  # one training runs, the other waits for its slot
        pytest.param(signal.SIGKILL, "2", marks=pytest.mark.slow),
    ],
)
def test_an_ended_flow_leaves_neither_dvc_nor_a_stage_nor_its_prefect_server(
    family: Family, checkout: Path, migrated_home: Path, number: signal.Signals, parallel: str
) -> None:
    (checkout / "train.sh").write_text(SLOW_TRAIN)
    flow = family.start(*PIPELINE, "--parallel", parallel, "--gpu-slots", "1")
    assert wait_for(lambda: list(checkout.rglob("started-*")), 120)
    if parallel == "2":
        assert_one_training_holds_the_other_back(family, checkout, started_server(migrated_home))
    commands = " ".join(family.commands())
    assert "prefect server" in commands
    assert "dvc repro" in commands
    assert "sleep 300" in commands
    assert {address for address, _ in listening(family.members())} == {"127.0.0.1"}
    flow.send_signal(number)
    flow.wait(timeout=40)
    assert wait_for(lambda: not family.members(), 20), family.commands()
    if number == signal.SIGTERM:
        assert flow.returncode == 128 + signal.SIGTERM
        assert not list(migrated_home.glob("*.log"))
        assert not (checkout / ".scratch" / "worktrees").exists()


def started_server(home: Path) -> Server:
    """The server that a flow started over `home`."""
    (log,) = home.glob("server-*.log")
    return Server(f"http://127.0.0.1:{log.stem.removeprefix('server-')}/api", home)


def assert_one_training_holds_the_other_back(family: Family, checkout: Path, server: Server) -> None:
    """Both variants have come to their training; one of them runs, and after 3 s the other one has started no dvc."""

    def waiting_and_running() -> set[object]:
        last = ask_for_all(server, "flow_runs/filter", {"sort": "START_TIME_DESC", "limit": 1})[0]
        tasks = ask_for_all(server, "task_runs/filter", {"flow_runs": {"id": {"any_": [last["id"]]}}})
        return {task["name"] for task in tasks if task["state_type"] == "RUNNING"}

    assert wait_for(lambda: waiting_and_running() == {"train@a", "train@b"}, 60), waiting_and_running()
    time.sleep(3)
    (started,) = checkout.rglob("started-*")
    training = {word for command in family.commands() for word in command.split() if word.startswith("train@")}
    assert training == {started.name.replace("started-", "train@")}


@pytest.mark.slow
def test_a_flow_after_a_killed_one_gets_the_gpu_slot_and_runs(
    family: Family, checkout: Path, migrated_home: Path
) -> None:
    train = (checkout / "train.sh").read_text()
    (checkout / "train.sh").write_text(SLOW_TRAIN)
    flow = family.start(*PIPELINE, "--parallel", "2")
    assert wait_for(lambda: list(checkout.rglob("started-*")), 120)
    flow.kill()
    flow.wait(timeout=20)
    assert wait_for(lambda: not family.members(), 20)
    (checkout / "train.sh").write_text(train)
    again = family.start(*PIPELINE, "--parallel", "2")
    output, _ = again.communicate(timeout=150)
    assert again.returncode == 0, output
    assert not (checkout / ".scratch" / "worktrees").exists()


def test_a_folder_without_a_pipeline_is_refused_in_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    family = Family(tmp_path, environment)
    flow = family.start(*PIPELINE)
    output, _ = flow.communicate(timeout=60)
    assert flow.returncode == 1
    assert output == (f"Error: {tmp_path} has no .dvc folder and dvc.yaml: start this in the root of the repository\n")


def test_a_prefect_server_that_is_away_is_told_in_one_line_and_nothing_runs(
    family: Family, checkout: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        family.environment |= {"PREFECT_API_URL": f"http://127.0.0.1:{taken.getsockname()[1]}/api"}
        flow = family.start(*PIPELINE)
        output, _ = flow.communicate(timeout=120)
    assert flow.returncode == 1
    said = output.splitlines()
    assert len(said) == 1, output
    assert said[0].startswith("Error: the Prefect server that PREFECT_API_URL names cannot be used: Failed to reach")
    assert not (checkout / "data").exists()


def test_what_the_file_system_refuses_is_told_in_one_line(family: Family, checkout: Path) -> None:
    (checkout / ".scratch").write_text("no folder")
    flow = family.start(*PIPELINE)
    output, _ = flow.communicate(timeout=60)
    assert flow.returncode == 1
    assert output == f"Error: [Errno 17] File exists: '{checkout}/.scratch'\n"
