"""KID and FID of the files at hand: which settings are looked at, and what they are as sets."""

from collections.abc import Callable, Iterable, Sequence

from gencomp.evaluation.classical import CODECS, setting_name
from gencomp.evaluation.distribution import Distance, PatchFeatures, Pixels, SetRow
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.rates import RateRow, mean_points

REACH = 2.0
"""Settings of codecs above so many times the highest rate of a model say nothing beside it."""

Rates = dict[tuple[str, str], float]
"""Mean bits per pixel of (codec, setting)."""


def near(models: Sequence[RateRow], anchors: Sequence[RateRow]) -> Rates:
    """All settings of the models, then of codecs the lowest and those within reach of the models' rates."""
    own = {(point.codec, point.setting): point.bpp for point in mean_points(models)}
    most = REACH * max(own.values())
    lowest = {(name, setting_name(codec.lowest)) for name, codec in CODECS.items()}
    points = [((point.codec, point.setting), point.bpp) for point in mean_points(anchors)]
    return own | {key: bpp for key, bpp in points if bpp <= most or key in lowest}


def measure_sets(
    images: Iterable[HeldOutImage],
    rows: Sequence[RateRow],
    wanted: Iterable[tuple[str, str]],
    features: PatchFeatures,
    picture: Callable[[RateRow], Pixels],
) -> list[SetRow]:
    """One (codec, setting) after another, so that the features of one alone are in use; `picture` decodes a row."""
    originals = {image.key: features(image.pixels) for image in images}
    found = []
    for codec, setting in wanted:
        distance = Distance()
        for row in rows:
            if (row.codec, row.setting) == (codec, setting):
                distance.add(originals[row.key], features(picture(row)))
        found.append(SetRow(codec, setting, distance.figures()))
    return found
