"""The fairness table that a talk on the paper (2018) asks for: time, memory and rate of encoding and decoding, the size
of the decoder's weights, and after how many pictures they are paid for beside BPG and AVIF at equal LPIPS.

Each codec encodes and decodes in processes of its own, whose most resident memory is taken. Times are medians over the
pictures of the fastest of some rounds, in a process that is warm; BPG's are of its programs, each started anew, reading
and writing files. Means of rate and LPIPS are over the same pictures.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.clock import hardware
from benchmarks.rows import Row, arguments, compared, finish, measured, say, unmeasured
from benchmarks.watched import watched
from gencomp import Codec
from gencomp.codec.rate import bits_per_pixel
from gencomp.evaluation.classical import CODECS, ClassicalCodec
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, folder_images
from gencomp.evaluation.perceptual import Preparing, lpips
from gencomp.evaluation.practicality import (
    TALK_WEIGHTS,
    Cost,
    Payoff,
    Point,
    Practicality,
    decoder_bytes,
    table,
    write_practicality,
)
from gencomp.references import resolve

SETTINGS = {"bpg": (51, 48, 45, 42, 39, 36), "avif": (0, 10, 20, 30)}
"""Of the curves. Codecs are timed at the first one, their smallest files."""
PROTOCOL = (
    "equal LPIPS (0.1, AlexNet): linear in the logarithm of the bytes between means over the pictures at neighbouring "
    "settings; times: medians over pictures of the fastest round; memory: most resident of the process, with its "
    "interpreter where it has one"
)


class Timed(NamedTuple):
    """What a process took."""

    milliseconds: float
    """Median over pictures of the fastest round."""
    first: float
    """Milliseconds from the start of the process to the first result."""
    peak: float
    """Most resident memory, 10^6 bytes."""


class Files(NamedTuple):
    """A codec's files of all pictures, in their order."""

    paths: list[Path]
    sizes: list[int]
    distances: list[float]
    """LPIPS."""


def main() -> int:
    parser = arguments("Measures what a model costs and when it pays off.")
    parser.add_argument("images", type=Path, help="a folder of pictures")
    parser.add_argument("--model", metavar="REF", action="append", help="a model, any number of times (light)")
    parser.add_argument("--max-bpp", metavar="X", type=float, default=0.0363, help="rate of nested models (0.0363)")
    parser.add_argument("--step", metavar="N", type=int, default=1, help="take every N-th picture (1)")
    parser.add_argument("--rounds", type=int, help="runs of each picture (5, or 2 with --quick)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of models (2)")
    parser.add_argument("--table", metavar="FILE", type=Path, help="write what the report shows to FILE")
    args = parser.parse_args()
    try:
        images = list(folder_images(args.images))[:: 12 if args.quick else args.step]
        say(f"{len(images)} pictures, {hardware(torch.device('cpu'))}")
        found = measure(images, args)
    except (HeldOutError, ValueError) as error:
        parser.error(str(error))
    if args.table:
        write_practicality(args.table, found)
    return finish(list(rows(found)), args.json)


def measure(images: Sequence[HeldOutImage], args: argparse.Namespace) -> Practicality:
    """Models, then the classical codecs that are here."""
    distance, rounds = lpips("alex"), args.rounds or (2 if args.quick else 5)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        originals = [folder / f"{image.key}.png" for image in images]
        for image, path in zip(images, originals, strict=True):
            Image.fromarray(image.pixels).save(path)
        costs = [
            model_cost(ref, images, originals, distance, folder, rounds, args.threads, args.max_bpp)
            for ref in args.model or ["light"]
        ]
        for codec in (CODECS[name] for name in SETTINGS):
            if reason := codec.missing():
                say(f"without {codec.title}: {reason}")
            else:
                settings = SETTINGS[codec.name][:: 2 if args.quick else 1]
                costs.append(codec_cost(codec, settings, images, originals, distance, folder, rounds))
    device = f"{hardware(torch.device('cpu'))}; models in {args.threads}"
    return Practicality(hardware=device, images=len(images), protocol=PROTOCOL, costs=tuple(costs))


def model_cost(
    ref: str,
    images: Sequence[HeldOutImage],
    originals: Sequence[Path],
    distance: Preparing,
    folder: Path,
    rounds: int,
    threads: int,
    max_bpp: float,
) -> Cost:
    """A model at one rate."""
    say(ref)
    codec = Codec.from_reference(ref)
    limit = max_bpp if codec.package.config.nested else None

    def encode(picture: Image.Image) -> bytes:
        return codec.compress(picture, max_bpp=limit)

    files = coded(f"{ref.replace('/', '-')}.gnc", images, encode, codec.decompress, distance, folder)
    how = str(rounds), str(threads), str(limit)
    return cost_of(
        ref,
        "its own rate" if limit is None else f"within {limit:g} bpp",
        images,
        files,
        in_child("encode", ref, *how, *map(str, originals)),
        in_child("decode", ref, *how, *map(str, files.paths)),
        weights=decoder_bytes(resolve(ref)),
    )


def codec_cost(
    codec: ClassicalCodec,
    settings: Sequence[float],
    images: Sequence[HeldOutImage],
    originals: Sequence[Path],
    distance: Preparing,
    folder: Path,
    rounds: int,
) -> Cost:
    """A classical codec: its curve, and its cost at the first setting."""
    say(codec.title)
    ladder: list[Files] = []
    for setting in settings:
        suffix = f"{setting:g}.{codec.suffix}"
        ladder.append(coded(suffix, images, at(codec, setting), codec.decode, distance, folder))
    curve = [
        Point(setting=f"{setting:g}", size=statistics.fmean(files.sizes), lpips=statistics.fmean(files.distances))
        for setting, files in zip(settings, ladder, strict=True)
    ]
    lowest, paths = settings[0], ladder[0].paths
    if codec.name == "bpg":
        out = str(folder / "timed")
        encode = programs(
            [["bpgenc", "-q", f"{lowest:g}", "-o", f"{out}.bpg", str(path)] for path in originals], rounds
        )
        decode = programs([["bpgdec", "-o", f"{out}.png", str(path)] for path in paths], rounds)
    else:
        how = str(rounds), "1", f"{lowest:g}"
        encode = in_child("encode", codec.name, *how, *map(str, originals))
        decode = in_child("decode", codec.name, *how, *map(str, paths))
    found = cost_of(codec.title, f"{lowest:g}", images, ladder[0], encode, decode, weights=0)
    return Cost(**{name: getattr(found, name) for name in found.__struct_fields__} | {"curve": tuple(curve)})


def at(codec: ClassicalCodec, setting: float) -> Callable[[Image.Image], bytes]:
    """The codec's encoder at one setting."""
    return lambda picture: codec.encode(picture, setting)


def cost_of(
    name: str, setting: str, images: Sequence[HeldOutImage], files: Files, encode: Timed, decode: Timed, weights: int
) -> Cost:
    """What was measured, put together."""
    pixels = [image.pixels.shape[0] * image.pixels.shape[1] for image in images]
    return Cost(
        codec=name,
        setting=setting,
        is_model=weights > 0,
        bpp=statistics.fmean(map(bits_per_pixel, files.sizes, pixels)),
        size=statistics.fmean(files.sizes),
        lpips=statistics.fmean(files.distances),
        encode_ms=encode.milliseconds,
        decode_ms=decode.milliseconds,
        first_ms=decode.first,
        encode_peak=encode.peak,
        decode_peak=decode.peak,
        weights=weights,
    )


def coded(
    suffix: str,
    images: Sequence[HeldOutImage],
    encode: Callable[[Image.Image], bytes],
    decode: Callable[[bytes], Image.Image],
    distance: Preparing,
    folder: Path,
) -> Files:
    """The files of all pictures, written into `folder`, and how far what they decode to is from the originals."""
    found = Files([], [], [])
    for image in images:
        data = encode(Image.fromarray(image.pixels))
        path = folder / f"{image.key}-{suffix}"
        path.write_bytes(data)
        away = distance(image.pixels)(np.asarray(decode(data)))
        if away is None:
            raise HeldOutError(f"{image.key} is too small for LPIPS: leave it out")
        found.paths.append(path)
        found.sizes.append(len(data))
        found.distances.append(away)
    return found


def programs(commands: Sequence[Sequence[str]], rounds: int) -> Timed:
    """Commands, each in a process of its own."""
    runs = [watched(command) for _ in range(rounds) for command in commands]
    milliseconds = [run.milliseconds for run in runs]
    return Timed(typical(milliseconds, len(commands)), milliseconds[0], max(run.peak for run in runs))


def in_child(*arguments: str) -> Timed:
    """What `benchmarks.coding` prints, and what its process took."""
    run = watched([sys.executable, "-m", "benchmarks.coding", *arguments])
    times = json.loads(run.output)
    return Timed(typical(times["milliseconds"], times["pictures"]), (times["first"] - run.start) * 1e3, run.peak)


def typical(milliseconds: Sequence[float], pictures: int) -> float:
    """The median over pictures of the fastest round; `milliseconds` are of all pictures, round by round."""
    return statistics.median(min(milliseconds[index::pictures]) for index in range(pictures))


def rows(found: Practicality) -> Iterator[Row]:
    """The table as rows."""
    talk = measured("weights in the talk of 2018", TALK_WEIGHTS / 1e6, "MB")
    for cost, payoffs in table(found.costs):
        name = cost.codec
        yield measured(f"{name}: rate", cost.bpp, "bpp")
        yield measured(f"{name}: LPIPS", cost.lpips, "")
        yield measured(f"{name}: encode", cost.encode_ms, "ms")
        yield measured(f"{name}: decode", cost.decode_ms, "ms")
        yield measured(f"{name}: first decode of a process", cost.first_ms, "ms")
        yield measured(f"{name}: memory to encode", cost.encode_peak, "MB")
        yield measured(f"{name}: memory to decode", cost.decode_peak, "MB")
        if cost.is_model:
            yield compared(f"{name}: weights of the decoder", cost.weights / 1e6, "MB", talk)
        for beside in payoffs:
            yield from payoff_rows(name, beside)


def payoff_rows(name: str, beside: Payoff) -> Iterator[Row]:
    """A model beside a codec at equal LPIPS."""
    if beside.saved is None:
        yield unmeasured(f"{name}: saved beside {beside.codec} at equal LPIPS", "bytes/picture", beside.why)
        return
    yield measured(f"{name}: saved beside {beside.codec} at equal LPIPS", beside.saved, "bytes/picture")
    after = f"{name}: paid for beside {beside.codec} after"
    if beside.pictures is None:
        yield unmeasured(after, "pictures", beside.why)
    else:
        yield measured(after, beside.pictures, "pictures")


if __name__ == "__main__":
    sys.exit(main())
