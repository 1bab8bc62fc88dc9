"""What a picture costs as it grows: time and memory of `gencomp compress` and `gencomp decompress`, from 0.25 to 100
megapixels, JPEG to .gnc and back to JPEG, each in a process of its own.

Time is that of all threads (user and system), which other work on the machine changes little. The cost per megapixel is
a slope, the seconds that a larger picture takes more than a smaller one over the megapixels that it has more, so that
what the command takes to start is in none. Beyond one tile, tiles overlap, so it is not the same, but it must not grow.
"""

import itertools
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say

MEGAPIXELS = (0.25, 1.0, 4.0, 12.0, 25.0, 50.0, 100.0)
QUICK_MEGAPIXELS = (0.25, 1.0, 3.0)
ASPECT = 4 / 3
TILED = Bar("<=", 1.8)
"""Of the cost of a megapixel of pictures in one piece; what tiles overlap is 1.6 of it at most."""
MEMORY = Bar("<=", 1.0)
"""Of 2 GiB, the most resident memory at any size."""
GIB_2 = measured("2 GiB", 2**31 / 1e6, "MB")


class Run(NamedTuple):
    """What a command took."""

    seconds: float
    """Of all threads together."""
    peak: float
    """Most resident memory, megabytes."""


def main() -> int:
    parser = arguments("Times compression of pictures of growing size.")
    parser.add_argument("--model", metavar="REF", default="light", help="a model reference (light)")
    parser.add_argument("--largest", metavar="MP", type=float, help="leave out pictures of more megapixels")
    args = parser.parse_args()
    largest = math.inf if args.largest is None else args.largest
    sizes = [size for size in (QUICK_MEGAPIXELS if args.quick else MEGAPIXELS) if size <= largest]
    if len(sizes) < 2:
        parser.error("a slope needs two sizes: give a larger --largest")
    with tempfile.TemporaryDirectory() as name:
        runs = {size: take(size, Path(name), args.model) for size in sizes}
    return finish(list(rows(runs)), args.json)


def take(megapixels: float, folder: Path, model: str) -> dict[str, Run]:
    """What both commands take for a picture of so many megapixels."""
    say(f"{megapixels:g} megapixels")
    original, stream, back = (folder / f"{megapixels:g}{ending}" for ending in (".jpg", ".gnc", "-back.jpg"))
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    # In a process of its own too: a child's peak begins at what its parent held.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(save_picture, original, round(height * ASPECT), height).result()
    return {
        "compress": timed(["compress", str(original), str(stream), "--model", model]),
        "decompress": timed(["decompress", str(stream), str(back), "--model", model]),
    }


def save_picture(path: Path, width: int, height: int) -> None:
    """Write the picture as a JPEG file."""
    picture(width, height).save(path, quality=90)


def picture(width: int, height: int) -> Image.Image:
    """Smooth colours, of which no two places are alike for long, with noise over them."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 64 + 2, width // 64 + 2, 3)).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return Image.blend(smooth, Image.effect_noise((width, height), 60).convert("RGB"), 0.2)


def timed(command: list[str]) -> Run:
    """What a command of gencomp takes, in a process of its own."""
    program = "from gencomp.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"gencomp {' '.join(command)}: exit code {process.returncode}")
    return Run(used.ru_utime + used.ru_stime, _megabytes(used))


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def rows(runs: Mapping[float, Mapping[str, Run]]) -> Iterator[Row]:
    """Memory at each size, and what a megapixel costs from each size to the next; `runs` from the smallest on."""
    for command in ("compress", "decompress"):
        found = {size: run[command] for size, run in runs.items()}
        for size, run in found.items():
            yield measured(f"{command} {size:g} MP", run.seconds, "s")
            yield compared(f"{command} {size:g} MP: memory", run.peak, "MB", GIB_2, MEMORY)
        reference: Row | None = None
        for small, large in itertools.pairwise(found):
            name = f"{command}: a megapixel, {small:g} to {large:g}"
            slope = (found[large].seconds - found[small].seconds) / (large - small)
            row = compared(name, slope, "s", reference, TILED) if reference else measured(name, slope, "s")
            reference = reference or row
            yield row


if __name__ == "__main__":
    sys.exit(main())
