"""Classical codecs on the held-out pictures, each over a ladder of rates, with the metrics of the models."""

import io
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.classical import CODECS, ClassicalCodec, file_name, setting_name
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.metrics import Measurer, Original
from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.rates import MetricName, RateRow, write_rows

Quality = Annotated[int, msgspec.Meta(ge=0, le=100)]


class AnchorsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ladder of each classical codec; its lowest rate is always added, and an empty ladder leaves it out."""

    jpeg: tuple[Annotated[int, msgspec.Meta(ge=1, le=100)], ...]
    """Qualities of libjpeg, 1 to 100."""
    webp: tuple[Quality, ...]
    """Qualities, 0 to 100."""
    jpeg2000: tuple[Annotated[float, msgspec.Meta(gt=0, le=24)], ...]
    """Bits per pixel asked of the encoder."""
    avif: tuple[Quality, ...]
    """Qualities, 0 to 100."""
    bpg: tuple[Annotated[int, msgspec.Meta(ge=0, le=51)], ...]
    """Quantisers, 0 (best) to 51 (smallest); used when bpgenc and bpgdec are on PATH."""

    def ladder(self, codec: ClassicalCodec) -> tuple[float, ...]:
        """The settings at which a codec is measured, in ascending order."""
        settings: tuple[float, ...] = getattr(self, codec.name)
        return tuple(sorted({codec.lowest, *settings})) if settings else ()


class Anchors(NamedTuple):
    """What was measured."""

    rows: list[RateRow]
    left_out: dict[str, str]
    """Title of each codec that was asked for and cannot be used here, and why."""


class _Encoded(NamedTuple):
    row: RateRow
    files: dict[str, bytes]


def measure_anchors(
    images: Iterable[HeldOutImage],
    config: AnchorsConfig,
    folder: Path,
    threads: int,
    metrics: Sequence[MetricName] = ("psnr", "ms_ssim"),
) -> Anchors:
    """Encode and decode every picture at every setting; write `images.csv` and `files.tar` into `folder`.

    A codec whose decoder is not Pillow has its decoded picture beside each file, as PNG. The bytes written do not
    depend on `threads`. Raises MissingWeightsError or MissingPackageError.
    """
    measurer = Measurer(metrics)
    asked = [codec for codec in CODECS.values() if config.ladder(codec)]
    left_out = {codec.title: reason for codec in asked if (reason := codec.missing())}
    ladders = [(codec, setting) for codec in asked if codec.title not in left_out for setting in config.ladder(codec)]
    rows: list[RateRow] = []
    with (
        whole_folder(folder) as output,
        tarfile.open(output / "files.tar", "w", format=tarfile.USTAR_FORMAT) as archive,
        ThreadPoolExecutor(threads) as pool,
    ):
        for image in images:
            original = measurer.beside(image.pixels)
            for encoded in pool.map(lambda step, image=image, x=original: _encode(image, x, *step), ladders):
                rows.append(encoded.row)
                _add_files(archive, encoded.files)
        write_rows(output / "images.csv", rows)
    return Anchors(rows, left_out)


def _encode(image: HeldOutImage, original: Original, codec: ClassicalCodec, setting: float) -> _Encoded:
    data, decoded = codec.round_trip(image.pixels, setting)
    height, width, _ = image.pixels.shape
    row = RateRow(
        key=image.key,
        codec=codec.name,
        setting=setting_name(setting),
        width=width,
        height=height,
        size=len(data),
        header_bytes=None,
        side_bytes=None,
        **original(decoded)._asdict(),
    )
    name = file_name(image.key, codec.name, row.setting)
    return _Encoded(row, {name: data} if codec.by_pillow else {name: data, f"{name}.png": _png(decoded)})


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _add_files(archive: tarfile.TarFile, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), 0, 0o644
        archive.addfile(member, io.BytesIO(data))
