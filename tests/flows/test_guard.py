import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.guard import Guarded
from tests.flows.checkouts import Family, wait_for

SESSION_OF_ITS_OWN = (
    "import subprocess, time; subprocess.Popen(['sleep', '300'], start_new_session=True); time.sleep(300)"
)
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
STARTER = f"""
import os, subprocess, time
from pathlib import Path
from flows.guard import Guarded
guarded = Guarded({[sys.executable, "-c", SESSION_OF_ITS_OWN]!r}, cwd=Path.cwd(), environment=os.environ,
                  output=subprocess.DEVNULL)
guarded.wait()
"""


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def guarded(*command: str) -> Guarded:
    return Guarded(command, cwd=Path.cwd(), environment=os.environ, output=subprocess.PIPE)


def test_the_status_and_the_output_are_the_commands() -> None:
    process = guarded("sh", "-c", "echo out; echo err >&2; exit 7")
    assert process.output.read() == b"out\nerr\n"
    assert process.wait() == 7


def test_a_command_that_cannot_start_says_so() -> None:
    process = guarded("no-such-command")
    assert b"cannot start no-such-command" in process.output.read()
    assert process.wait() == 127


def test_what_a_finished_command_left_running_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    process = guarded("sh", "-c", f"setsid sleep 300 & echo $! > {pid}")
    assert process.wait() == 0
    assert not psutil.pid_exists(int(pid.read_text()))


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    process = guarded(sys.executable, "-c", DEAF)
    assert process.output.readline() == b"deaf\n"
    started = time.monotonic()
    process.end()
    assert not process.running()
    assert 4 < time.monotonic() - started < 14
    assert process.output.read() == b""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_tree_ends_when_its_starter_dies(family: Family, number: signal.Signals) -> None:
    starter = family.start("-c", STARTER)
    assert wait_for(lambda: any("sleep 300" in command for command in family.commands()))
    starter.send_signal(number)
    starter.wait(timeout=10)
    assert wait_for(lambda: not family.members(), 10)


def test_the_tree_ends_when_the_guard_itself_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    process = guarded("sh", "-c", f"echo $$ > {pid}; echo; sleep 300")
    process.output.readline()
    child = psutil.Process(int(pid.read_text()))
    os.kill(child.ppid(), signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 5)
