"""How fast each metric is, how much memory it takes, and whether that grows with the number of pictures.

Each runs in a process of its own on pairs of a photograph and its blurred copy, at the size of Kodak's pictures. KID
keeps the features of every patch of originals and reconstructions, 8 kB each, and beside them blocks of a fixed size.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.clock import hardware
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, one_line, say, unmeasured
from gencomp.evaluation.distribution import Distance, PatchFeatures
from gencomp.evaluation.metrics import METRICS, Measurer
from gencomp.evaluation.rates import MetricName
from gencomp.weights.failure import MissingWeightsError

SIZE = (768, 512)
"""Pixels, width and height."""
GROWTH = Bar("<=", 1.1)
"""Of peak memory over that with a fraction of the pictures."""
FRACTION = 4


class Measurement(NamedTuple):
    """What a process found."""

    pictures_per_second: float
    processor: float
    """Seconds of processor time a picture, over all threads: what a busy machine changes least."""
    megabytes: float
    """Peak of its memory."""


def pairs(count: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Pairs that are all different: parts of a photograph, and the same blurred."""
    from skimage import data

    photograph = Image.fromarray(data.astronaut())
    for number in range(count):
        x = photograph.crop((number % 128, number // 128, number % 128 + 384, number // 128 + 256)).resize(SIZE)
        yield np.asarray(x), np.asarray(x.filter(ImageFilter.GaussianBlur(2)))


def run(name: str, count: int) -> Measurement:
    """Measure `count` pairs by one metric, in this process, after one that is not timed. Raises FileNotFoundError."""
    if name == "kid":
        features, distance = PatchFeatures(), Distance()

        def step(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> None:
            distance.add(features(x), features(y))
    else:
        measurer = Measurer([cast(MetricName, name)])

        def step(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> None:
            measurer(x, y)

    started = used = 0.0
    for number, pair in enumerate(pairs(count + 1)):
        if number == 1:
            started, used = time.perf_counter(), time.process_time()
        step(*pair)
    if name == "kid":
        distance.figures()
    seconds, used = time.perf_counter() - started, time.process_time() - used
    return Measurement(count / seconds, used / count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def apart(name: str, count: int) -> Measurement:
    """The same in a process of its own. Raises RuntimeError with the last line that it said."""
    command = [sys.executable, "-m", "benchmarks.metrics", "--one", name, "--pictures", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no message").splitlines()[-1])
    return Measurement(*json.loads(done.stdout))


def rows(name: str, count: int, growth: bool) -> Iterator[Row]:
    """Speed and memory of one metric, and with `growth` how its memory grows with the pictures."""
    try:
        many = apart(name, count)
        few = apart(name, count // FRACTION) if growth else None
    except RuntimeError as error:
        yield unmeasured(f"{name}: speed", "pictures/s", one_line(error))
        return
    yield measured(f"{name}: speed", many.pictures_per_second, "pictures/s")
    yield measured(f"{name}: processor time", many.processor, "s a picture")
    whole = f"{name}: memory with {count} pictures"
    if few is None:
        yield measured(whole, many.megabytes, "MB")
        return
    base = measured(f"{name}: memory with {count // FRACTION} pictures", few.megabytes, "MB")
    yield base
    yield compared(whole, many.megabytes, "MB", base, GROWTH)


def main() -> int:
    parser = arguments("Measures the speed and the memory of each metric.")
    parser.add_argument("--pictures", type=int, metavar="N", help="pairs per metric (default: 32, quick: 2)")
    parser.add_argument("--metric", action="append", choices=(*METRICS, "kid"), help="only this one (repeatable)")
    parser.add_argument("--one", metavar="NAME", help="measure in this process, and print the figures as JSON")
    args = parser.parse_args()
    count = args.pictures or (2 if args.quick else 32)
    if args.one:
        try:
            print(json.dumps(run(args.one, count)))
        except (MissingWeightsError, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    say(f"{count} pairs of {SIZE[0]} x {SIZE[1]}, {hardware(torch.device('cpu'))}")
    found: list[Row] = []
    for name in args.metric or (*METRICS, "kid"):
        found.extend(rows(name, count, not args.quick))
        say(name)
    return finish(found, args.json)


if __name__ == "__main__":
    raise SystemExit(main())
