"""The pictures of the report: originals, models and anchors at equal bytes, embedded in the page."""

import base64
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.classical import CODECS, ClassicalCodecError, file_name
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.rates import Match, RateRow

LOSSLESS_PIXELS = 12_000_000
"""Up to so many pixels in all, pictures are embedded without loss."""
LOSSY_QUALITY = 95
"""WebP quality of the pictures of a larger gallery."""


class Picture(NamedTuple):
    """One picture as the page shows it."""

    name: str
    """`original`, the variant, or the codec and its setting; unique in its scene."""
    title: str
    source: str
    """Data URI."""
    row: RateRow | None
    """What it cost and how good it is; None for the original."""
    matches: dict[str, bool]
    """Variants at whose bytes it stands; whether it is larger than theirs, because its codec cannot go this low."""
    is_model: bool


class Scene(NamedTuple):
    """One held-out picture and what became of it."""

    key: str
    width: int
    height: int
    pictures: list[Picture]
    embedded: int
    """Bytes of the data URIs."""


def matched(matches: Mapping[str, Mapping[str, Match]]) -> list[tuple[RateRow, dict[str, bool]]]:
    """The anchors' files that stand beside the variants' files of one picture, each file once.

    `matches` is variant -> codec -> match, of this picture. Sorted by codec, then size.
    """
    rows: dict[RateRow, dict[str, bool]] = {}
    for variant, by_codec in matches.items():
        for match in by_codec.values():
            rows.setdefault(match.row, {})[variant] = match.too_large
    order = list(CODECS)
    return sorted(rows.items(), key=lambda item: (order.index(item[0].codec), item[0].size))


def make_scene(
    image: HeldOutImage,
    decoded: Mapping[str, tuple[RateRow, Path]],
    anchors: Sequence[tuple[RateRow, dict[str, bool]]],
    archive: tarfile.TarFile,
    lossless: bool,
) -> Scene:
    """Embed one held-out picture, its reconstructions by variant (row, PNG file) and the anchors' files."""
    height, width, _ = image.pixels.shape
    pictures = [Picture("original", "Original", data_uri(image.pixels, lossless), None, {}, False)]
    for variant, (row, path) in decoded.items():
        with Image.open(path) as opened:
            source = data_uri(np.asarray(opened.convert("RGB")), lossless)
        pictures.append(Picture(variant, variant, source, row, {}, True))
    for row, matches in anchors:
        pixels = anchor_picture(archive, row)
        if pixels is not None:
            name = f"{row.codec}-{row.setting}"
            source = data_uri(pixels, lossless)
            pictures.append(Picture(name, CODECS[row.codec].title, source, row, matches, False))
    return Scene(image.key, width, height, pictures, sum(len(picture.source) for picture in pictures))


def anchor_picture(archive: tarfile.TarFile, row: RateRow) -> NDArray[np.uint8] | None:
    """The (H, W, 3) picture of an anchor's file in `files.tar`; None when nothing here can decode it."""
    name, codec = file_name(row.key, row.codec, row.setting), CODECS[row.codec]
    if not codec.by_pillow:
        data = _member(archive, f"{name}.png")
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    if codec.missing():
        return None
    try:
        return np.asarray(codec.decode(_member(archive, name)))
    except (OSError, ClassicalCodecError):
        return None


def data_uri(pixels: NDArray[np.uint8], lossless: bool) -> str:
    """An (H, W, 3) picture as a WebP data URI."""
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=60, method=2)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=LOSSY_QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()
