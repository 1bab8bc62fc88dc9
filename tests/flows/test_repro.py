import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zc.lockfile

from flows.environment import for_stages
from flows.repro import Dvc, DvcError, Outcome
from tests.data.test_faults import tmpfs
from tests.flows.checkouts import wait_for

BLOCK = 4096
"""Bytes of a tmpfs's block."""


@pytest.fixture
def dvc(checkout: Path, environment: dict[str, str]) -> Dvc:
    return Dvc(checkout, for_stages(checkout, environment))


@contextmanager
def dvc_lock(checkout: Path) -> Iterator[None]:
    (checkout / ".dvc" / "tmp").mkdir(exist_ok=True)
    lock = zc.lockfile.LockFile(str(checkout / ".dvc" / "tmp" / "lock"))
    try:
        yield
    finally:
        lock.close()


def test_the_graph_is_that_of_the_resolved_pipeline(dvc: Dvc) -> None:
    graph = dvc.graph()
    assert list(graph) == ["shard", "train@a", "train@b", "evaluate@a", "evaluate@b", "register"]
    assert graph["train@a"] == ("shard",)
    assert set(graph["register"]) == {"evaluate@a", "evaluate@b"}


def test_exactly_the_target_runs_and_its_outcome_is_told(dvc: Dvc, checkout: Path) -> None:
    lines: list[str] = []
    assert dvc.reproduce("shard", lines.append) is Outcome.RAN
    assert dvc.reproduce("train@a", lines.append) is Outcome.RAN
    assert "training a" in lines
    assert not (checkout / "models" / "b").exists()
    assert dvc.reproduce("train@a", lines.append) is Outcome.UNCHANGED
    (checkout / "models" / "a" / "model.txt").unlink()
    assert dvc.reproduce("train@a", lines.append) is Outcome.RESTORED
    assert lines.count("training a") == 1
    assert dvc.stale() == {"train@b", "evaluate@a", "evaluate@b", "register"}


def test_a_failing_stage_ends_in_one_line_with_its_last_output(dvc: Dvc, checkout: Path) -> None:
    (checkout / "dvc.yaml").write_text('stages:\n  bad:\n    cmd: echo "no space left" >&2; exit 3\n')
    with pytest.raises(DvcError) as caught:
        dvc.reproduce("bad", print)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("bad: failed to run: ")
    assert "exited with 3" in message
    assert message.endswith("its last output: no space left")


def test_a_broken_dvc_yaml_ends_in_one_line(dvc: Dvc, checkout: Path) -> None:
    (checkout / "dvc.yaml").write_text("stages:\n  bad: [\n")
    with pytest.raises(DvcError, match="dvc.yaml") as caught:
        dvc.graph()
    assert "\n" not in str(caught.value)


def test_a_held_lock_is_waited_for(dvc: Dvc, checkout: Path) -> None:
    with dvc_lock(checkout):
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(dvc.reproduce("shard", print)))
        thread.start()
        time.sleep(6)  # dvc itself waits for 3 s
        assert not outcomes
    thread.join(timeout=60)
    assert outcomes == [Outcome.RAN]


def test_a_lock_that_stays_held_is_given_up_in_one_line(checkout: Path, environment: dict[str, str]) -> None:
    dvc = Dvc(checkout, for_stages(checkout, environment), lock_wait=0)
    with dvc_lock(checkout), pytest.raises(DvcError, match="shard: another dvc process held the lock of "):
        dvc.reproduce("shard", print)


def test_an_ended_dvc_leaves_no_stage_behind_and_refuses_more(dvc: Dvc, checkout: Path) -> None:
    pid = checkout / "pid"
    (checkout / "dvc.yaml").write_text(f"stages:\n  long:\n    cmd: echo $$ > {pid}; sleep 300\n")
    errors: list[str] = []

    def reproduce() -> None:
        try:
            dvc.reproduce("long", print)
        except DvcError as error:
            errors.append(str(error))

    thread = threading.Thread(target=reproduce)
    thread.start()
    assert wait_for(lambda: pid.exists() and pid.read_text())
    dvc.end()
    thread.join(timeout=20)
    assert errors == ["long: stopped"]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    with pytest.raises(DvcError, match="long: stopped"):
        dvc.reproduce("long", print)


@pytest.mark.parametrize("left", [0.0, 0.9])
def test_a_dvc_lock_that_a_kill_cut_short_is_put_back_and_nothing_runs_twice(
    dvc: Dvc, checkout: Path, left: float
) -> None:
    lines: list[str] = []
    dvc.reproduce("shard", lines.append)
    dvc.reproduce("train@a", lines.append)
    lock = checkout / "dvc.lock"
    whole = lock.read_bytes()
    cut = whole[: int(left * whole.index(b"train@a"))]
    lock.write_bytes(cut.rstrip(b"\n'") + b'"' if cut else b"")
    assert "train@a" in dvc.graph()
    assert dvc.reproduce("shard", lines.append) is Outcome.UNCHANGED
    assert dvc.reproduce("train@a", lines.append) is Outcome.RESTORED
    assert lock.read_bytes() == whole
    assert lines.count("training a") == 1


def test_a_table_of_locks_that_a_kill_cut_short_is_made_again(dvc: Dvc, checkout: Path) -> None:
    (checkout / ".dvc" / "tmp").mkdir(exist_ok=True)
    (checkout / ".dvc" / "tmp" / "rwlock").touch()
    lines: list[str] = []
    assert dvc.reproduce("shard", lines.append) is Outcome.RAN
    assert any(line.startswith("the table of DVC's locks") for line in lines)


def test_the_first_dvc_lock_of_a_checkout_may_be_cut_short_too(dvc: Dvc, checkout: Path) -> None:
    dvc.reproduce("shard", print)
    (checkout / "dvc.lock").write_bytes(b"")
    assert dvc.reproduce("shard", print) is Outcome.RESTORED


def test_a_disk_that_was_full_when_dvc_lock_was_written_is_gone_on_with_once_there_is_room(
    template: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "disk", "8m"):
        checkout = Path(shutil.copytree(template, tmp_path / "disk" / "checkout"))
        (checkout / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {tmp_path / 'cache'}\n")
        pipeline, lock = checkout / "dvc.yaml", checkout / "dvc.lock"
        dvc = Dvc(checkout, for_stages(checkout, environment))
        # A dvc.lock that fits a block of the disk, whose end then falls into the name of the next target.
        for spare in (lambda: 3000, lambda: BLOCK - 5 - len(lock.read_bytes())):
            pipeline.write_text(pipeline.read_text().replace("echo shard", f"echo shard{spare() * 'x'}", 1))
            dvc.reproduce("shard", print)
        before = lock.read_bytes()
        with (checkout / "train.sh").open("a") as script:
            script.write("cat /dev/zero > filler 2> /dev/null; true\n")
        with pytest.raises(DvcError, match="No space left on device"):
            dvc.reproduce("train@a", print)
        (checkout / "filler").unlink()
        (checkout / "train.sh").write_text((template / "train.sh").read_text())
        lines: list[str] = []
        assert dvc.reproduce("train@a", lines.append) is Outcome.RAN
        assert "dvc.lock was cut short; took the one from before" in lines
        assert lock.read_bytes().startswith(before)
