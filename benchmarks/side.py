"""Label maps of street scenes as side information, beside the same maps as optimised PNGs; and how long they take.

Takes CamVid's maps where they are (`--maps`, a folder with PNGs of ids in `*_labels`), else the sample's made-up
scenes. oxipng and zopfli are compared with where they are installed (`pip install pyoxipng zopfli`).
"""

import importlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.clock import medians
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured
from gencomp.codec.selection import latent_mask
from gencomp.codec.side import Labels, Side, borders, pack_side, unpack_side
from gencomp.data import streets

SCENES, QUICK_SCENES, QUICK_MAPS, ROUNDS, QUICK_ROUNDS = 8, 3, 10, 9, 3
STRIDE = 8
"""Pixels per latent position of SC."""
CAR = 26
"""Its label id in Cityscapes, and so in the made-up scenes."""
SMALLER = Bar("<=", 0.7)
"""Of the bytes of the PNGs that Pillow's optimize=True makes."""
SOON = Bar("<=", 1000.0)
"""Milliseconds for a map of 480 x 360."""
LARGE, QUICK_LARGE = 8, 3
"""Copies of a map along each side of the large one."""
EVEN = Bar("<=", 1.5)
"""Milliseconds per pixel of a large map, over those of a small one."""


def main() -> int:
    parser = arguments("Compares the coding of label maps with optimised PNGs.")
    parser.add_argument("--maps", type=Path, default=Path("../shared/camvid"), help="folder with *_labels/*.png")
    args = parser.parse_args()
    paths = sorted(args.maps.glob("*_labels/*.png"))
    paths = paths[:: max(1, len(paths) // QUICK_MAPS)] if args.quick else paths
    maps: list[Labels] = [np.asarray(Image.open(path), np.uint8) for path in paths]
    if not maps:
        say(f"no maps in {args.maps}: the sample's scenes instead")
        maps = [streets.render(7, number).labels for number in range(SCENES)]
    say(f"{len(maps)} maps of {maps[0].shape[1]} x {maps[0].shape[0]} pixels")
    rounds, copies = (QUICK_ROUNDS, QUICK_LARGE) if args.quick else (ROUNDS, LARGE)
    scenes = QUICK_SCENES if args.quick else SCENES
    return finish([*sizes(maps), *parts(scenes), *times(maps[0], rounds, copies)], args.json)


def sizes(maps: list[Labels]) -> Iterator[Row]:
    """Bytes of a map, on the average; the borders of its labels are its edges, and nothing is preserved."""
    pngs = [optimised(labels) for labels in maps]
    reference = measured("optimised PNG", mean(map(len, pngs)), "bytes")
    yield reference
    for name, squeezed in squeezers().items():
        if squeezed is None:
            yield unmeasured(name, "bytes", "not installed")
        else:
            yield compared(name, mean(len(squeezed(png)) for png in pngs), "bytes", reference)
    ours = mean(len(pack_side(nothing_kept(labels))) for labels in maps)
    yield compared("side information", ours, "bytes", reference, SMALLER)


def squeezers() -> dict[str, Callable[[bytes], bytes] | None]:
    """What makes PNGs smaller still, where it is installed."""
    found: dict[str, Callable[[bytes], bytes] | None] = {"oxipng": None, "zopflipng": None}
    with suppress(ImportError):
        oxipng = importlib.import_module("oxipng")
        found["oxipng"] = lambda png: bytes(oxipng.optimize_from_memory(png, level=6))
    with suppress(ImportError):
        zopfli = importlib.import_module("zopfli.png")
        found["zopflipng"] = lambda png: bytes(zopfli.optimize(png))
    return found


def parts(count: int) -> Iterator[Row]:
    """Masks of all cars and edges of made-up scenes, whose instances are known: what they add to the label maps."""
    pngs: dict[str, list[int]] = {"mask": [], "edges": []}
    ours: dict[str, list[int]] = {"mask": [], "edges": []}
    for number in range(count):
        scene = streets.render(7, number)
        alone = nothing_kept(scene.labels)
        mask, edges = latent_mask(scene.labels == CAR, STRIDE), alone.edges | borders(scene.instances)
        least = len(pack_side(alone))
        for name, bits, side in (
            ("mask", mask, alone._replace(mask=mask)),
            ("edges", edges, alone._replace(edges=edges)),
        ):
            pngs[name].append(len(optimised(bits)))
            ours[name].append(len(pack_side(side)) - least)
    for name in pngs:
        reference = measured(f"{name} as optimised PNG", mean(pngs[name]), "bytes")
        yield from (reference, compared(name, mean(ours[name]), "bytes", reference, SMALLER))


def times(labels: Labels, rounds: int, copies: int) -> Iterator[Row]:
    """Milliseconds, on one core."""
    height, width = labels.shape
    large: Labels = np.tile(labels, (copies, copies)).astype(np.uint8)
    noise: Labels = np.random.default_rng(0).integers(0, 255, labels.shape, np.uint8)
    small, many, worst = taken(labels, rounds), taken(large, 1), taken(noise, 1)
    for what in small:
        yield measured(f"{what} {width} x {height}", small[what], "ms", SOON)
        megapixel = measured(f"{what} a megapixel of it", small[what] / labels.size * 1e6, "ms")
        yield megapixel
        name = f"{what} a megapixel of {large.size / 1e6:.1f}"
        yield compared(name, many[what] / large.size * 1e6, "ms", megapixel, EVEN)
        yield measured(f"{what} {width} x {height} of noise", worst[what], "ms")


def taken(labels: Labels, rounds: int) -> dict[str, float]:
    side = nothing_kept(labels)
    data, (height, width) = pack_side(side), labels.shape
    calls: dict[str, Callable[[], object]] = {
        "coding": lambda: pack_side(side),
        "decoding": lambda: unpack_side(data, height, width, STRIDE, 255),
    }
    return medians(calls, rounds, torch.device("cpu"))


def nothing_kept(labels: Labels) -> Side:
    """Its edges are the borders of the labels."""
    return Side(labels, borders(labels), latent_mask(np.zeros(labels.shape, np.bool_), STRIDE))


def mean(numbers: Iterable[int]) -> float:
    return float(np.mean([*numbers]))


def optimised(values: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
