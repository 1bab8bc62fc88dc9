"""What operating costs: the flow's overhead over the same dvc commands, and `dvc repro` where there is nothing to do.

The overhead is taken over one pipeline of empty stages: the flow's own time from its first target to its last, with a
Prefect server running, over that of `dvc repro --single-item` of each target, one after the other. `--checkout` names a
checkout whose outputs are all there, in which the second `dvc repro`, registration included, is timed.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.ingest import REPOSITORY
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured
from flows.environment import QUIET, prepare
from flows.server import prefect_server

TARGETS, QUICK_TARGETS = 12, 5
REPEATS, QUICK_REPEATS = 3, 1
OVERHEAD = Bar("<=", 1.0)
WARM = Bar("<=", 8.0)
FLOW = """
import time
from pathlib import Path
from flows.lock import hold_checkout
from flows.reproduce import reproduce
with hold_checkout(Path.cwd()):
    started = time.monotonic()
    state = reproduce(return_state=True)
    print(time.monotonic() - started if state.is_completed() else state.message)
"""


def main() -> int:
    parser = arguments("Times a flow beside dvc alone, and a run with nothing to do.")
    parser.add_argument("--checkout", type=Path, help="a checkout in which `dvc repro` has nothing to do")
    args = parser.parse_args()
    targets, repeats = (QUICK_TARGETS, QUICK_REPEATS) if args.quick else (TARGETS, REPEATS)
    rows = overhead(targets, repeats)
    if args.checkout:
        rows.append(measured("dvc repro with nothing to do", warm(args.checkout, repeats), "s", WARM))
    else:
        rows.append(unmeasured("dvc repro with nothing to do", "s", "--checkout names no checkout"))
    return finish(rows, args.json)


def overhead(targets: int, repeats: int) -> list[Row]:
    """Of a flow over so many targets that have nothing to do, against the same commands."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "checkout"
        root.mkdir()
        prepare(root)
        with prefect_server(root / ".prefect") as api:
            environment = os.environ | QUIET | {"PREFECT_API_URL": api, "PYTHONPATH": str(REPOSITORY)}
            pipeline(root, targets, environment)
            alone, flow = [], []
            for _ in range(repeats):
                say("dvc alone")
                alone.append(elapsed_alone(root, targets, environment))
                say("the flow")
                flow.append(elapsed_flow(root, environment))
    plain = measured("dvc alone, per target", statistics.median(alone) / targets, "s")
    observed = compared("as a flow, per target", statistics.median(flow) / targets, "s", plain)
    assert plain.value is not None and observed.value is not None
    return [plain, observed, measured("overhead per target", observed.value - plain.value, "s", OVERHEAD)]


def pipeline(root: Path, targets: int, environment: dict[str, str]) -> None:
    """A checkout of so many stages, each after the one before, all up to date."""
    lines = ["stages:"]
    for number in range(targets):
        before = f"\n    deps: [out{number - 1}]" if number else ""
        lines.append(f"  s{number}:\n    cmd: echo {number} > out{number}{before}\n    outs: [out{number}]")
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n")
    for command in (("git", "init", "-q"), dvc("init", "-q"), dvc("repro", "-q")):
        subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)


def elapsed_alone(root: Path, targets: int, environment: dict[str, str]) -> float:
    """Seconds of `dvc dag`, which the flow asks too, and of one command per target."""
    started = time.monotonic()
    subprocess.run(dvc("dag", "--dot"), cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    for number in range(targets):
        command = dvc("repro", "--single-item", f"s{number}")
        subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def elapsed_flow(root: Path, environment: dict[str, str]) -> float:
    """Seconds that the flow run takes, the start of its process apart."""
    command = [sys.executable, "-c", FLOW]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    with contextlib.suppress(ValueError, IndexError):
        return float(done.stdout.splitlines()[-1])
    raise SystemExit(f"the flow failed: {done.stdout[-500:]}{done.stderr[-500:]}")


def warm(root: Path, repeats: int) -> float:
    """Seconds of `dvc repro` after one that left nothing to do."""
    environment = os.environ | QUIET | {"PYTHONPATH": str(root.absolute())}
    taken = []
    for number in range(1 + repeats):
        say("dvc repro" if number else "dvc repro, the first time")
        started = time.monotonic()
        subprocess.run(dvc("repro"), cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.monotonic() - started)
    return statistics.median(taken[1:])


def dvc(*arguments: str) -> Sequence[str]:
    return [sys.executable, "-m", "dvc", *arguments]


if __name__ == "__main__":
    sys.exit(main())
