"""KID and FID of the files at hand: which settings are looked at, and what they are as sets."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

import torch

from gencomp.data.ordered import in_order
from gencomp.evaluation.classical import CODECS, setting_name
from gencomp.evaluation.distribution import Distance, Features, PatchFeatures, Pixels, SetRow
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.rates import RatePoint, RateRow, mean_points

REACH = 2.0
"""Settings of codecs above so many times the highest rate of a model say nothing beside it."""

Rates = dict[tuple[str, str], float]
"""Mean bits per pixel of (codec, setting)."""


def near(models: Sequence[RateRow], anchors: Sequence[RateRow]) -> Rates:
    """All settings of the models, then of codecs the lowest and those within reach of the models' rates."""
    own = _rates(mean_points(models))
    most = REACH * max(own.values())
    lowest = {(name, setting_name(codec.lowest)) for name, codec in CODECS.items()}
    points = _rates(mean_points(anchors))
    return own | {key: bpp for key, bpp in points.items() if bpp <= most or key in lowest}


def nearest(models: Sequence[RateRow], anchors: Sequence[RateRow]) -> Rates:
    """All settings of the models, then of each codec the one nearest to the middle of the models' rates."""
    own = _rates(mean_points(models))
    middle = sorted(own.values())[(len(own) - 1) // 2]

    def away(point: RatePoint) -> float:
        return abs(math.log(point.bpp / middle))

    by_codec = groupby(mean_points(anchors), lambda point: point.codec)
    return own | _rates(min(points, key=away) for _, points in by_codec)


def _rates(points: Iterable[RatePoint]) -> Rates:
    return {(point.codec, point.setting): point.bpp for point in points}


def measure_sets(
    images: Iterable[HeldOutImage],
    rows: Sequence[RateRow],
    wanted: Iterable[tuple[str, str]],
    features: PatchFeatures,
    picture: Callable[[RateRow], Pixels],
    threads: int = 1,
) -> list[SetRow]:
    """One (codec, setting) after another, so that the features of one alone are in use; `picture` decodes a row.
    Features are computed by threads."""

    def computed(pictures: Iterable[tuple[str, Pixels]]) -> Iterator[tuple[str, Features]]:
        return in_order(lambda one: (one[0], features(one[1])), pictures, threads, _compute_alone)

    originals = dict(computed((image.key, image.pixels) for image in images))
    found = []
    for codec, setting in wanted:
        distance = Distance()
        chosen = (row for row in rows if (row.codec, row.setting) == (codec, setting))
        for key, decoded in computed((row.key, picture(row)) for row in chosen):
            distance.add(originals[key], decoded)
        found.append(SetRow(codec, setting, distance.figures()))
    return found


def _compute_alone() -> None:
    """In each thread, since oneDNN does not hear of the number of threads that another one has set."""
    torch.set_num_threads(1)
