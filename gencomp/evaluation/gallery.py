"""The pictures of the page: originals, models and anchors at equal bytes, embedded in it."""

import base64
import io
import itertools
import math
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data.ordered import in_order
from gencomp.evaluation.classical import CODECS, ClassicalCodecError, archived_picture
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.equal_bytes import match_all
from gencomp.evaluation.held_out import HeldOutSample
from gencomp.evaluation.metrics import Metric
from gencomp.evaluation.rates import Match, RateRow

WEBP_SIDE = 16_383
"""Pixels that a side of a WebP picture has at most."""
MOST_PIXELS = 12_000_000
"""Larger pictures are embedded reduced, as are those with a side that WebP does not take."""
LOSSLESS_BYTES = 3
"""Pictures are embedded without loss where the budget has so many bytes for each pixel of all of them."""
LOSSY_QUALITY = 95
"""WebP quality of the pictures of a larger gallery."""
LEAST_BYTES = 0.1
"""Bytes of an embedded picture per pixel that are seldom undercut; more pictures than would fit by it are not made."""
EXTREMES = 20
"""The ten worst and the ten best scenes of a set: codecs give way until these fit."""
FIRST_SHOWN = ("bpg", "avif", "jpeg", "webp", "vvc", "jpeg2000", "heic", "jxl")
"""Codecs in the order in which they keep their place where there is no room for all; others come behind them."""

T = TypeVar("T")
Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""


class Picture(NamedTuple):
    """One picture as the page shows it."""

    name: str
    """`original`, the entry, or the codec and its setting; unique in its scene."""
    title: str
    source: str = ""
    """Data URI."""
    row: RateRow | None = None
    """What it cost and how good it is; None where it is no decoded file."""
    matches: Mapping[str, bool] = {}
    """Entries at whose bytes it stands; whether it is larger than theirs, because its codec cannot go this low."""
    when: Sequence[str] | None = None
    """Entries beside which it is shown; None: beside all."""
    is_model: bool = False
    caption: str = ""
    """What is said of it where there is no row."""

    @property
    def codec(self) -> str:
        """That made its file; empty where there is none."""
        return self.row.codec if self.row else ""


class Scene(NamedTuple):
    """One picture and what became of it."""

    key: str
    width: int
    height: int
    pictures: list[Picture]
    scale: float = 1.0
    """By which the sides of the pictures are reduced on the page."""

    @property
    def embedded(self) -> int:
        """Bytes of the data URIs."""
        return sum(len(picture.source) for picture in self.pictures)

    @property
    def anchors(self) -> list[Picture]:
        """Those of codecs' files."""
        return [picture for picture in self.pictures if picture.row is not None and not picture.is_model]

    def beside(self, codecs: Collection[str]) -> "Scene":
        """The same without the files of other codecs than these."""
        gone = {picture.name for picture in self.anchors if picture.codec not in codecs}
        return self._replace(pictures=[picture for picture in self.pictures if picture.name not in gone])


class Source(NamedTuple):
    """Where the pictures of a set come from."""

    samples: Iterable[HeldOutSample]
    """The originals; they are gone through once."""
    decoded: Callable[[str, str], Pixels]
    """(entry, key) -> reconstruction."""
    anchor: Callable[[RateRow], Pixels | None]
    """What a codec made of it; None when nothing here can decode its file."""
    given: Callable[[HeldOutSample], Pixels | None] = lambda sample: None
    """What selective models were given beside the picture, as a picture."""
    selective: Sequence[str] = ()
    """Entries of selective models."""
    encode: "Callable[[Pixels, bool], bytes]" = lambda pixels, lossless: webp(pixels, lossless)
    """A picture as a WebP file, without loss or not; several threads may call it."""
    threads: int = 1
    """That encode."""


class Candidates(NamedTuple):
    """Scenes of one set, of which those are shown that find room."""

    order: list[str]
    """Keys, the worst and the best first."""
    scenes: Mapping[str, Scene]
    """In the order of the pictures."""


def candidates(
    entries: Sequence[Entry], anchors: Sequence[RateRow], source: Source, metric: Metric, budget: int
) -> Candidates:
    """As many scenes as can fit into `budget` bytes of embedded pictures, at least one: the worst and the best by
    `metric` of the first entry, where not all can."""
    matches = {entry.name: match_all(entry.rows, anchors) for entry in entries}
    rows = entries[0].rows
    order = extremes_first(rows, metric)
    beside = {key: matched({name: by_key[key] for name, by_key in matches.items()}) for key in order}

    def least(key: str, codecs: Collection[str]) -> float:
        """Bytes that a scene seldom undercuts."""
        files = sum(row.codec in codecs for row, _ in beside[key])
        return _shown_pixels(rows[key]) * (1 + len(entries) + files) * LEAST_BYTES

    codecs = _with_room(_by_rank({row.codec for row in anchors}), order[:EXTREMES], least, budget)
    likely = set(_fitting(order, lambda key: least(key, codecs), budget, 1))
    views = 1 + len(entries) + len(codecs)
    lossless = sum(map(_shown_pixels, rows.values())) * views * LOSSLESS_BYTES <= budget
    made: dict[str, Scene] = {}
    for sample in source.samples:
        key = sample.image.key
        if key in likely:
            files = [file for file in beside[key] if file[0].codec in codecs]
            made[key] = make_scene(sample, entries, files, source, lossless)
    return Candidates([key for key in order if key in made], made)


def gather(sets: Sequence[Candidates], budget: int) -> list[list[Scene]]:
    """Of each set the scenes that fit into `budget` bytes together, at least one, in the order of the pictures.

    Where EXTREMES of each set would not fit, codecs are left out of all scenes, the last of FIRST_SHOWN first, but
    never the first one; where they still do not, or where there is room for more, sets take turns.
    """
    found = {picture.codec for one in sets for scene in one.scenes.values() for picture in scene.anchors}
    ranked = sorted((place, number) for number, one in enumerate(sets) for place in range(len(one.order)))

    def scene(at: tuple[int, int]) -> Scene:
        place, number = at
        return sets[number].scenes[sets[number].order[place]]

    first = [at for at in ranked if at[0] < EXTREMES]
    codecs = _with_room(_by_rank(found), first, lambda at, some: scene(at).beside(some).embedded, budget)
    kept = _fitting(ranked, lambda at: scene(at).beside(codecs).embedded, budget, len(sets))
    shown = [{sets[number].order[place] for place, number in kept if number == this} for this in range(len(sets))]
    return [
        [scene.beside(codecs) for key, scene in one.scenes.items() if key in keys]
        for one, keys in zip(sets, shown, strict=True)
    ]


def extremes_first(rows: Mapping[str, RateRow], metric: Metric) -> list[str]:
    """All keys: the worst, the best, the second worst, the second best and so on; those without a figure last."""
    figures = {key: figure for key, row in rows.items() if (figure := row.figure(metric.name)) is not None}
    worst = sorted(figures, key=lambda key: (figures[key], key), reverse=metric.better == "lower")
    half = len(worst) // 2
    pairs = itertools.zip_longest(worst[: len(worst) - half], reversed(worst[len(worst) - half :]))
    return [
        *(key for key in itertools.chain.from_iterable(pairs) if key is not None),
        *(key for key in rows if key not in figures),
    ]


def matched(matches: Mapping[str, Mapping[str, Match]]) -> list[tuple[RateRow, dict[str, bool]]]:
    """The anchors' files that stand beside the entries' files of one picture, each file once.

    `matches` is entry -> codec -> match, of this picture. Sorted by codec, then size.
    """
    rows: dict[RateRow, dict[str, bool]] = {}
    for entry, by_codec in matches.items():
        for match in by_codec.values():
            rows.setdefault(match.row, {})[entry] = match.too_large
    order = list(CODECS)
    return sorted(rows.items(), key=lambda item: (order.index(item[0].codec), item[0].size))


def make_scene(
    sample: HeldOutSample,
    entries: Sequence[Entry],
    anchors: Sequence[tuple[RateRow, dict[str, bool]]],
    source: Source,
    lossless: bool,
) -> Scene:
    """Embed one picture, what the entries made of it, and the anchors' files; reduced where it is too large."""
    image = sample.image
    height, width, _ = image.pixels.shape
    scale = shown_scale(width, height)

    def embedded(pixels: Pixels) -> str:
        data = source.encode(reduced(pixels, scale), lossless)
        return f"data:image/webp;base64,{base64.b64encode(data).decode()}"

    size = f"{width * height * 3:,} bytes as RGB"
    shown = [(Picture("original", "Original", caption=size), image.pixels)]
    for entry in entries:
        beside = [other.name for other in entries if other.group == entry.group]
        picture = Picture(entry.name, entry.name, row=entry.rows[image.key], when=beside, is_model=True)
        shown.append((picture, source.decoded(entry.name, image.key)))
    given = source.given(sample) if source.selective else None
    if given is not None:
        said = "the picture where it is preserved, the label map elsewhere"
        shown.append((Picture("given", "Given", when=list(source.selective), caption=said), given))
    for row, matches in anchors:
        pixels = source.anchor(row)
        if pixels is not None:
            title = CODECS[row.codec].title
            picture = Picture(f"{row.codec}-{row.setting}", title, row=row, matches=matches, when=list(matches))
            shown.append((picture, pixels))
    sources = in_order(embedded, [pixels for _, pixels in shown], source.threads)
    pictures = [picture._replace(source=uri) for (picture, _), uri in zip(shown, sources, strict=True)]
    return Scene(image.key, width, height, pictures, scale)


def shown_scale(width: int, height: int) -> float:
    """By which the sides of a picture are reduced on the page; 1 where it is not too large."""
    return min(1.0, WEBP_SIDE / max(width, height), math.sqrt(MOST_PIXELS / (width * height)))


def reduced(pixels: Pixels, scale: float) -> Pixels:
    """An (H, W, 3) picture with sides reduced by a scale in (0, 1]; itself at 1."""
    if scale == 1:
        return pixels
    height, width, _ = pixels.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


def anchor_picture(archive: tarfile.TarFile, row: RateRow) -> Pixels | None:
    """The (H, W, 3) picture of an anchor's file in `files.tar`; None when nothing here can decode it."""
    codec = CODECS[row.codec]
    if codec.by_pillow and codec.missing():
        return None
    try:
        return archived_picture(archive, row.key, row.codec, row.setting)
    except (OSError, ClassicalCodecError):
        if not codec.by_pillow:
            raise
        return None


def webp(pixels: Pixels, lossless: bool) -> bytes:
    """An (H, W, 3) picture as a WebP file."""
    buffer = io.BytesIO()
    if lossless:
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=60, method=2)
    else:
        Image.fromarray(pixels).save(buffer, "WEBP", quality=LOSSY_QUALITY, method=2)
    return buffer.getvalue()


def _shown_pixels(row: RateRow) -> float:
    """Pixels of a picture as the page has it."""
    return row.width * row.height * shown_scale(row.width, row.height) ** 2


def _by_rank(codecs: Collection[str]) -> list[str]:
    """In the order in which they keep their place."""
    return [*(name for name in FIRST_SHOWN if name in codecs), *(n for n in CODECS if n in {*codecs} - {*FIRST_SHOWN})]


def _with_room(
    codecs: list[str], scenes: Sequence[T], size: Callable[[T, Collection[str]], float], budget: int
) -> list[str]:
    """As many of the first codecs, at least one, as leave room for all these scenes; `size` is that of one of them."""
    while len(codecs) > 1 and sum(size(one, codecs) for one in scenes) > budget:
        codecs = codecs[:-1]
    return codecs


def _fitting(scenes: Sequence[T], size: Callable[[T], float], budget: int, fewest: int) -> list[T]:
    """As many of the first scenes, at least `fewest`, as fit together."""
    spent = list(itertools.accumulate(map(size, scenes)))
    return [one for number, one in enumerate(scenes) if number < fewest or spent[number] <= budget]
