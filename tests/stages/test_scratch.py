"""A scratch folder has one holder; an orphan's is taken over, a living run's is not."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages.entry import StageError
from stages.scratch import scratch

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import time
from stages.scratch import scratch
with scratch("train", "key") as folder:
    (folder / "mine").touch()
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def hold(launcher: str) -> subprocess.Popen[str]:
    """A process that starts the holder in the way of `launcher`, and waits."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOLD": HOLD}
    command = [sys.executable, "-c", launcher]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_is_there_and_state_in_it_survives() -> None:
    with scratch("train", "key") as folder:
        (folder / "state").write_text("half")
    with scratch("train", "key") as folder:
        assert (folder / "state").read_text() == "half"


def test_a_folder_held_by_a_living_run_is_refused_in_one_line() -> None:
    holder = hold("import os; exec(os.environ['HOLD'])")
    try:
        with pytest.raises(StageError, match="held by a running stage"), scratch("train", "key"):
            pass
    finally:
        holder.kill()
        holder.wait()


def test_another_key_is_free() -> None:
    holder = hold("import os; exec(os.environ['HOLD'])")
    try:
        with scratch("train", "another"):
            pass
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.parametrize("shell", [True, False])
def test_the_orphan_of_a_killed_launcher_is_ended_and_its_state_kept(tmp_path: Path, shell: bool) -> None:
    """The launcher is called dvc, as in real runs; a shell may stand between it and the stage."""
    command = "[sys.executable, '-c', os.environ['HOLD']]"
    if shell:
        command = "['/bin/sh', '-c', sys.executable + ' -c \"$HOLD\"; true']"
    program = tmp_path / "dvc"
    program.write_text(f"import os, subprocess, sys\nsubprocess.run({command})\n")
    launcher = subprocess.Popen(
        [sys.executable, str(program)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOLD": HOLD},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None and launcher.stdout.readline() == "held\n"
    orphan = psutil.Process(launcher.pid).children(recursive=True)[-1]
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert orphan.is_running()
    with scratch("train", "key") as folder:
        assert (folder / "mine").exists()
    deadline = time.monotonic() + 10
    while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
