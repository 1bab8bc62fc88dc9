"""A stage's scratch folder: resume state keyed by content, held by one process at a time."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from stages.entry import StageError

ROOT = Path(".scratch")
GRACE = 10.0
"""Seconds that an orphan gets to end after SIGTERM."""


@contextlib.contextmanager
def scratch(stage: str, key: str) -> Iterator[Path]:
    """The folder `.scratch/<stage>/<key>`, held exclusively.

    A holder whose launcher is gone is the orphan of a killed run: it is ended first. Raises StageError when a living
    run holds the folder.
    """
    folder = ROOT / stage / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (ROOT / stage / f"{key}.lock").open("a+") as lock:
        _acquire(lock.fileno(), Path(lock.name))
        lock.seek(0)
        lock.truncate()
        json.dump(_holder(), lock)
        lock.flush()
        folder.mkdir(exist_ok=True)
        yield folder


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + 2 * GRACE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _end_orphan(path) and time.monotonic() > deadline - GRACE:
                raise StageError(f"{path.with_suffix('')} is held by a running stage; wait for it or end it") from None
        if time.monotonic() > deadline:
            raise StageError(f"{path.with_suffix('')} is still held by a process that does not end")
        time.sleep(0.2)


def _holder() -> dict[str, float]:
    """This process and the one that launched it, each by number and start time, since numbers are used again."""
    own = psutil.Process()
    launcher = _launcher(own)
    return {
        "pid": own.pid,
        "started": own.create_time(),
        "launcher": launcher.pid,
        "launcher_started": launcher.create_time(),
    }


def _launcher(own: psutil.Process) -> psutil.Process:
    """The dvc process above this one, since a shell may stand between them; without dvc, the parent."""
    ancestors = own.parents() or [psutil.Process(os.getppid())]
    for ancestor in ancestors:
        with contextlib.suppress(psutil.Error):
            if any(Path(word).name == "dvc" for word in ancestor.cmdline()[:3]):
                return ancestor
    return ancestors[0]


def _end_orphan(path: Path) -> bool:
    """End the holder if the process that started it is gone; whether it was an orphan."""
    try:
        holder = json.loads(path.read_text())
    except ValueError:
        return False
    process = _alive(holder["pid"], holder["started"])
    if process is None:
        return True
    if _alive(holder["launcher"], holder["launcher_started"]) is not None:
        return False
    family = [process, *process.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    for member in psutil.wait_procs(family, timeout=GRACE)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    return True


def _alive(pid: float, started: float) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid))
        if process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
