"""Random SIGKILLs over pipeline runs by the flow, of any process at any moment; each run then goes to its end.

What must hold: dvc.lock, that is the hashes of all outputs, equals an unbroken run's; MLflow shows one version of the
model; once a killed flow has ended no process stays; at the end no file is left that an unbroken run does not leave.

First the kind of victim is drawn, each as often as its share, then the stage in which it is hit, those before that were
hit least, then a moment of it. A flow that survives is hit again. When one ends well its checkout is compared and
emptied, the MLflow store apart, and the next begins from nothing. `--folder` keeps the checkouts, and a later call goes
on killing there.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import psutil
import yaml
from PIL import Image

from benchmarks.ingest import REPOSITORY
from benchmarks.rows import Bar, Row, arguments, finish, measured, say
from flows.environment import QUIET, prepare
from flows.server import prefect_server
from gencomp.registry.release import versions

Kind = Literal["flow", "guard", "dvc", "server", "stage", "worker", "other"]
"""Of a process: the flow itself, what ends trees, dvc, Prefect's server, what dvc started, and what that started."""
SHARES: Mapping[Kind, int] = {"flow": 1, "guard": 1, "dvc": 1, "server": 1, "worker": 1, "stage": 3}
"""How often each kind is drawn; stages thrice, since there are ten of them."""
MARK = "GENCOMP_KILLED"
FLOW = (sys.executable, "-m", "flows.pipeline")
START = "start"
"""The time of a flow before its first stage."""
KILLS, QUICK_KILLS = 50, 3
STAGES_HIT, STAGE_NAMES_HIT = Bar(">=", 15), Bar(">=", 6)
"""Of 50 kills: those of stages themselves, and of how many different ones."""
ENDING = 120.0
"""Seconds until everything of a killed run has ended, at most."""
LONGEST_FLOW = 3600.0
POLL = 0.2
NOT_COMPARED = (".git/", ".prefect/", ".dvc/tmp/", "mlruns/", "mlartifacts/", "mlflow.db")
"""Where two runs leave other names without anything being wrong; Prefect's folder is looked at on its own."""
KEPT = ("mlflow.db", "mlruns", "mlartifacts", ".prefect")
"""What the next run of a checkout finds of the one before."""
IMAGES = 104
"""So many that Dask's workers download and shard them."""
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
"""Of scikit-image; what is cut out of them is downloaded."""
HITTABLE = 1.0
"""Seconds; a shorter stage is hit by luck alone."""
NONE = Bar("<=", 0)


class Member(NamedTuple):
    """A living process of a flow."""

    process: psutil.Process
    kind: Kind
    stage: str
    """Such as `stages.train`, of a stage and of its workers; empty for others."""

    def __str__(self) -> str:
        return f"{self.kind} {self.stage}".strip()


class Run(NamedTuple):
    """What an unbroken run consists of."""

    seconds: dict[str, float]
    """How long START and each stage take, in their order."""
    kinds: dict[str, list[Kind]]
    """Which kinds of processes there are meanwhile."""


class Killed(NamedTuple):
    """What was killed, and what came of it."""

    victims: list[str]
    """What each one was, such as `stage stages.train`."""
    survivors: list[str]
    """Processes that had not ended in time."""
    failed: list[str]
    """Last words of flows that failed though nothing of them was killed."""
    wrong: list[str]
    """Of runs that went to their end: what was not as in the unbroken one."""
    runs: list[int]
    """Of runs that went to their end: the number of kills before."""


class Aim(NamedTuple):
    """What is to be killed, and when."""

    kind: Kind
    part: str
    """A stage, or START."""
    share: float
    """Of the part's time that passes before."""


class Tree:
    """The flow of one checkout with all its processes, told apart by a mark in their environment."""

    def __init__(self, root: Path, environment: Mapping[str, str], command: Sequence[str] = FLOW) -> None:
        self.root, self._command = root, command
        self.output = root.parent / "output.txt"
        self._mark = uuid.uuid4().hex
        self._environment = {**environment, MARK: self._mark}

    def start(self, **extra: str) -> subprocess.Popen[bytes]:
        """Start the flow, with these variables beside its environment."""
        with self.output.open("ab") as output:
            return subprocess.Popen(
                self._command,
                cwd=self.root,
                env=self._environment | extra,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def members(self) -> list[Member]:
        """The living processes."""
        family = {process.pid: process for process in psutil.process_iter() if self._marked(process)}
        words: dict[int, list[str]] = {}
        parents: dict[int, int] = {}
        for number, process in family.items():
            with contextlib.suppress(psutil.Error):
                if line := process.cmdline():  # of one that is just being started or ending there is none
                    words[number], parents[number] = line, process.ppid()
        return [Member(family[number], *_placed(number, words, parents)) for number in words]

    def ended(self, seconds: float) -> bool:
        """Whether all have ended within this time."""
        give_up = time.monotonic() + seconds
        while self.members():
            if time.monotonic() > give_up:
                return False
            time.sleep(POLL)
        return True

    def left(self, stages: Sequence[str]) -> list[str]:
        """Those of the stages that dvc.lock does not know; the last one, which always runs, in any case."""
        done = {stage_name(str(stage["cmd"])) for stage in locked(self.root).values()}
        return [stage for stage in stages if stage not in done or stage == stages[-1]]

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark
        except psutil.Error:
            return False


def _placed(number: int, words: Mapping[int, Sequence[str]], parents: Mapping[int, int]) -> tuple[Kind, str]:
    """Kind and stage of a process, by what it and those above it were started as."""
    if kind := _kind(words[number]):
        return kind, ""
    stage = number
    while (above := parents[stage]) in words and _kind(words[above]) is None:
        stage = above
    if above not in words or _kind(words[above]) != "dvc":
        return "other", ""
    return ("stage" if stage == number else "worker"), stage_name(" ".join(words[stage]))


def _kind(words: Sequence[str]) -> Kind | None:
    """What a command line is; None for a stage and what it starts."""
    head = words[:5]
    if any(word.endswith("guard.py") for word in head):
        return "guard"
    if "dvc" in head:
        return "dvc"
    if any(word.startswith("flows.") for word in head):
        return "flow"
    return "server" if any("prefect" in word or "uvicorn" in word for word in head) else None


def stage_name(command: str) -> str:
    """`stages.train` of `python -m stages.train gc`; of other commands, the script or the first word."""
    found = re.search(r"\bstages\.\w+|\S+\.sh\b", command)
    return found[0] if found else Path(command.split()[0]).name


def watch(tree: Tree) -> Run:
    """Run the flow to its end with a Prefect server of its own, and see what it consists of. Raises SystemExit."""
    began, seconds, kinds = time.monotonic(), {START: 0.0}, {START: set[Kind]()}
    starts = {START: began}
    flow = tree.start()
    while flow.poll() is None:
        members = tree.members()
        part = next((member.stage for member in members if member.stage), START if len(starts) == 1 else "")
        now = time.monotonic()
        if part:
            starts.setdefault(part, now)
            seconds[part] = now - starts[part]
            kinds.setdefault(part, set()).update(member.kind for member in members)
        time.sleep(POLL)
    if flow.returncode != 0 or not tree.ended(ENDING):
        raise SystemExit(f"the unbroken run failed, see {tree.output}")
    return Run(seconds, {part: sorted(found) for part, found in kinds.items()})


class Hunt:
    """Kills among the runs of one tree, and what came of them."""

    def __init__(
        self, tree: Tree, run: Run, draws: random.Random, api: str, ended: Callable[[], list[str]], done: Killed
    ) -> None:
        """`api`: of a Prefect server for flows that need none of their own; `ended` looks at a run that went to its
        end, makes room for the next, and returns what was wrong."""
        self._tree, self._run, self._draws, self._api, self._ended = tree, run, draws, api, ended
        self.done = done
        self._flow: subprocess.Popen[bytes] | None = None
        self._hits = 0
        """Of the flow that is running."""

    def kill(self) -> None:
        """Kill one process; flows are started, and end, until there was one to kill."""
        while True:
            aim = self._aim()
            if self._is_repeated(aim):  # what was hit less is done in this checkout
                self.to_the_end()
                aim = self._aim()
            if self._flow is None:
                # Whatever is killed with its own server needs a minute until the next one answers.
                self._flow = self._tree.start(**({} if aim.kind == "server" else {"PREFECT_API_URL": self._api}))
                self._hits = 0
            if victim := self._strike(self._flow, aim):
                self._hits += 1
                self.done.victims.append(victim)
                return
            if self._flow.poll() is not None:
                self._settle(self._flow)

    def to_the_end(self) -> None:
        """Let flows run until one has ended well."""
        before = len(self.done.runs)
        while len(self.done.runs) == before:
            self._flow = self._flow or self._tree.start(PREFECT_API_URL=self._api)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._flow.wait(LONGEST_FLOW)
            self._settle(self._flow)

    def _aim(self) -> Aim:
        left = self._tree.left([part for part in self._run.seconds if part != START])
        parts = left if self._flow else [START, *left]
        there = {kind for part in parts for kind in self._run.kinds[part]} - {"other"}
        if self._flow:  # whether it has a server of its own was settled when it started
            there -= {"server"} if not any(member.kind == "server" for member in self._tree.members()) else set()
        hits = Counter(victim.split()[0] for victim in self.done.victims)
        kind = min(sorted(there), key=lambda kind: (hits[kind] / SHARES[kind], self._draws.random()))
        parts = [part for part in parts if kind in self._run.kinds[part]]
        if kind in ("stage", "worker"):
            of_kind = Counter(self.done.victims)
            part = min(parts, key=lambda part: (of_kind[f"{kind} {part}"], self._draws.random()))
        else:
            part = self._draws.choice(parts)
        return Aim(kind, part, self._draws.random())

    def _is_repeated(self, aim: Aim) -> bool:
        """Whether another stage of the whole run was hit less often than the one that is aimed at."""
        if aim.kind not in ("stage", "worker"):
            return False
        hits = Counter(self.done.victims)
        parts = [part for part, seconds in self._run.seconds.items() if seconds >= HITTABLE and part != START]
        parts = [part for part in parts if aim.kind in self._run.kinds[part]]
        return bool(parts) and hits[f"{aim.kind} {aim.part}"] > min(hits[f"{aim.kind} {part}"] for part in parts)

    def _strike(self, flow: subprocess.Popen[bytes], aim: Aim) -> str | None:
        """Wait for the moment, and kill; None when the flow ended, or the part, before there was anything to kill."""
        give_up, began = time.monotonic() + LONGEST_FLOW, 0.0
        while flow.poll() is None and time.monotonic() < give_up:
            members, now = self._tree.members(), time.monotonic()
            stages = {member.stage for member in members} - {""}
            there = aim.part in stages or (aim.part == START and not stages)
            began = began or (now if there else 0.0)
            if began and not there:
                # The machine may do more or less beside this than it did during the unbroken run.
                self._run.seconds[aim.part] = now - began
                return None
            if there and now >= began + aim.share * self._run.seconds[aim.part]:
                own = aim.kind in ("stage", "worker")
                victims = [member for member in members if member.kind == aim.kind]
                victims = [member for member in victims if not own or member.stage == aim.part]
                if victims:
                    victim = self._draws.choice(victims)
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.process.kill()
                        return str(victim)
            time.sleep(POLL)
        return None

    def _settle(self, flow: subprocess.Popen[bytes]) -> None:
        """What is to be said of a flow that has ended, or should have."""
        if flow.poll() is None or not self._tree.ended(ENDING):
            for survivor in self._tree.members():
                self.done.survivors.append(str(survivor))
                with contextlib.suppress(psutil.NoSuchProcess):
                    survivor.process.kill()
        if flow.wait() == 0:
            self.done.runs.append(len(self.done.victims))
            self.done.wrong.extend(self._ended())
        elif not self._hits:
            self.done.failed.append(self._tree.output.read_text(errors="replace").splitlines()[-1])
            if len(self.done.failed) >= 3:
                raise SystemExit(f"flows fail without being hit, see {self._tree.output}")
        self._flow, self._hits = None, 0


def locked(root: Path) -> dict[str, dict[str, object]]:
    """What dvc.lock says of all stages: commands, dependencies, outputs and their hashes; nothing where it has none, or
    is just being written."""
    with contextlib.suppress(FileNotFoundError, yaml.YAMLError):
        return dict((yaml.safe_load((root / "dvc.lock").read_text()) or {}).get("stages", {}))
    return {}


def compared(root: Path, unbroken: Path) -> list[str]:
    """What differs between a checkout whose run went to its end and one whose run was unbroken: hashes in dvc.lock, and
    files that the other does not have."""
    here, there = locked(root), locked(unbroken)
    differing = [
        f"dvc.lock: {name}" for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)
    ]
    return differing + [f"left: {name}" for name in sorted(files(root) - files(unbroken))]


def files(root: Path) -> set[str]:
    """The files of a checkout and of the folder for temporary files beside it, but those that no two runs name alike.
    Of Prefect's folder, those that carry a name of their own."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    compared = {name for name in found if not name.startswith(NOT_COMPARED) and "__pycache__" not in name}
    scratch = root.parent / "tmp"
    return (
        compared
        | {name for name in found if name.startswith(".prefect/server-")}
        | {f"../tmp/{path.relative_to(scratch)}" for path in scratch.rglob("*") if path.is_file()}
    )


def emptied(root: Path) -> None:
    """A checkout as it was cloned, without DVC's cache, but with the MLflow store."""
    kept = [word for name in KEPT for word in ("--exclude", name)]
    subprocess.run(["git", "clean", "-dffxq", *kept], cwd=root, check=True)


def checkout(folder: Path) -> Path:
    """The working tree in a git repository of its own, with small params and its own photographs."""
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
    photographs = [Image.fromarray(getattr(data, name)()[..., :3]) for name in PHOTOGRAPHS]
    for index in range(IMAGES):
        whole = photographs[index % len(photographs)]
        left, top = 7 * index % (whole.width - 240), 5 * index % (whole.height - 180)
        cut = whole.crop((left, top, left + 240, top + 180)).resize((120, 90))
        cut.save(root / "photos" / f"{index:03d}.png")
    (root / "params.yaml").write_text(yaml.safe_dump(small_params(), sort_keys=False))
    git = ["git", "-c", "user.name=gencomp", "-c", "user.email=gencomp@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    return root


def small_params() -> dict[str, object]:
    """The laptop profile with one dataset and one variant, a minute of work."""
    params = yaml.safe_load((REPOSITORY / "profiles/laptop.yaml").read_text())
    source = {"kind": "folder", "root": "photos", "validation_share": 0.04}
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


def environment(root: Path, scratch: Path) -> dict[str, str]:
    """Of a flow in a checkout: with a Prefect server and a cache of results of its own, and two Dask workers."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "PREFECT_"))
    }
    places = {"TMPDIR": scratch, "PREFECT_HOME": root / ".prefect", "DVC_SITE_CACHE_DIR": scratch.parent / "site"}
    places |= {"GENCOMP_RESULTS": scratch.parent / "results"}
    own = {"PYTHONPATH": str(root), "GENCOMP_WORKERS": "2"}
    return inherited | QUIET | own | {name: str(place) for name, place in places.items()}


def main() -> int:
    parser = arguments("Kills pipeline runs at random, and looks at what they end in.")
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
            trees = tree(folder / "unbroken"), tree(folder / "broken")
            try:
                return finish(rows(folder, *trees, api, kills, args.seed), args.json)
            finally:
                for member in (member for one in trees for member in one.members()):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.process.kill()


def rows(folder: Path, unbroken: Tree, broken: Tree, api: str, kills: int, seed: int) -> list[Row]:
    """Kill until that many were killed in `folder`, then run to the end there and compare."""
    record = folder / "kills.json"
    if not record.exists():
        say("an unbroken run")
        write(record, watch(unbroken), Killed([], [], [], [], []))
    run, done = read(record)
    say(", ".join(f"{part} {seconds:.0f} s" for part, seconds in run.seconds.items()))

    def ended() -> list[str]:
        wrong = compared(broken.root, unbroken.root)
        emptied(broken.root)
        say(f"a run went to its end after {len(done.victims)} kills: {'; '.join(wrong) or 'as the unbroken one'}")
        return wrong

    hunt = Hunt(broken, run, random.Random(f"{seed} {len(done.victims)}"), api, ended, done)
    while len(done.victims) < kills:
        hunt.kill()
        say(f"{len(done.victims)} of {kills}: {done.victims[-1]}")
        write(record, run, done)
    hunt.to_the_end()
    write(record, run, done)
    return [*hits(done.victims, kills), *endings(done, f"sqlite:///{broken.root / 'mlflow.db'}")]


def hits(victims: Sequence[str], kills: int) -> list[Row]:
    """How many processes of each kind were killed."""
    kinds = Counter(victim.split()[0] for victim in victims)
    stages = Counter(victim.partition(" ")[2] for victim in victims if victim.startswith("stage "))
    for stage, count in sorted(stages.items()):
        say(f"{stage} {count}")
    whole = kills >= KILLS
    return [
        measured("processes killed", float(len(victims)), "", Bar(">=", kills)),
        *(measured(f"of them {kind}", float(kinds[kind]), "") for kind in get_args(Kind) if kind != "stage"),
        measured("of them stage", float(kinds["stage"]), "", STAGES_HIT if whole else None),
        measured("different stages", float(len(stages)), "", STAGE_NAMES_HIT if whole else None),
    ]


def endings(done: Killed, store: str) -> list[Row]:
    """What came of it."""
    for what in [*done.survivors, *done.failed, *done.wrong]:
        say(what)
    return [
        measured("runs that went to their end", float(len(done.runs)), "", Bar(">=", 1)),
        measured("hashes and files unlike the unbroken run's", float(len(done.wrong)), "", NONE),
        measured("processes that stayed", float(len(done.survivors)), "", NONE),
        measured("flows that failed without being hit", float(len(done.failed)), "", NONE),
        measured("versions in MLflow but one", float(abs(len(versions(store)) - 1)), "", NONE),
    ]


def write(record: Path, run: Run, done: Killed) -> None:
    record.write_text(json.dumps([run._asdict(), done._asdict()]))


def read(record: Path) -> tuple[Run, Killed]:
    run, done = json.loads(record.read_text())
    return Run(**run), Killed(**done)


def tree(folder: Path) -> Tree:
    """A checkout in `folder`, made where it is missing."""
    scratch = folder / "tmp"
    if not (folder / "checkout").exists():
        checkout(folder)
        scratch.mkdir()
    return Tree(folder / "checkout", environment(folder / "checkout", scratch))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
