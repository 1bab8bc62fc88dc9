"""Random SIGKILLs over a pipeline run by the flow, at any moment and of any process; then the flow to its end.

What must hold: dvc.lock, that is the hashes of all outputs, equals an unbroken run's; MLflow shows one version of the
model; after each kill no process stays; at the end no temporary file is left. `--folder` keeps the checkouts, and a
later call goes on killing there.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml
from PIL import Image

from benchmarks.ingest import REPOSITORY
from benchmarks.rows import Bar, Row, arguments, finish, measured, say
from flows.environment import QUIET, prepare
from flows.server import prefect_server
from gencomp.registry.release import versions

MARK = "GENCOMP_KILLED"
FLOW = (sys.executable, "-m", "flows.pipeline")
KILLS, QUICK_KILLS = 50, 3
LONGEST_WAIT = 12.0
"""Seconds until a kill, at most; a run that ends before is started again."""
ENDING = 60.0
"""Seconds until everything of a killed run has ended, at most."""
PASSING = ("tmp", "unfinished", "partial")
"""Parts of the names of files that should not outlive who wrote them."""
NONE = Bar("<=", 0)


class Killed(NamedTuple):
    """What was killed, and what stayed."""

    victims: list[str]
    """What each one was, such as `stages.train`."""
    survivors: list[str]
    """Command lines of processes that had not ended in time."""


class Tree:
    """The flow of one checkout with all its processes, told apart by a mark in their environment."""

    def __init__(self, root: Path, environment: Mapping[str, str], command: Sequence[str] = FLOW) -> None:
        self.root, self._command = root, command
        self._mark = uuid.uuid4().hex
        self._environment = {**environment, MARK: self._mark}

    def start(self) -> subprocess.Popen[bytes]:
        with (self.root.parent / "output.txt").open("ab") as output:
            return subprocess.Popen(
                self._command,
                cwd=self.root,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def members(self) -> list[psutil.Process]:
        """The living processes."""
        return [process for process in psutil.process_iter() if self._marked(process)]

    def ended(self, seconds: float) -> bool:
        """Whether all have ended within this time."""
        give_up = time.monotonic() + seconds
        while self.members():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.1)
        return True

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark
        except psutil.Error:
            return False


def kill(tree: Tree, kills: int, draws: random.Random, longest_wait: float = LONGEST_WAIT) -> Killed:
    """Start the flow again and again, and kill one process of it each time, at a random moment."""
    done = Killed([], [])
    while len(done.victims) < kills:
        flow = tree.start()
        give_up = time.monotonic() + draws.uniform(0.1, longest_wait)
        while time.monotonic() < give_up and flow.poll() is None:
            time.sleep(0.02)
        members = tree.members() if flow.poll() is None else []
        if members:
            victim = draws.choice(members)
            name = named(victim)
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                done.victims.append(name)
        _await(flow, tree, done)
    return done


def _await(flow: subprocess.Popen[bytes], tree: Tree, done: Killed) -> None:
    """Until the flow has ended, which may well have survived what was killed, and then all that it started."""
    give_up = time.monotonic() + 5 * ENDING
    while flow.poll() is None and time.monotonic() < give_up:
        time.sleep(0.05)
    if not tree.ended(ENDING):
        for survivor in tree.members():
            done.survivors.append(named(survivor))
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
    flow.wait()


def named(process: psutil.Process) -> str:
    """What a process is, in a word."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return "gone"
    for word in words[1:]:
        if word.startswith(("stages.", "flows.")) or word == "dvc":
            return "guard" if any(other.endswith("guard.py") for other in words) else word
    return "guard" if any(word.endswith("guard.py") for word in words) else Path(words[0]).name if words else "gone"


def finished(tree: Tree) -> bool:
    """Run the flow to its end; whether it ended well and left no process."""
    flow = tree.start()
    return flow.wait() == 0 and tree.ended(ENDING)


def locked(root: Path) -> object:
    """What dvc.lock says of all stages: commands, dependencies, outputs and their hashes."""
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


def temporaries(root: Path, scratch: Path) -> list[str]:
    """Files that should not have outlived who wrote them: by their name in the checkout, and all in the folder for
    temporary files."""
    named = [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts and any(part in path.name for part in PASSING)
    ]
    return sorted(named) + [str(path) for path in sorted(scratch.rglob("*")) if path.is_file()]


def checkout(folder: Path) -> Path:
    """The working tree in a git repository of its own, with small params and four photographs."""
    from skimage import data

    root = folder / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (REPOSITORY / name).is_file() and name != "dvc.lock" and not name.startswith("tests/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, root / name)
    (root / "photos").mkdir()
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()[..., :3]).resize((120, 90)).save(root / "photos" / f"{name}.png")
    (root / "params.yaml").write_text(yaml.safe_dump(small_params(), sort_keys=False))
    git = ["git", "-c", "user.name=gencomp", "-c", "user.email=gencomp@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    return root


def small_params() -> dict[str, object]:
    """The laptop profile with one dataset and one variant, a minute of work."""
    params = yaml.safe_load((REPOSITORY / "profiles/laptop.yaml").read_text())
    source = {"kind": "folder", "root": "photos", "validation_share": 0.4}
    selection = {"recipe": "none", "minimum_side": 64}
    params["datasets"] = {
        "photos": params["datasets"]["photos"] | {"source": source, "selection": selection, "watch": "photos"}
    }
    training = {"steps": 24, "batch": 2, "crop": 64, "log_every": 4, "checkpoint_every": 4, "picture_every": 12}
    gc = params["variants"]["gc"]
    model = {"width": 4, "downsamplings": 3, "blocks": 1, "channels": 2, "normalisation": "channel"}
    discriminator = gc["training"]["discriminator"] | {"width": 8}
    gc_training = gc["training"] | training | {"discriminator": discriminator}
    params["variants"] = {"gc": {"dataset": "photos", "model": model, "training": gc_training}}
    params["anchors"] = {
        codec: settings[:1] if codec == "jpeg" else [] for codec, settings in params["anchors"].items()
    }
    params["gate"] = params["gate"] | {"minimum_psnr": 1.0}
    params["threads"] = 1
    return params


def environment(root: Path, api: str, scratch: Path) -> dict[str, str]:
    """Of a flow in a checkout."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    own = {"PYTHONPATH": str(root), "TMPDIR": str(scratch), "PREFECT_API_URL": api, "GENCOMP_WORKERS": "1"}
    return (
        inherited
        | QUIET
        | own
        | {"PREFECT_HOME": str(root / ".prefect"), "DVC_SITE_CACHE_DIR": str(scratch.parent / "site")}
    )


def main() -> int:
    parser = arguments("Kills a pipeline run at random, and looks at what it ends in.")
    parser.add_argument("--folder", type=Path, help="keep the checkouts in FOLDER, and go on there")
    parser.add_argument("--kills", type=int, help="how many, of which those in FOLDER count")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments and victims")
    args = parser.parse_args()
    kills = args.kills or (QUICK_KILLS if args.quick else KILLS)
    with tempfile.TemporaryDirectory() as name:
        folder = (args.folder or Path(name)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        prepare(folder)
        with prefect_server(folder / "prefect") as api:
            trees = tree(folder / "unbroken", api), tree(folder / "broken", api)
            try:
                return finish(rows(folder, *trees, kills, args.seed), args.json)
            finally:
                for member in (member for one in trees for member in one.members()):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()


def rows(folder: Path, unbroken: Tree, broken: Tree, kills: int, seed: int) -> list[Row]:
    """Kill until that many were killed in `folder`, then run to the end there and compare."""
    record = folder / "kills.json"
    if not record.exists():
        say("an unbroken run")
        if not finished(unbroken):
            raise SystemExit(f"the unbroken run failed, see {folder}/unbroken/output.txt")
        record.write_text(json.dumps(Killed([], [])._asdict()))
    before = Killed(**json.loads(record.read_text()))
    say(f"{kills} kills, {len(before.victims)} of them are done")
    draws = random.Random(f"{seed} {len(before.victims)}")
    while len(before.victims) < kills:
        done = kill(broken, 1, draws)
        before = Killed(before.victims + done.victims, before.survivors + done.survivors)
        record.write_text(json.dumps(before._asdict()))
    say(", ".join(f"{name} {count}" for name, count in Counter(before.victims).most_common()))
    say("to the end")
    ended = finished(broken)
    store = f"sqlite:///{broken.root / 'mlflow.db'}"
    equal = ended and locked(broken.root) == locked(unbroken.root)
    left = temporaries(broken.root, broken.root.parent / "tmp")
    for name in [*left, *before.survivors]:
        say(f"left: {name}")
    return [
        measured("processes killed", float(len(before.victims)), "", Bar(">=", kills)),
        measured("processes that stayed", float(len(before.survivors)), "", NONE),
        measured("temporary files that stayed", float(len(left)), "", NONE),
        measured("last run and unbroken run differ", float(not equal), "", NONE),
        measured("versions in MLflow", float(len(versions(store))), "", Bar("<=", 1)),
    ]


def tree(folder: Path, api: str) -> Tree:
    """A checkout in `folder`, made where it is missing."""
    scratch = folder / "tmp"
    if not (folder / "checkout").exists():
        checkout(folder)
        scratch.mkdir()
    return Tree(folder / "checkout", environment(folder / "checkout", api, scratch))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
