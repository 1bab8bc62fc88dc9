"""Draws README's first picture: parts of photographs as the shipped model and BPG give them back, from equal bytes.

`python -m benchmarks.front kodim15.png:200,60 kodim07.png:200,100 kodim23.png:96,40 --output docs/front.jpg`: pictures
with the left and the top edge of the part that is shown, pixel for pixel. BPG's file is the largest that is not above
the model's.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gencomp.codec.codec import Codec
from gencomp.codec.rate import bits_per_pixel
from gencomp.evaluation.cache import NoCache, picture_digest
from gencomp.evaluation.cached import CachedAnchors
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.ladders import FINE_LADDERS

SIDE, GAP, WORDS = 384, 12, 52
"""Pixels: of a part, between two, and of the words below one."""
EFFORT = 12
PAPER, INK, FAINT = "#ffffff", "#1d1d1f", "#6b6b70"


class Asked(NamedTuple):
    """A picture, and the corner of its part."""

    path: Path
    left: int
    top: int


class Shown(NamedTuple):
    """A picture, and what is said of it."""

    title: str
    words: str
    picture: Image.Image


def asked(words: str) -> Asked:
    """`FILE:LEFT,TOP`. Raises ValueError."""
    path, _, corner = words.rpartition(":")
    left, top = map(int, corner.split(","))
    return Asked(Path(path), left, top)


def row(codec: Codec, path: Path) -> list[Shown]:
    """The original, the model's picture with a search and without, and BPG's."""
    with Image.open(path) as opened:
        original = opened.convert("RGB")
    searched, quick = codec.compress(original, effort=EFFORT), codec.compress(original)
    pixels, bpg = np.asarray(original), CODECS["bpg"]
    anchors = CachedAnchors([bpg], NoCache())
    most, settings = max(len(searched), len(quick)), FINE_LADDERS.ladder(bpg)
    file = anchors.fitted(pixels, picture_digest(pixels), bpg, settings, most).file

    def words(data: bytes) -> str:
        return f"{len(data):,} bytes, {bits_per_pixel(len(data), original.width * original.height):.4f} bpp"

    return [
        Shown("Original", f"{path.stem}, {original.width} x {original.height}", original),
        Shown(f"gencomp, --effort {EFFORT}", words(searched), codec.decompress(searched)),
        Shown("gencomp", words(quick), codec.decompress(quick)),
        Shown("BPG", words(file.data), Image.fromarray(file.pixels())),
    ]


def drawn(rows: Sequence[tuple[Asked, Sequence[Shown]]]) -> Image.Image:
    """All rows, one below the other."""
    columns = max(len(shown) for _, shown in rows)
    size = columns * (SIDE + GAP) - GAP, len(rows) * (SIDE + WORDS)
    sheet = Image.new("RGB", size, PAPER)
    pen, title, words = ImageDraw.Draw(sheet), ImageFont.load_default(20), ImageFont.load_default(16)
    for line, (part, pictures) in enumerate(rows):
        for column, shown in enumerate(pictures):
            left, top = column * (SIDE + GAP), line * (SIDE + WORDS)
            sheet.paste(shown.picture.crop((part.left, part.top, part.left + SIDE, part.top + SIDE)), (left, top))
            pen.text((left, top + SIDE + 4), shown.title, INK, title)
            pen.text((left, top + SIDE + 27), shown.words, FAINT, words)
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures that the arguments name."""
    parser = argparse.ArgumentParser(description="Draws README's first picture.")
    parser.add_argument("pictures", nargs="+", type=asked, metavar="FILE:LEFT,TOP")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a JPEG or PNG to write")
    chosen = parser.parse_args(arguments)
    codec = Codec.from_reference()
    rows = [(part, row(codec, part.path)) for part in chosen.pictures]
    drawn(rows).save(chosen.output, quality=90, subsampling=0)


if __name__ == "__main__":
    main()
