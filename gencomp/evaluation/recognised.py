"""What a segmentation network still sees in the pictures of models, and of codecs at the bytes of each model."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gencomp.evaluation.cache import Cache
from gencomp.evaluation.cells import Cell, Table, fixed, number
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.equal_bytes import match_all
from gencomp.evaluation.held_out import HeldOutError, HeldOutSample
from gencomp.evaluation.rates import Match, RateRow
from gencomp.evaluation.segmentation import (
    Confusion,
    Counts,
    Ids,
    Network,
    Pixels,
    Scores,
    SegmentationError,
    Sight,
    interval,
)

ORIGINALS = "Originals"


class Recognised(NamedTuple):
    """What the network saw in the files of one codec."""

    name: str
    """Of the codec or the model, or `Originals`."""
    beside: str
    """The entry at whose bytes a codec stands; empty for models and originals."""
    bpp: float | None
    """Bits per pixel, mean over the pictures; None for the originals."""
    scores: Scores
    miou_ends: tuple[float, float]
    accuracy_ends: tuple[float, float]
    """95 % intervals of mIoU and of pixel accuracy, over pictures."""
    too_large: int
    """Pictures for which the codec cannot go this low."""
    images: int


class Contestant:
    """All that was measured of one codec at one rate."""

    def __init__(self, classes: int) -> None:
        self.confusion = Confusion(classes)
        self.rates: list[float] = []
        """Bits per pixel, by picture."""
        self.too_large = 0
        """Pictures for which it cannot go that low."""


def true_labels(folder: Path, key: str) -> Ids:
    """The label map of a picture, `<key>.png` in a folder, (H, W). Raises HeldOutError."""
    path = folder / f"{key}.png"
    try:
        with Image.open(path) as drawn:
            labels = np.asarray(drawn)
    except OSError as error:
        raise HeldOutError(f"{path}: no readable label map ({error})") from None
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise HeldOutError(f"{path}: a label map has one channel of class ids")
    return labels


def recognise(
    network: Network,
    samples: Iterable[HeldOutSample],
    entries: Sequence[Entry],
    anchors: Sequence[RateRow],
    picture: Callable[[RateRow], Pixels],
    cache: Cache | None = None,
) -> list[Recognised]:
    """The originals, then each entry and the codecs at its bytes; `picture` decodes a row's file.

    Samples without label maps are passed over. Each file is looked at once, and not again where a cache holds what was
    counted. Raises HeldOutError.
    """
    matches = {entry.name: match_all(entry.rows, anchors) for entry in entries}
    seen: dict[tuple[str, str], Contestant] = {}

    def count(name: str, beside: str, counts: Counts, match: Match | None) -> None:
        one = seen.setdefault((name, beside), Contestant(len(network.classes)))
        one.confusion.pictures.append(counts)
        if match is not None:
            one.rates.append(match.row.bpp)
            one.too_large += match.too_large

    for image, labels, _ in samples:
        if labels is None:
            continue
        sight = Sight(network, labels, cache)
        in_file = functools.cache(lambda row, sight=sight: sight(picture(row)))
        try:
            count(ORIGINALS, "", sight(image.pixels), None)
            for entry in entries:
                own = entry.rows[image.key]
                count(entry.name, "", in_file(own), Match(own, too_large=False))
                for codec, match in matches[entry.name][image.key].items():
                    count(CODECS[codec].title, entry.name, in_file(match.row), match)
        except SegmentationError as error:
            raise HeldOutError(f"{image.key}: {error}") from None
    if not any(counts.any() for one in seen.values() for counts in one.confusion.pictures):
        raise HeldOutError("no pixel of these pictures is labelled with one of the network's classes")
    return _in_order([_line(*key, one) for key, one in seen.items()], [entry.name for entry in entries])


def recognised_table(found: Sequence[Recognised], network: Network) -> Table:
    """The same as a table."""
    rows = [
        (
            Cell(f"{line.name} beside {line.beside}" if line.beside else line.name, f"{line.beside} {line.name}"),
            number(line.bpp, 4),
            number(line.scores.miou, 3, _ends(line, line.miou_ends)),
            number(line.scores.pixel_accuracy, 3, _ends(line, line.accuracy_ends)),
            Cell(f"{line.too_large} of {line.images}" if line.too_large else "0", line.too_large),
        )
        for line in found
    ]
    note = (
        f"What {network.name} ({network.sha256[:8]}) recognises in the pictures, against their true labels: mIoU over "
        "the classes that occur, of all pictures together, and the share of the labelled pixels that are drawn right. "
        "Codecs stand at the bytes of the model beside which they are named, picture by picture. Below, bootstrap "
        "intervals of 95 % over the pictures."
    )
    columns = ("Codec", "Bits per pixel", "mIoU", "Pixel accuracy", "Cannot go this low")
    return Table("What a segmentation network still sees", note, columns, rows)


def _ends(line: Recognised, ends: tuple[float, float]) -> str:
    return " to ".join(fixed(end, 3) for end in ends) if line.images > 1 else ""


def _line(name: str, beside: str, one: Contestant) -> Recognised:
    confusion = one.confusion
    return Recognised(
        name=name,
        beside=beside,
        bpp=sum(one.rates) / len(one.rates) if one.rates else None,
        scores=confusion.scores(),
        miou_ends=interval(confusion.resampled_miou()),
        accuracy_ends=interval(confusion.resampled_pixel_accuracy()),
        too_large=one.too_large,
        images=len(confusion.pictures),
    )


def _in_order(lines: Sequence[Recognised], entries: Sequence[str]) -> list[Recognised]:
    """The originals, then each entry with what stands beside it."""
    groups: Mapping[str, list[Recognised]] = {name: [] for name in (ORIGINALS, *entries)}
    for line in lines:
        groups[line.beside or line.name].append(line)
    return [line for group in groups.values() for line in sorted(group, key=lambda line: bool(line.beside))]
