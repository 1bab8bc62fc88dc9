"""What a picture costs as it grows: time and memory of `gencomp compress` and `gencomp decompress`, from 0.25 to 100
megapixels, JPEG to .gnc and back to JPEG, each in a process of its own.

Time is that of all threads (user and system), which other work on the machine changes little. The cost per megapixel is
a slope, the seconds that a larger picture takes more than a smaller one over the megapixels that it has more, so that
what the command takes to start is in none. Beyond one tile, tiles overlap, so it is not the same, but it must not grow:
it is held against the last slope between pictures in one piece, from 1 to 4 megapixels with the shipped models. An
earlier one would not do. From 0.25 to 1 megapixel a command takes half a second more, of which a tenth of a second, as
other work on the machine easily adds, is a fifth; and so small a picture is not much larger than the caches.
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
from gencomp.codec.tiles import tilings
from gencomp.models.compressor import ModelConfig
from gencomp.models.package import load_package
from gencomp.references import resolve

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
    config = load_package(resolve(args.model)).config
    whole = max((size for size in sizes if in_one_piece(size, config)), default=sizes[0])
    with tempfile.TemporaryDirectory() as name:
        runs = {size: take(size, Path(name), args.model) for size in sizes}
    return finish(list(rows(runs, whole)), args.json)


def take(megapixels: float, folder: Path, model: str) -> dict[str, Run]:
    """What both commands take for a picture of so many megapixels."""
    say(f"{megapixels:g} megapixels")
    original, stream, back = (folder / f"{megapixels:g}{ending}" for ending in (".jpg", ".gnc", "-back.jpg"))
    width, height = size_of(megapixels)
    # In a process of its own too: a child's peak begins at what its parent held.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(save_picture, original, width, height).result()
    return {
        "compress": timed(["compress", str(original), str(stream), "--model", model]),
        "decompress": timed(["decompress", str(stream), str(back), "--model", model]),
    }


def size_of(megapixels: float) -> tuple[int, int]:
    """Width and height."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    return round(height * ASPECT), height


def in_one_piece(megapixels: float, config: ModelConfig) -> bool:
    """Whether neither network of a model cuts a picture of so many megapixels into tiles."""
    w, h = (-(-side // config.stride) for side in size_of(megapixels))
    return all(len(tiling.tiles(h, w)) == 1 for tiling in tilings(config))


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


def rows(runs: Mapping[float, Mapping[str, Run]], whole: float) -> Iterator[Row]:
    """Memory at each size, and what a megapixel costs from each size to the next; `runs` from the smallest on.

    Slopes beyond `whole`, the megapixels of the largest picture in one piece, are held against the last one before.
    """
    for command in ("compress", "decompress"):
        found = {size: run[command] for size, run in runs.items()}
        for size, run in found.items():
            yield measured(f"{command} {size:g} MP", run.seconds, "s")
            yield compared(f"{command} {size:g} MP: memory", run.peak, "MB", GIB_2, MEMORY)
        reference: Row | None = None
        for small, large in itertools.pairwise(found):
            name = f"{command}: a megapixel, {small:g} to {large:g}"
            slope = (found[large].seconds - found[small].seconds) / (large - small)
            if large <= whole or reference is None:
                yield (reference := measured(name, slope, "s"))
            else:
                yield compared(name, slope, "s", reference, TILED)


if __name__ == "__main__":
    sys.exit(main())
