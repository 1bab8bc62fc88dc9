"""How good a model's pictures are beside BPG's at limits of the rate, on a folder of pictures.

Rates are those of whole files. Each limit takes the largest file that keeps it, and where none does the smallest. The
bars are those of a light model trained on a CPU, for the 24 Kodak images.
"""

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.clock import hardware
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured
from gencomp import Codec
from gencomp.codec.rate import RateError, bits_per_pixel
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.held_out import HeldOutError, folder_images
from gencomp.evaluation.metrics import Figures, Measurer
from gencomp.evaluation.rates import MetricName

LIMITS = (0.0181, 0.0363, 0.0726)
"""Bits per pixel."""
BARS = {
    (0.0181, "LPIPS"): Bar("<=", 0.46),
    (0.0363, "LPIPS"): Bar("<=", 0.39),
    (0.0363, "PSNR"): Bar(">=", 21.0),
    (0.0726, "LPIPS"): Bar("<=", 0.36),
    (0.0726, "PSNR"): Bar(">=", 21.5),
}
BESIDE_BPG = {"LPIPS-VGG16": Bar("<=", 1.0), "DISTS": Bar("<=", 1.0)}
"""Of the model's figure over BPG's, even where BPG's files are larger than the limit."""
NAMES: dict[str, MetricName] = {
    "PSNR": "psnr",
    "MS-SSIM": "ms_ssim",
    "SSIMULACRA2": "ssimulacra2",
    "LPIPS": "lpips_alex",
    "LPIPS-VGG16": "lpips_vgg",
    "DISTS": "dists",
}
UNITS = {"rate": "bpp", "PSNR": "dB"} | dict.fromkeys(list(NAMES)[1:], "")
BPG_QUANTISERS = range(51, -1, -1)

Pixels = NDArray[np.uint8]


class File(NamedTuple):
    """A picture after coding."""

    size: int
    """Bytes."""
    pixels: Pixels


class Distances:
    """All figures of files beside their original, by the names of UNITS."""

    def __init__(self) -> None:
        self.measurer = Measurer(NAMES.values())

    def __call__(self, x: Pixels, files: Sequence[File]) -> list[dict[str, float]]:
        """One dictionary per file. The original goes through each network once, and so does each decoded picture."""
        original = self.measurer.beside(x)
        pictures = {file.pixels.tobytes(): file.pixels for file in files}
        found = {key: original(picture) for key, picture in pictures.items()}
        return [
            {"rate": bits_per_pixel(file.size, x.shape[0] * x.shape[1]), **_named(found[file.pixels.tobytes()])}
            for file in files
        ]


def _named(figures: Figures) -> dict[str, float]:
    values = {name: getattr(figures, metric) for name, metric in NAMES.items()}
    return {name: math.nan if value is None else value for name, value in values.items()}


def main() -> int:
    parser = arguments("Compares a model with BPG at equal rates.")
    parser.add_argument("images", type=Path, help="a folder of PNG or JPEG pictures")
    parser.add_argument("--model", metavar="REF", default="light", help="a nested model (default: light)")
    parser.add_argument("--effort", metavar="N", type=int, default=0, help="search the symbols in N steps (0)")
    parser.add_argument("--limits", default=",".join(map(str, LIMITS)), help="bits per pixel, joined by commas")
    parser.add_argument("--pictures", metavar="FOLDER", type=Path, help="keep the decoded pictures there")
    args = parser.parse_args()
    limits = tuple(float(limit) for limit in args.limits.split(","))
    try:
        images = list(folder_images(args.images))[:: 8 if args.quick else 1]
    except HeldOutError as error:
        parser.error(str(error))
    codec, distances = Codec.from_reference(args.model), Distances()
    if not codec.package.config.nested:
        parser.error(f"{args.model} is not nested: it has one rate")
    say(f"{len(images)} pictures, {args.model}, effort {args.effort}, {hardware(torch.device('cpu'))}")
    figures: dict[tuple[str, float], list[dict[str, float]]] = {}
    for key, x in images:
        files = [*model_files(codec, x, limits, args.effort), *bpg_files(x, limits)]
        measured_files = distances(x, [file for _, _, file in files])
        for (name, limit, file), found in zip(files, measured_files, strict=True):
            figures.setdefault((name, limit), []).append(found)
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                Image.fromarray(file.pixels).save(args.pictures / f"{key}-{name}-{limit:g}.png")
        say(key)
    return finish(list(rows(figures, limits)), args.json)


def model_files(
    codec: Codec, x: Pixels, limits: Sequence[float] = LIMITS, effort: int = 0
) -> Iterator[tuple[str, float, File]]:
    """Whose it is, the limit, and the file, in the order of the limits."""
    for limit in limits:
        try:
            stream = codec.compress(Image.fromarray(x), max_bpp=limit, effort=effort)
        except RateError:
            stream = codec.compress(Image.fromarray(x), channels=1, effort=effort)
        yield "model", limit, File(len(stream), np.asarray(codec.decompress(stream)))


def bpg_files(x: Pixels, limits: Sequence[float]) -> Iterator[tuple[str, float, File]]:
    """The same of BPG; nothing where its programs are missing."""
    bpg = CODECS["bpg"]
    if bpg.missing() is not None:
        return
    files: list[bytes] = []
    for quantiser in BPG_QUANTISERS:
        files.append(bpg.encode(Image.fromarray(x), quantiser))
        if bits_per_pixel(len(files[-1]), x.shape[0] * x.shape[1]) > max(limits):
            break
    for limit in limits:
        within = [file for file in files if bits_per_pixel(len(file), x.shape[0] * x.shape[1]) <= limit]
        chosen = within[-1] if within else files[0]
        yield "BPG", limit, File(len(chosen), np.asarray(bpg.decode(chosen)))


def rows(figures: dict[tuple[str, float], list[dict[str, float]]], limits: Sequence[float] = LIMITS) -> Iterator[Row]:
    """The mean figures of all pictures, by whose they are and the limit."""
    for limit in limits:
        for name, unit in UNITS.items():
            reference = _mean(f"BPG {name} within {limit:g} bpp", figures.get(("BPG", limit)), name, unit)
            row = _mean(f"model {name} within {limit:g} bpp", figures[("model", limit)], name, unit)
            assert row.value is not None
            if (bar := BARS.get((limit, name))) is not None:
                yield measured(row.name, row.value, unit, bar)
            else:
                yield compared(row.name, row.value, unit, reference, BESIDE_BPG.get(name))
            yield reference


def _mean(title: str, found: list[dict[str, float]] | None, name: str, unit: str) -> Row:
    if found is None:
        return unmeasured(title, unit, CODECS["bpg"].missing() or "no files")
    return measured(title, statistics.fmean(figure[name] for figure in found), unit)


if __name__ == "__main__":
    sys.exit(main())
