"""A command whose whole process tree ends with its starter.

`dvc` that gets SIGTERM or SIGKILL leaves its stage running, and a re-run then starts a second writer. So every long
command runs under this file as a small process of its own: leader of a new session, and on Linux the adopter of every
orphan below it. It ends the tree on SIGTERM, SIGINT, SIGHUP, when the pipe from its starter closes (the starter died,
by SIGKILL as well), and when the command is done but left something running.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

GRACE_SECONDS = 5.0
"""Time between SIGTERM and SIGKILL for a tree that is ended, in seconds."""

MARK = "GENCOMP_GUARD"
"""Environment variable that tells the processes of one guarded command from all others."""
_PR_SET_CHILD_SUBREAPER = 36
_STOPPED = 128 + signal.SIGTERM
_ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))


class Guarded:
    """A started command; `output` receives its standard output and error together (a file, or `subprocess.PIPE`)."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        output: int | IO[bytes],
    ) -> None:
        self._mark = uuid.uuid4().hex
        # -P: flows/ must not become the first folder that the guard imports from.
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, *command],
            cwd=cwd,
            env={**environment, MARK: self._mark},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> IO[bytes]:
        """The read end of the command's output; only with `output=subprocess.PIPE`."""
        assert self._process.stdout is not None
        return self._process.stdout

    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait for the end of the whole tree; returns the command's exit status (negative: the guard was killed)."""
        status = self._process.wait()
        if status < 0:
            self._end_group()
        return status

    def end(self) -> None:
        """End the whole tree and wait for it; nothing happens when it has ended already."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            ended = self._process.wait(timeout=3 * GRACE_SECONDS) >= 0
        except subprocess.TimeoutExpired:
            ended = False
        if not ended:
            self._end_group()
        self._process.wait()

    def _end_group(self) -> None:
        # The guard was killed or hangs, so it ends nothing; its process id is the id of the tree's group, and what
        # left that group has inherited the mark.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        give_up = time.monotonic() + GRACE_SECONDS
        while (left := _marked(self._mark)) and time.monotonic() < give_up:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=0.5)


def _marked(mark: str) -> list[psutil.Process]:
    """The processes that have this mark in their environment, those that have ended and wait for their parent apart."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _guard(command: Sequence[str]) -> int:
    _adopt_orphans()
    signals = _signals()
    try:
        status = _wait(subprocess.Popen(command, stdin=subprocess.DEVNULL), signals)
    except OSError as error:
        print(f"ERROR: cannot start {command[0]}: {error}", flush=True)
        status = 127
    end_descendants()
    return status if status >= 0 else 128 - status


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _signals() -> int:
    """A file that the numbers of arriving signals are read from; a handler that raised could do so anywhere."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    return reading


def _wait(process: subprocess.Popen[bytes], signals: int) -> int:
    """The command's exit status; `_STOPPED` as soon as the tree has to end before that."""
    starter = sys.stdin.fileno()
    while (status := process.poll()) is None:
        ready, _, _ = select.select([starter, signals], [], [])
        if starter in ready and not os.read(starter, 4096):
            return _STOPPED
        if signals in ready and not _ENDING.isdisjoint(os.read(signals, 4096)):
            return _STOPPED
    return status


def end_descendants(*, spared: frozenset[int] = frozenset()) -> None:
    """End every process below this one but the children `spared` and theirs: SIGTERM, then SIGKILL after a grace."""
    _signal_descendants(signal.SIGTERM, spared=spared)
    psutil.wait_procs(_descendants(spared), timeout=GRACE_SECONDS)
    give_up = time.monotonic() + GRACE_SECONDS
    while (left := _descendants(spared)) and time.monotonic() < give_up:
        _signal_descendants(signal.SIGKILL, spared=spared)
        psutil.wait_procs(left, timeout=0.5)


def _signal_descendants(number: signal.Signals, *, spared: frozenset[int] = frozenset()) -> None:
    """Send a signal to every process below this one but the children `spared` and theirs."""
    for process in _descendants(spared):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _descendants(spared: frozenset[int]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        if child.pid not in spared:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += child.children(recursive=True)
            found.append(child)
    return found


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
