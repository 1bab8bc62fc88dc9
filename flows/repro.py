"""The only place that starts `dvc`: one command at a time per checkout, line by line, ended as a whole process tree."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import yaml

from flows import halves
from flows.guard import Guarded
from flows.redaction import Redaction

Graph = Mapping[str, tuple[str, ...]]
"""DVC targets in an order in which each one stands after its dependencies, with its direct dependencies."""
Report = Callable[[str], None]

LOCK_WAIT_SECONDS = 180.0
"""How long another dvc process may hold a lock that a command needs, in seconds."""
_LOCK_PAUSE_SECONDS = 0.5
_TAIL_LINES = 4

_NODE = re.compile(r'^"(?P<node>[^"]+)";$')
_EDGE = re.compile(r'^"(?P<dependency>[^"]+)" -> "(?P<target>[^"]+)";$')
_LOCKED = re.compile(r"^ERROR: .*(Unable to acquire lock|is busy, it is being blocked by)")
_FAILURE = re.compile(r"^ERROR: (failed to reproduce '[^']+': )?(?P<reason>.*)")
_HINTS = (
    "To track the changes with git, run:",
    "git add ",
    "To enable auto staging, run:",
    "dvc config core.autostage true",
    "Use `dvc push` to send your updates to remote storage.",
)


class DvcError(RuntimeError):
    """A dvc command failed; one line that names the target, the reason and the end of the output."""


class Outcome(StrEnum):
    """How a target came to be up to date."""

    RAN = "ran"
    RESTORED = "from cache"
    UNCHANGED = "unchanged"


class Dvc:
    """`dvc` in the checkout `root`; usable from several threads, of which each command waits for the one before it."""

    def __init__(
        self,
        root: Path,
        environment: Mapping[str, str],
        *,
        lock_wait: float = LOCK_WAIT_SECONDS,
    ) -> None:
        self.root = root
        self._environment = environment
        self._redact = Redaction(root, environment)
        self._lock_wait = lock_wait
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._running: Guarded | None = None

    def graph(self) -> Graph:
        """The targets of the resolved dvc.yaml in order of their dependencies."""
        return parse_graph(self._run("dag", "--dot"))

    def stale(self) -> frozenset[str]:
        """The targets that would run; `always_changed` alone counts as nothing to do."""
        lines = self._run("status", "--json")
        status = json.loads(next((line for line in reversed(lines) if line.startswith("{")), "{}"))
        return frozenset(target for target, changes in status.items() if changes != ["always changed"])

    def cache_folder(self) -> Path:
        """The folder of the local cache."""
        return self.root / self._run("cache", "dir")[-1]

    def imports(self, graph: Graph) -> list[str]:
        """The `.dvc` files of a graph that name another place, as `dvc import-url` and `dvc import` write them."""
        files = [target for target in graph if target.endswith(".dvc")]
        return [name for name in files if (yaml.safe_load((self.root / name).read_text()) or {}).get("deps")]

    def update(self, imports: Sequence[str], report: Report) -> None:
        """Fetch again what was imported, where it has changed at its source."""
        if imports:
            self._run("update", *imports, report=report)

    def checkout(self, targets: Sequence[str]) -> None:
        """Bring the outputs of `targets` from the cache."""
        if targets:
            self._run("checkout", *targets)

    def reproduce(self, target: str, report: Report) -> Outcome:
        """Bring exactly `target` up to date, its dependencies being so; each line of output goes to `report`.

        Raises DvcError when the stage fails, when a lock stays held, and when `end` was called.
        """
        lines = self._run("repro", "--single-item", target, report=report)
        if any(re.fullmatch(rf"(Stage )?'{re.escape(target)}' didn't change, skipping", line) for line in lines):
            return Outcome.UNCHANGED
        if f"Stage '{target}' is cached - skipping run, checking out outputs" in lines:
            return Outcome.RESTORED
        return Outcome.RAN

    def restore(self, targets: Sequence[str], report: Report) -> frozenset[str]:
        """Bring targets that another checkout computed from the shared cache; returns those that ran again here."""
        if not targets:
            return frozenset()
        lines = self._run("repro", "--single-item", *targets, report=report)
        return frozenset(target for target in targets if f"Running stage '{target}':" in lines)

    def end(self) -> None:
        """End the running command with all its processes, and refuse every later one."""
        self._ended.set()
        with self._starting:
            running = self._running
        if running is not None:
            running.end()

    def _run(self, *arguments: str, report: Report | None = None) -> list[str]:
        give_up = time.monotonic() + self._lock_wait
        mended: set[str] = set()
        with self._turn:
            if arguments[0] == "repro":
                halves.keep(self.root)
            while True:
                status, lines = self._attempt(arguments, report)
                if status == 0 and not self._ended.is_set():
                    return lines
                locked = any(_LOCKED.match(line) for line in lines)
                if not self._ended.is_set() and (again := halves.mend(self.root, lines)) and again not in mended:
                    mended.add(again)
                    if report is not None:
                        report(again)
                elif self._ended.is_set() or not locked or time.monotonic() > give_up:
                    raise DvcError(self._failure(arguments, status, lines))
                self._ended.wait(_LOCK_PAUSE_SECONDS)

    def _attempt(self, arguments: Sequence[str], report: Report | None) -> tuple[int, list[str]]:
        lines: list[str] = []
        with self._starting:
            if self._ended.is_set():
                return 1, lines
            command = [sys.executable, "-m", "dvc", *arguments]
            process = Guarded(
                command,
                cwd=self.root,
                environment=self._environment,
                output=subprocess.PIPE,
            )
            self._running = process
        reader = threading.Thread(target=_read, args=(process, lines, report, self._redact), daemon=True)
        reader.start()
        try:
            status = process.wait()
        finally:
            process.end()
            reader.join(timeout=1)
            self._running = None
        return status, lines

    def _failure(self, arguments: Sequence[str], status: int, lines: Sequence[str]) -> str:
        name = arguments[-1] if arguments[0] == "repro" else f"dvc {arguments[0]}"
        if self._ended.is_set():
            return f"{name}: stopped"
        if any(_LOCKED.match(line) for line in lines):
            return f"{name}: another dvc process held the lock of {self.root} for more than {self._lock_wait:.0f} s"
        reasons = [match["reason"] for line in lines if (match := _FAILURE.match(line))]
        tail = [line for line in lines if not line.startswith(("ERROR: ", "> ", "Running stage "))][-_TAIL_LINES:]
        said = f"; its last output: {' | '.join(tail)}" if tail else ""
        return f"{name}: {reasons[0] if reasons else f'dvc ended with exit status {status}'}{said}"


def parse_graph(lines: Sequence[str]) -> Graph:
    """`dvc dag --dot` in the order in which its targets can run, otherwise in the order of dvc.yaml."""
    parents: dict[str, list[str]] = {match["node"]: [] for line in lines if (match := _NODE.match(line))}
    for match in filter(None, map(_EDGE.match, lines)):
        parents[match["target"]].append(match["dependency"])
    ordered: dict[str, tuple[str, ...]] = {}

    def visit(target: str) -> None:
        if target not in ordered:
            for parent in parents[target]:
                visit(parent)
            ordered[target] = tuple(parents[target])

    for target in parents:
        visit(target)
    return ordered


def _read(process: Guarded, lines: list[str], report: Report | None, redact: Redaction) -> None:
    for data in process.output:
        # A progress bar redraws its line by carriage returns: its last state is what is left to say.
        line = redact(data.decode(errors="replace").rstrip().rpartition("\r")[2])
        if not line or line.strip().startswith(_HINTS):
            continue
        lines.append(line)
        if report is not None:
            report(line)
