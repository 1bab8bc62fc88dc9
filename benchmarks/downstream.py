"""What a segmentation network still recognises in decoded pictures: mIoU and pixel accuracy against true labels, of
models and of classical codecs at the bytes of the first model.

Each limit of the rate takes a model's largest file that keeps it; a codec, its largest file that is not above the first
model's of the same picture, or its smallest. A model that is not nested has one rate, whatever the limit. The bar is
for the first model beside BPG. Every later model stands beside the first too, each at its own bytes. Differences have
95 % intervals by a bootstrap over the pictures, of which both get the same draws.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.clock import hardware
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say
from gencomp import Codec
from gencomp.codec.rate import RateError, bits_per_pixel
from gencomp.data.failure import DataError
from gencomp.data.manifest import ShardManifest, read
from gencomp.evaluation.classical import CODECS, ClassicalCodec
from gencomp.evaluation.held_out import HeldOutError, HeldOutSample, folder_images, held_out_samples
from gencomp.evaluation.recognised import Contestant, true_labels
from gencomp.evaluation.segmentation import Network, SegmentationError, interval, load_network

LIMITS = (0.0363, 0.0726)
"""Bits per pixel."""
BESIDE_BPG = Bar(">=", 1.0)
"""Of the first model's mIoU over BPG's."""
ORIGINAL = "originals"
LADDERS: dict[str, Sequence[float]] = {
    "jpeg": range(1, 96),
    "webp": range(0, 101),
    "jpeg2000": [0.001 * 1.05**step for step in range(150)],
    "avif": range(0, 101),
    "bpg": range(51, -1, -1),
}
"""The settings of each codec, from small files to large ones."""

Pixels = NDArray[np.uint8]


class Coded(NamedTuple):
    """A picture after coding."""

    size: int
    """Bytes."""
    pixels: Pixels
    fits: bool
    """Whether the file is within what was asked for."""


def main() -> int:
    parser = arguments("Compares what a segmentation network sees in decoded pictures.")
    parser.add_argument("images", type=Path, help="a folder of pictures, or of shards with label maps")
    parser.add_argument(
        "--labels", type=Path, help="of a folder of pictures: the folder of their label maps, <name>.png"
    )
    parser.add_argument("--split", default="val", help="of shards: the split (val)")
    parser.add_argument("--network", type=Path, required=True, help="ESPNet's weights (.pth), or a description (.json)")
    parser.add_argument("--classes", help="names of the label ids 0, 1, ..., separated by commas (the network's own)")
    parser.add_argument(
        "--model", metavar="REF", action="append", help="a model reference, any number of times (light)"
    )
    parser.add_argument("--step", metavar="N", type=int, default=1, help="take every N-th picture (1)")
    parser.add_argument("--codecs", default=",".join(LADDERS), help="classical codecs, separated by commas (all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [name for name in args.codecs.split(",") if name]
    if unknown := set(wanted) - LADDERS.keys():
        parser.error(f"no codec {', '.join(sorted(unknown))}; known: {', '.join(LADDERS)}")
    absent = {CODECS[name].title: reason for name in wanted if (reason := CODECS[name].missing())}
    for title, reason in absent.items():
        say(f"without {title}: {reason}")
    try:
        network = load_network(args.network, tuple(args.classes.split(",")) if args.classes else ())
        models = {name: Codec.from_reference(name) for name in args.model or ["light"]}
        codecs = [CODECS[name] for name in wanted if CODECS[name].title not in absent]
        say(f"{', '.join(models)}, {network.name} {network.sha256[:8]}, {hardware(torch.device('cpu'))}")
        samples = labelled(args.images, args.labels, args.split)
        found = measure(samples, max(args.step, 16 if args.quick else 1), network, models, codecs)
        return finish(list(rows(found, list(models), codecs)), args.json)
    except (HeldOutError, SegmentationError, DataError, ValueError) as error:
        parser.error(str(error))


def labelled(images: Path, labels: Path | None, split: str) -> Iterator[HeldOutSample]:
    """The pictures with their label maps. Raises HeldOutError, for a picture without one too."""
    if (images / "manifest.json").is_file():
        read(images / "manifest.json", ShardManifest)
        yield from held_out_samples(images, split)
        return
    if labels is None:
        raise HeldOutError(f"{images} is no folder of shards: give --labels, the folder of its label maps")
    for image in folder_images(images):
        yield HeldOutSample(image, true_labels(labels, image.key))


def measure(
    samples: Iterator[HeldOutSample],
    step: int,
    network: Network,
    models: Mapping[str, Codec],
    codecs: Sequence[ClassicalCodec],
) -> dict[tuple[str, float], Contestant]:
    """Every step-th picture by every contestant: (name of the codec, limit) -> what was measured. The originals have
    the limit 0."""
    found: dict[tuple[str, float], Contestant] = {}
    for index, (image, labels, _) in enumerate(samples):
        if index % step:
            continue
        if labels is None:
            raise HeldOutError(f"{image.key} has no label map")
        pixels = image.pixels.shape[0] * image.pixels.shape[1]
        for name, limit, coded in files(image.pixels, models, codecs):
            contestant = found.setdefault((name, limit), Contestant(len(network.classes)))
            contestant.confusion.add(labels, network.draw(coded.pixels))
            contestant.rates.append(bits_per_pixel(coded.size, pixels))
            contestant.too_large += not coded.fits
        say(image.key)
    if not found:
        raise HeldOutError("there are no pictures")
    return found


def files(
    x: Pixels, models: Mapping[str, Codec], codecs: Sequence[ClassicalCodec]
) -> Iterator[tuple[str, float, Coded]]:
    """The picture itself, then what each model and each codec makes of it: name, limit and file."""
    yield ORIGINAL, 0.0, Coded(x.nbytes, x, True)
    ladders = {codec.name: Ladder(codec, x) for codec in codecs}
    for limit in LIMITS:
        size = None
        for name, model in models.items():
            coded = model_file(model, x, limit)
            size = size or coded.size
            yield name, limit, coded
        assert size is not None
        for codec in codecs:
            yield codec.title, limit, ladders[codec.name].within(size)


def model_file(codec: Codec, x: Pixels, limit: float) -> Coded:
    """A model's file of a picture."""
    picture, allowed = Image.fromarray(x), limit * x.shape[0] * x.shape[1] / 8
    try:
        stream = codec.compress(picture, max_bpp=limit if codec.package.config.nested else None)
    except RateError:
        stream = codec.compress(picture, channels=1)
    return Coded(len(stream), np.asarray(codec.decompress(stream)), len(stream) <= allowed)


class Ladder:
    """The files of a codec for one picture, each made once and when it is needed."""

    def __init__(self, codec: ClassicalCodec, x: Pixels) -> None:
        self.codec, self.x = codec, x
        self.settings = LADDERS[codec.name]
        self.made: dict[int, bytes] = {}

    def within(self, size: int) -> Coded:
        """The largest file of at most `size` bytes, else the smallest."""
        step = largest(len(self.settings), lambda index: len(self._file(index)) <= size)
        data = self._file(step or 0)
        return Coded(len(data), np.asarray(self.codec.decode(data)), step is not None)

    def _file(self, index: int) -> bytes:
        if index not in self.made:
            self.made[index] = self.codec.encode(Image.fromarray(self.x), self.settings[index])
        return self.made[index]


def largest(count: int, holds: Callable[[int], bool]) -> int | None:
    """The last index below `count` for which a condition holds that holds up to there; None where it never does. It is
    looked for from the start in steps that double."""
    if not holds(0):
        return None
    low, step = 0, 1
    while low + step < count and holds(low + step):
        low, step = low + step, step * 2
    high = min(low + step, count)  # holds at low, and not at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def rows(
    found: Mapping[tuple[str, float], Contestant], models: Sequence[str], codecs: Sequence[ClassicalCodec]
) -> Iterator[Row]:
    """Of the originals, then of each limit the models and the codecs."""
    scores = {key: contestant.confusion.scores() for key, contestant in found.items()}
    whole = measured(f"{ORIGINAL}: mIoU", scores[ORIGINAL, 0.0].miou, "")
    right = measured(f"{ORIGINAL}: pixel accuracy", scores[ORIGINAL, 0.0].pixel_accuracy, "")
    yield from (whole, right)
    for limit in LIMITS:
        bpg = found.get((CODECS["bpg"].title, limit))
        for name in (*models, *(codec.title for codec in codecs)):
            contestant, at = found[name, limit], f"{name} within {limit:g} bpp"
            low = f"{contestant.too_large} of {len(contestant.rates)} above" if contestant.too_large else ""
            yield measured(f"{at}: rate", float(np.mean(contestant.rates)), "bpp")._replace(note=low)
            yield compared(f"{at}: mIoU", scores[name, limit].miou, "", whole)
            yield compared(f"{at}: pixel accuracy", scores[name, limit].pixel_accuracy, "", right)
            if name == models[0] and bpg is not None:
                yield from beside(f"{at}: mIoU", contestant, "BPG", bpg, BESIDE_BPG)
            if name in models[1:]:
                yield from beside(f"{at}: mIoU", contestant, models[0], found[models[0], limit])


def beside(name: str, one: Contestant, other_name: str, other: Contestant, bar: Bar | None = None) -> Iterator[Row]:
    """The mIoU of one over that of another, and the 95 % interval of what it is more, by a bootstrap over the pictures
    that both have: each draw of them is of both."""
    reference = measured(other_name, other.confusion.scores().miou, "")
    yield compared(f"{name} beside {other_name}", one.confusion.scores().miou, "", reference, bar)
    low, high = interval(one.confusion.resampled_miou() - other.confusion.resampled_miou())
    yield measured(f"{name} less {other_name}'s, low", low, "")
    yield measured(f"{name} less {other_name}'s, high", high, "")


if __name__ == "__main__":
    sys.exit(main())
