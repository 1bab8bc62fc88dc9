"""How fast images come in, beside img2dataset: the same JPEG files from one loopback server, on the same two cores.

img2dataset wants an environment of its own: `python -m venv i2d && i2d/bin/pip install img2dataset`, and then
`python -m benchmarks.ingest --img2dataset i2d/bin/img2dataset`. Memory is the most that all processes of a run hold at
once, shared pages counted once (PSS).
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
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


def main() -> int:
    args = _arguments()
    images, rounds = (40, 1) if args.quick else (args.images, 3)
    with tempfile.TemporaryDirectory() as name, serving() as url:
        root = Path(name)
        return finish(list(rows(args.img2dataset, url, root, images, rounds)), args.json)


def rows(other: str | None, url: str, root: Path, images: int, rounds: int) -> Iterator[Row]:
    """Images per second and memory, for originals and for reduced copies."""
    for what, bar in (("originals", FASTER), ("reduced", AS_FAST)):
        ours, theirs = [], []
        for number in range(rounds):
            say(f"{what}, round {number + 1} of {rounds}")
            if other is not None:
                theirs.append(img2dataset(other, url, root / "theirs", images, what))
            ours.append(gencomp(url, root / "ours", images, what))
        speed, peak = (statistics.median(getattr(run, field) for run in ours) for field in ("seconds", "peak"))
        if not theirs:
            yield unmeasured(f"{what}: img2dataset", "images/s", "not installed")
            yield measured(f"{what}: gencomp", images / speed, "images/s")
            yield measured(f"{what}: gencomp, memory", peak, "MB")
            continue
        their_speed, their_peak = (statistics.median(getattr(run, f) for run in theirs) for f in ("seconds", "peak"))
        reference = measured(f"{what}: img2dataset", images / their_speed, "images/s")
        memory = measured(f"{what}: img2dataset, memory", their_peak, "MB")
        yield reference
        yield compared(f"{what}: gencomp", images / speed, "images/s", reference, bar)
        yield memory
        yield compared(f"{what}: gencomp, memory", peak, "MB", memory, LESS)


def gencomp(url: str, root: Path, images: int, what: str) -> Run:
    """Stage `download`, which keeps the originals, and for reduced copies stage `shard` after it."""
    _fresh(root)
    listed = "\n".join(["ImageID,Subset", *(f"{number:06x},train" for number in range(images))])
    (root / "list.csv").write_text(listed + "\n")
    dataset = {
        "source": {
            "kind": "openimages",
            "image_lists": ["list.csv"],
            "images": f"{url}/{{id}}.jpg",
            "checksums": False,
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
    if what == "reduced":
        dataset["selection"] = {
            **{"recipe": "paper", "longer_side": LONGER_SIDE, "minimum_downscale": 1.0, "minimum_side": 1},
            **{"jpeg_quality": QUALITY, "maximum_saturation": 1.0, "maximum_brightness": 1.0},
        }
    (root / "params.yaml").write_text(yaml.safe_dump({"datasets": {"b": dataset}}))
    stages = ["download"] if what == "originals" else ["download", "semantics", "shard"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GENCOMP_WORKERS": "2"}
    runs = [timed([sys.executable, "-m", f"stages.{stage}", "b"], root, environment) for stage in stages]
    folder = root / "data" / ("raw" if what == "originals" else "shards") / "b"
    assert sum(path.suffix == ".tar" for path in folder.iterdir()) == -(-images // PER_SHARD)
    return Run(sum(run.seconds for run in runs), max(run.peak for run in runs))


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
                **{"resize_only_if_bigger": True, "downscale_interpolation": "cubic"},
            }
        ),
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    run = timed([command, *given], root, os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"})
    tars = list((root / "out").glob("*.tar"))
    assert len(tars) == -(-images // PER_SHARD), "img2dataset wrote too few tars"
    return run


def timed(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Run:
    """Wall time of a command, and the most memory of its processes together."""
    start = time.perf_counter()
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        tree, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, _memory(tree))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    if process.returncode:
        raise RuntimeError(f"{command[0]}: {(folder / 'log.txt').read_text()[-2000:]}")
    return Run(time.perf_counter() - start, peak / 1e6)


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
    yield f"http://127.0.0.1:{told.get(timeout=60)}"
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
    parser.add_argument(
        "--img2dataset", metavar="COMMAND", default=shutil.which("img2dataset"), help="img2dataset's command"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
