"""A command in a process of its own: how long it takes, and the most memory that it holds.

A process's peak begins at what the one that started it held, so the command is started by this small file, run as a
program, and not by a process with networks in it.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple


class Watched(NamedTuple):
    """What a command took, and what it printed."""

    start: float
    """Seconds since 1970."""
    milliseconds: float
    peak: float
    """Most resident memory, 10^6 bytes."""
    output: str


def watched(command: Sequence[str]) -> Watched:
    """Run a command that has to end well. Raises RuntimeError."""
    starter = [sys.executable, "-I", "-S", __file__, *command]
    done = subprocess.run(starter, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{' '.join(command[:6])}: {said[0]}")
    figures, _, output = done.stdout.partition("\n")
    return Watched(**json.loads(figures), output=output)


def main() -> int:
    start, clock = time.time(), time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    milliseconds = (time.perf_counter() - clock) * 1e3
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    print(json.dumps({"start": start, "milliseconds": milliseconds, "peak": peak}))
    print(output, end="")
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
