"""How fast images come in, beside img2dataset: the same JPEG files from one loopback server, on the same two cores.

img2dataset wants an environment of its own: `python -m venv i2d && i2d/bin/pip install img2dataset`, and then
`python -m benchmarks.ingest --img2dataset i2d/bin/img2dataset`. Memory is the most that all processes of a run hold at
once, shared pages counted once (PSS). Reduced copies are made by the same function on both sides, OpenCV's mean of the
covered pixels; of ours, whose files go on to `shard`, both the download alone and the way to the shards are told.
Processor times, without the server's, tell more than seconds where other work shares the cores.
"""

import argparse
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Process, Queue
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from benchmarks.photographs import jpegs
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured

WIDTH, HEIGHT = 1024, 768
LONGER_SIDE = 768
QUALITY = 95
DISTINCT = 100
"""Different files behind the addresses."""
CONNECTIONS = 16
PER_SHARD = 500
AS_FAST = Bar(">=", 1.0)
FASTER = Bar(">=", 1.5)
LESS = Bar("<=", 1.0)
REPOSITORY = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    peak: float
    """10^6 bytes."""
    processor: float = 0.0
    """Seconds of processor time, of all processes together."""


class Stages(NamedTuple):
    """What our stages took."""

    download: Run
    all: Run


def main() -> int:
    args = _arguments()
    images, rounds = (40, 1) if args.quick else (args.images, args.rounds)
    with tempfile.TemporaryDirectory() as name, serving() as url:
        root = Path(name)
        return finish(list(rows(args.img2dataset, url, root, images, rounds)), args.json)


def rows(other: str | None, url: str, root: Path, images: int, rounds: int) -> Iterator[Row]:
    """Images per second and memory, for originals and for reduced copies."""
    for what, bar in (("originals", FASTER), ("reduced", AS_FAST)):
        ours: list[Stages] = []
        theirs: list[Run] = []
        for number in range(rounds):
            say(f"{what}, round {number + 1} of {rounds}")
            if other is not None:
                theirs.append(img2dataset(other, url, root / "theirs", images, what))
            ours.append(gencomp(url, root / "ours", images, what))
        runs = {"gencomp": [run.all for run in ours]}
        if what == "reduced":
            runs = {"gencomp, to the shards": runs["gencomp"], "gencomp, download": [run.download for run in ours]}
        yield from _rows(what, images, theirs, runs, bar)


def _rows(what: str, images: int, theirs: list[Run], ours: Mapping[str, list[Run]], bar: Bar) -> Iterator[Row]:
    """Medians of the other's runs, and beside them those of each of our ways."""
    run = _median(theirs) if theirs else None
    speed = _theirs(what, "", "images/s", run and images / run.seconds)
    processor = _theirs(what, ", processor", "ms per image", run and run.processor / images * 1e3)
    memory = _theirs(what, ", memory", "MB", run and run.peak)
    yield from (speed, processor, memory)
    for name, runs in ours.items():
        run = _median(runs)
        yield compared(f"{what}: {name}", images / run.seconds, "images/s", speed, bar)
        yield compared(f"{what}: {name}, processor", run.processor / images * 1e3, "ms per image", processor)
        yield compared(f"{what}: {name}, memory", run.peak, "MB", memory, LESS)


def _theirs(what: str, figure: str, unit: str, value: float | None) -> Row:
    name = f"{what}: img2dataset{figure}"
    return unmeasured(name, unit, "not installed") if value is None else measured(name, value, unit)


def _median(runs: Sequence[Run]) -> Run:
    """Each figure by itself."""
    return Run(*(statistics.median(figures) for figures in zip(*runs, strict=True)))


def gencomp(url: str, root: Path, images: int, what: str) -> Stages:
    """Stage `download`, which keeps the originals; or keeps reduced copies, which stage `shard` takes over."""
    _fresh(root)
    listed = "\n".join(["ImageID,Subset", *(f"{number:06x},train" for number in range(images))])
    (root / "list.csv").write_text(listed + "\n")
    recipe = {
        **{"recipe": "paper", "longer_side": LONGER_SIDE, "interpolation": "area", "minimum_downscale": 1.0},
        **{"minimum_side": 1, "jpeg_quality": QUALITY, "maximum_saturation": 1.0, "maximum_brightness": 1.0},
    }
    dataset = {
        "source": {
            "kind": "openimages",
            "image_lists": ["list.csv"],
            "images": f"{url}/{{id}}.jpg",
            "checksums": False,
            "reduced": recipe if what == "reduced" else None,
        },
        "selection": {"recipe": "none", "minimum_side": 1},
        "shard_samples": PER_SHARD,
        "maximum_missing": 0.0,
        "maximum_megabytes": 64,
        "maximum_megapixels": 170,
        "connections": CONNECTIONS,
        "subset": {},
        "watch": "list.csv",
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"datasets": {"b": dataset}}))
    stages = ["download"] if what == "originals" else ["download", "semantics", "shard"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GENCOMP_WORKERS": "2"}
    runs = [timed([sys.executable, "-m", f"stages.{stage}", "b"], root, environment) for stage in stages]
    folder = root / "data" / ("raw" if what == "originals" else "shards") / "b"
    assert sum(path.suffix == ".tar" for path in folder.iterdir()) == -(-images // PER_SHARD)
    seconds, processor = (sum(getattr(run, name) for run in runs) for name in ("seconds", "processor"))
    return Stages(runs[0], Run(seconds, max(run.peak for run in runs), processor))


def img2dataset(command: str, url: str, root: Path, images: int, what: str) -> Run:
    """The same by img2dataset, into WebDataset tars too."""
    _fresh(root)
    (root / "list.txt").write_text("".join(f"{url}/{number:06x}.jpg\n" for number in range(images)))
    options = {
        "url_list": "list.txt",
        "output_folder": "out",
        "output_format": "webdataset",
        "processes_count": 2,
        "thread_count": CONNECTIONS // 2,
        "number_sample_per_shard": PER_SHARD,
        "enable_wandb": False,
        "disallowed_header_directives": "[]",
        **(
            {"resize_mode": "no", "skip_reencode": True}
            if what == "originals"
            else {
                **{"resize_mode": "keep_ratio_largest", "image_size": LONGER_SIDE, "encode_quality": QUALITY},
                **{"resize_only_if_bigger": True, "downscale_interpolation": "area"},
            }
        ),
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    run = timed([command, *given], root, os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"})
    tars = list((root / "out").glob("*.tar"))
    assert len(tars) == -(-images // PER_SHARD), "img2dataset wrote too few tars"
    return run


def timed(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Run:
    """Wall and processor time of a command, and the most memory of its processes together."""
    start, before = time.perf_counter(), _processor()
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        tree, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _memory(tree))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    if process.returncode:
        raise RuntimeError(f"{command[0]}: {(folder / 'log.txt').read_text()[-2000:]}")
    return Run(time.perf_counter() - start, peak / 1e6, _processor() - before)


def _processor() -> float:
    """Processor seconds of the processes that this one has started and seen end, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(tree: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in [tree, *tree.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A loopback server of `<anything>.jpg` in a process of its own; its URL."""
    told: Queue[int] = Queue()
    process = Process(target=_serve, args=(told,), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{told.get(timeout=600)}"
    process.terminate()
    process.join()


def _serve(told: "Queue[int]") -> None:
    files = list(jpegs(DISTINCT, WIDTH, HEIGHT))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2].removesuffix(".jpg")
            data = files[int(name, 16) % DISTINCT] if name.isalnum() and name != "robots" else b""
            self.send_response(200 if data else 404)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told.put(server.server_port)
    threading.Event().wait()


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _arguments() -> argparse.Namespace:
    parser = arguments("Times downloads from a loopback server.")
    parser.add_argument("--images", type=int, default=5000, help="how many to fetch (default 5000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is run, in turn (default 3)")
    parser.add_argument(
        "--img2dataset", metavar="COMMAND", default=shutil.which("img2dataset"), help="img2dataset's command"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
