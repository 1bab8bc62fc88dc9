"""The proof of reproducibility: two clones of one commit, both computed from nothing, and the hashes of what they made.

On one machine every output must be equal. `--unlike` has the second clone compute as on an older processor, without
vector instructions newer than SSE4: then shards must be equal, what was trained may differ, metrics and pictures within
the bounds of docs/reproducibility.md. `--against FILE` holds the first clone to another machine's `--json FILE` alike.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import yaml
from PIL import Image

from benchmarks.rows import Bar, Row, arguments, finish, measured, say
from flows.environment import for_stages
from flows.guard import Guarded

Kind = Literal["shards", "weights", "streams", "metrics", "other"]
KINDS: tuple[tuple[str, Kind], ...] = (
    ("data/raw/", "shards"),
    ("data/semantics/", "shards"),
    ("data/shards/", "shards"),
    ("models/", "weights"),
    ("metrics/", "metrics"),
)
"""What an output is, by the head of its path."""
UNLIKE = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Nehalem",
}
"""How PyTorch and numpy are told to sum as on another processor."""
BOUNDS = {
    "psnr": Bar("<=", 0.3),
    "ms_ssim": Bar("<=", 0.01),
    "lpips_alex": Bar("<=", 0.01),
    "lpips_vgg": Bar("<=", 0.01),
    "dists": Bar("<=", 0.01),
    "bpp": Bar("<=", 0.004),
}
"""Between machines, of a variant's means: the tolerances of the gate, absolute."""
PIXEL_BOUND = Bar("<=", 2.0)
"""Between machines: levels of 255 by which a pixel drawn of one file by one model may differ."""
EQUAL = Bar(">=", 1.0)
LOG = "reproduce.log"
REDRAWING = """
import json, sys
from pathlib import Path
from benchmarks.reproduce import redraw
print(json.dumps(redraw(Path(sys.argv[1]))))
"""


class Output(NamedTuple):
    """Something that a clone has made."""

    kind: Kind
    digest: str
    """SHA-256 (hex), of a folder over the names and digests of its files."""
    locked: str
    """MD5 as dvc.lock has it; empty for a part of an output."""


class Redrawn(NamedTuple):
    """A variant's streams, decoded."""

    symbols: str
    """SHA-256 (hex) of all symbols."""
    apart: float
    """Levels of 255 by which a pixel differs at most from the pictures that were drawn before."""


class CloneError(Exception):
    """A clone that cannot be computed; the message is one line that says where to look."""


def main() -> int:
    parser = arguments("Computes two clones of a checkout's commit and compares what they made.")
    parser.add_argument(
        "--source", metavar="DIR", type=Path, default=Path.cwd(), help="the checkout; default: this one"
    )
    parser.add_argument("--params", metavar="FILE", type=Path, help="parameters instead of the commit's params.yaml")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="clone into the new folder DIR, and leave it there")
    parser.add_argument("--unlike", action="store_true", help="the second clone computes as on another processor")
    parser.add_argument("--against", metavar="FILE", type=Path, help="compare with the JSON of another machine, too")
    args = parser.parse_args()
    params = small(args.source) if args.quick else args.params.read_text() if args.params else None
    try:
        with folder(args.keep) as root:
            clones = [clone(args.source, root / name, params) for name in ("first", "second")]
            for path, extra in zip(clones, ({}, UNLIKE if args.unlike else {}), strict=True):
                compute(path, extra)
            first, second = map(outputs, clones)
            print(table(first, second, locked(args.source)))
            print(verdict(first, second, locked(args.source)))
            for name in differing(first, second):
                print(f"{name}: {', '.join(differing_files(*(root / name for root in clones)))}")
            rows = list(compare(first, second, alike=not args.unlike))
            if args.unlike:
                rows += list(bounds(clones[0], clones[1])) + list(pictures(clones[0], UNLIKE))
            rows += list(numbers(clones[0]))
            if args.against:
                rows += list(beside(rows, json.loads(args.against.read_text())))
    except (CloneError, OSError) as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("reproduce: stopped", file=sys.stderr)
        return 130
    # The hashes were shown; of their rows, those that matter now are those that miss their bar.
    return finish(rows, args.json, shown=[row for row in rows if row.unit != "equal" or row.met is False])


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """Where clones lie: for the time of the block, or in a new folder for good."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="reproduce-") as name:
            yield Path(name)
        return
    keep.mkdir(parents=True)
    yield keep.absolute()


def clone(source: Path, target: Path, params: str | None) -> Path:
    """A clone of the commit that is checked out, with nothing computed: no cache, no outputs, no MLflow store."""
    _git("clone", "--quiet", "--no-hardlinks", str(source.absolute()), str(target))
    if params is not None:
        (target / "params.yaml").write_text(params)
    return target


def compute(path: Path, extra: Mapping[str, str]) -> None:
    """`dvc repro` in a clone; all that it says goes to `reproduce.log` there. Raises CloneError."""
    say(f"{path.name}: dvc repro")
    with (path / LOG).open("wb") as log:
        command = [sys.executable, "-m", "dvc", "repro"]
        process = Guarded(command, cwd=path, environment=environment(path, extra), output=log)
        try:
            status = process.wait()
        finally:
            process.end()
    said = (path / LOG).read_text(errors="replace").splitlines()
    if status != 0:
        raise CloneError(f"{path.name}: dvc repro failed: {next((line for line in said[::-1] if line), 'no output')}")
    if any("is cached - skipping run" in line for line in said):
        raise CloneError(f"{path.name}: DVC restored outputs instead of computing them")


def environment(path: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Of a clone's processes: its own code, DVC and MLflow without the user's stores, results kept from nobody else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    places = {"DVC_SITE_CACHE_DIR": path / ".dvc" / "site", "GENCOMP_RESULTS": path / ".dvc" / "results"}
    own = {"PYTHONPATH": str(path)} | {name: str(place) for name, place in places.items()}
    return for_stages(path, kept) | own | dict(extra)


def outputs(path: Path) -> dict[str, Output]:
    """What a clone's dvc.lock names, by path; the streams among an evaluation stand for themselves, too."""
    found: dict[str, Output] = {}
    for name, locked_as in locked(path).items():
        found[name] = Output(_kind(name), digest(path / name), locked_as)
        if (path / name / "streams").is_dir():
            found[f"{name}/streams"] = Output("streams", digest(path / name / "streams"), "")
    order = get_args(Kind)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1].kind), item[0])))


def locked(path: Path) -> dict[str, str]:
    """Paths and MD5s of all outputs in a checkout's dvc.lock; none where it has no lock."""
    lock = path / "dvc.lock"
    if not lock.exists():
        return {}
    stages = yaml.load(lock.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
    return {out["path"]: str(out.get("md5", "")) for stage in stages.values() for out in stage.get("outs", [])}


def digest(path: Path) -> str:
    """SHA-256 (hex) of a file; of a folder, over names and digests of its files."""
    if path.is_file():
        return sha256(path.read_bytes()).hexdigest()
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return sha256("".join(f"{file.relative_to(path)} {digest(file)}\n" for file in files).encode()).hexdigest()


def table(first: Mapping[str, Output], second: Mapping[str, Output], lock: Mapping[str, str]) -> str:
    """The heads of all hashes, and whether the first clone's are those of the commit's lock."""
    lines = [("kind", "output", "first clone", "second clone", "", "as in dvc.lock")]
    for name, one in first.items():
        other = second[name].digest if name in second else "missing"
        as_locked = "" if not one.locked else "yes" if lock.get(name) == one.locked else "no"
        equal = "equal" if one.digest == other else "DIFFERS"
        lines.append((one.kind, name, one.digest[:16], other[:16], equal, as_locked))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    aligned = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(line.rstrip() for line in aligned)


def verdict(first: Mapping[str, Output], second: Mapping[str, Output], lock: Mapping[str, str]) -> str:
    """The table in a line, such as `46 outputs: 46 equal in both clones; 40 of 40 as in the commit's dvc.lock`."""
    equal = len(first) - len([name for name in differing(first, second) if name in first])
    ours = [name for name, one in first.items() if one.locked]
    as_locked = sum(lock.get(name) == first[name].locked for name in ours)
    return (
        f"{len(first)} outputs: {equal} equal in both clones; "
        f"{as_locked} of {len(ours)} as in the commit's dvc.lock, which may be of another machine"
    )


def differing(first: Mapping[str, Output], second: Mapping[str, Output]) -> list[str]:
    """Names of the outputs that are not the same in both clones."""
    both = first.keys() & second.keys()
    return [name for name in {**first, **second} if name not in both or first[name].digest != second[name].digest]


def differing_files(first: Path, second: Path) -> list[str]:
    """Of an output in two clones: which of its files differ, or are in one alone; `.` for the output itself."""
    here, there = ({str(file.relative_to(root)): digest(file) for file in _files(root)} for root in (first, second))
    return sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]


def compare(first: Mapping[str, Output], second: Mapping[str, Output], *, alike: bool) -> Iterator[Row]:
    """One row per output, 1 where both clones have the same; between machines, shards alone must be."""
    for name in first.keys() | second.keys():
        if name not in first or name not in second:
            yield measured(f"{name}: in both clones", 0.0, "equal", EQUAL)
    for name, one in first.items():
        if name in second:
            bar = EQUAL if alike or one.kind == "shards" else None
            row = measured(name, float(one.digest == second[name].digest), "equal", bar)
            yield row._replace(note=f"{one.kind} {one.digest}")


def bounds(first: Path, second: Path) -> Iterator[Row]:
    """How far the metrics of two clones are apart."""
    for file in sorted((first / "metrics").glob("*.json")):
        other = second / "metrics" / file.name
        yield from _apart(file.stem, json.loads(file.read_text()), json.loads(other.read_text()))


def pictures(path: Path, extra: Mapping[str, str]) -> Iterator[Row]:
    """How far pictures that another processor draws of a clone's streams are from its own; symbols must be equal."""
    here, there = _redrawn(path, {}), _redrawn(path, extra)
    for variant, drawn in there.items():
        same = float(drawn.symbols == here[variant].symbols)
        yield measured(f"{variant}: symbols out of its streams", same, "equal", EQUAL)
        yield measured(f"{variant}: pixels apart", drawn.apart, "of 255", PIXEL_BOUND)


def redraw(root: Path) -> dict[str, Redrawn]:
    """A clone's streams decoded here, by its models, and beside the pictures that it drew of them; by variant."""
    from gencomp.codec.codec import Codec

    found: dict[str, Redrawn] = {}
    for evaluated in sorted((root / "evaluation").iterdir()):
        codec = Codec.from_reference(root / "models" / evaluated.name)
        symbols, apart = sha256(), 0.0
        for stream in sorted((evaluated / "streams").glob("*.gnc")):
            data = stream.read_bytes()
            symbols.update(codec.decode_symbols(data).tobytes())
            drawn = np.asarray(codec.decompress(data), np.int16)
            with Image.open(evaluated / "decoded" / f"{stream.stem}.png") as kept:
                apart = max(apart, float(np.abs(drawn - np.asarray(kept, np.int16)).max()))
        found[evaluated.name] = Redrawn(symbols.hexdigest(), apart)
    return found


def _redrawn(path: Path, extra: Mapping[str, str]) -> dict[str, Redrawn]:
    """`redraw` in a process with another environment."""
    command = [sys.executable, "-c", REDRAWING, str(path)]
    done = subprocess.run(command, env=environment(path, extra), cwd=path, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CloneError(f"{path.name}: decoding failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return {name: Redrawn(*fields) for name, fields in json.loads(done.stdout.splitlines()[-1]).items()}


def numbers(path: Path) -> Iterator[Row]:
    """The metrics of a clone, for `--against`."""
    for file in sorted((path / "metrics").glob("*.json")):
        for name, value in json.loads(file.read_text()).items():
            if name in BOUNDS and value is not None:
                yield measured(f"{file.stem}: {name}", value, "")


def beside(rows: list[Row], others: list[dict[str, object]]) -> Iterator[Row]:
    """This machine's rows beside those of another machine."""
    there = {str(other["name"]): other for other in others}
    for row in rows:
        other = there.get(row.name)
        metric = row.name.rpartition(": ")[2]
        if other is None:
            continue
        if row.note:
            bar = EQUAL if row.note.startswith("shards ") else None
            yield measured(f"{row.name}, another machine", float(row.note == other["note"]), "equal", bar)
        elif metric in BOUNDS and row.value is not None and other["value"] is not None:
            apart = abs(row.value - float(str(other["value"])))
            yield measured(f"{row.name}, another machine", apart, "apart", BOUNDS[metric])


def small(source: Path) -> str:
    """The commit's parameters cut down to the first variant, for eight steps."""
    params = yaml.safe_load(_git("-C", str(source), "show", "HEAD:params.yaml"))
    name, variant = next(iter(params["variants"].items()))
    variant["training"] |= {"steps": 8, "log_every": 4, "checkpoint_every": 4, "picture_every": 8}
    if variant.get("context"):
        variant["context"] |= {"steps": 4}
    params["variants"] = {name: variant}
    params["datasets"] = {variant["dataset"]: params["datasets"][variant["dataset"]]}
    params["anchors"] = {codec: [] for codec in params["anchors"]}
    return yaml.safe_dump(params, sort_keys=False)


def _apart(variant: str, first: Mapping[str, float | None], second: Mapping[str, float | None]) -> Iterator[Row]:
    for name, bar in BOUNDS.items():
        one, other = first.get(name), second.get(name)
        if one is not None and other is not None:
            yield measured(f"{variant}: {name} apart", abs(one - other), "", bar)


def _kind(name: str) -> Kind:
    return next((kind for head, kind in KINDS if name.startswith(head)), "other")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CloneError(f"git {arguments[0]}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
