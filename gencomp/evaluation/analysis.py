"""What curves of rate and quality say: BD-rates, and the bytes that another codec needs for the same quality.

Curves are those of means over pictures, one point per setting; intervals come from resampling the pictures.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gencomp.evaluation.bootstrap import COVERAGE, Interval, interval
from gencomp.evaluation.metrics import METRICS
from gencomp.evaluation.rates import MetricName, RateRow

RESAMPLES = 1000
LEAST_POINTS = 4
"""Points of a curve below which it has no BD-rate."""
LEAST_OVERLAP = 0.5
"""Share of the shorter curve's range of quality that the other must cover for a BD-rate."""
LEAST_DRAWS = 0.95
"""Share of a bootstrap's draws that must have a BD-rate for an interval."""
EXACT = 0.01
"""Share by which an end of an interval may move, however far the draws beyond a ladder really lie, and be exact."""
Bound = Literal["exact", "at least", "at most"]


class CurvePoint(NamedTuple):
    """A codec at one setting, on the mean over pictures."""

    setting: str
    bpp: float
    value: Interval
    """Of the metric."""
    images: int


class Needed(NamedTuple):
    """What a codec needs to look as good as a model does, by one metric."""

    model: str
    """Codec whose quality is matched."""
    setting: str
    """Its setting."""
    codec: str
    metric: MetricName
    value: float
    """The model's mean, which the codec's curve is read at."""
    model_bpp: float
    bpp: float
    """Bits per pixel at which the codec's curve has that mean."""
    ratio: float
    """`bpp` over the model's: 1.95 is 95 % more bytes."""
    low: float
    high: float
    """95 % interval of the ratio, over pictures."""
    bound: Bound
    """`at least`: the codec's best point is still worse, `at most`: its lowest rate is already better, so that the
    ratio is only a bound, read at that point."""
    images: int
    low_bound: Bound = "exact"
    high_bound: Bound = "exact"
    """The same of the ends: draws of the pictures lie beyond the ladder, and could move that end that way."""

    @property
    def more(self) -> float:
        """Bytes that the codec needs on top of the model's, as a share of these; negative where it needs fewer."""
        return self.ratio - 1


class BdRate(NamedTuple):
    """The mean difference of two codecs' rates at equal quality (Bjontegaard), or why there is none."""

    codec: str
    anchor: str
    """What `codec` is compared with."""
    metric: MetricName
    percent: float | None
    """Bytes of `codec` on top of the anchor's, %; negative where it needs fewer."""
    low: float | None
    high: float | None
    """95 % interval, over pictures; None with one picture, or where LEAST_DRAWS of the draws have no BD-rate."""
    reason: str
    """Why there is none; empty where there is one."""


class _Ladder(NamedTuple):
    """A codec's files on the pictures that all of its settings have."""

    keys: tuple[str, ...]
    settings: tuple[str, ...]
    bpp: NDArray[np.float64]
    """(settings, pictures)"""
    values: NDArray[np.float64]
    """(settings, pictures)"""

    def of(self, keys: Sequence[str]) -> "_Ladder":
        """Of some of its pictures, in that order."""
        columns = [self.keys.index(key) for key in keys]
        return _Ladder(tuple(keys), self.settings, self.bpp[:, columns], self.values[:, columns])


def curve(rows: Sequence[RateRow], codec: str, metric: MetricName) -> list[CurvePoint]:
    """A codec's points by rate, over the pictures for which each of its settings was measured by the metric."""
    ladder = _ladder(rows, codec, metric)
    if not ladder.keys:
        return []
    points = [
        CurvePoint(setting, float(bpp.mean()), interval(values.tolist()), len(ladder.keys))
        for setting, bpp, values in zip(ladder.settings, ladder.bpp, ladder.values, strict=True)
    ]
    return sorted(points, key=lambda point: point.bpp)


def needed(
    models: Mapping[str, Sequence[RateRow]], anchors: Sequence[RateRow], metric: MetricName, seed: int = 0
) -> list[Needed]:
    """What each codec of `anchors` needs for the quality of each model, at each of the model's settings.

    Between two points of a curve the logarithm of the rate is interpolated. A codec that shares no picture with the
    model is left out.
    """
    found = []
    for model, rows in models.items():
        own = _ladder(rows, model, metric)
        for codec in dict.fromkeys(row.codec for row in anchors):
            other = _ladder(anchors, codec, metric)
            keys = [key for key in own.keys if key in set(other.keys)]
            if keys:
                found += _needed(model, own.of(keys), codec, other.of(keys), metric, seed)
    return found


def bd_rate(
    rows: Sequence[RateRow],
    codec: str,
    other: Sequence[RateRow],
    anchor: str,
    metric: MetricName,
    resamples: int = 200,
    seed: int = 0,
) -> BdRate:
    """The BD-rate of `codec` among `rows` against `anchor` among `other`, by the bjontegaard package (pchip).

    There is none for curves of fewer than four points that improve with rate, nor where they overlap too little.
    """
    tested, reference = _ladder(rows, codec, metric), _ladder(other, anchor, metric)
    keys = [key for key in tested.keys if key in set(reference.keys)]
    if not keys:
        return BdRate(codec, anchor, metric, None, None, None, "no picture was measured for both")
    tested, reference = tested.of(keys), reference.of(keys)
    sign = _sign(metric)
    percent, reason = _bd(_means(tested, None, sign), _means(reference, None, sign))
    if percent is None:
        return BdRate(codec, anchor, metric, None, None, None, reason)
    drawn = []
    for draw in _draws(len(keys), resamples, seed):
        again, _ = _bd(_means(tested, draw, sign), _means(reference, draw, sign))
        if again is not None:
            drawn.append(again)
    low, high = _ends(drawn) if len(keys) > 1 and len(drawn) >= LEAST_DRAWS * resamples else (None, None)
    return BdRate(codec, anchor, metric, percent, low, high, "")


def _ladder(rows: Sequence[RateRow], codec: str, metric: MetricName) -> _Ladder:
    by_setting: dict[str, dict[str, RateRow]] = {}
    for row in rows:
        if row.codec == codec and row.figure(metric) is not None:
            by_setting.setdefault(row.setting, {})[row.key] = row
    settings = tuple(by_setting)
    common = set.intersection(*map(set, by_setting.values())) if by_setting else set()
    keys = tuple(key for key in next(iter(by_setting.values()), {}) if key in common)
    chosen = [[by_setting[setting][key] for key in keys] for setting in settings]
    bpp = np.array([[row.bpp for row in line] for line in chosen]).reshape(len(settings), len(keys))
    values = np.array([[row.figure(metric) for row in line] for line in chosen], np.float64).reshape(bpp.shape)
    return _Ladder(keys, settings, bpp, values)


def _needed(model: str, own: _Ladder, codec: str, other: _Ladder, metric: MetricName, seed: int) -> list[Needed]:
    sign = _sign(metric)
    draws = _draws(len(own.keys), RESAMPLES, seed)
    found = []
    for number, setting in enumerate(own.settings):
        bpp, value = own.bpp[number], own.values[number]
        at, bound = _rate_at(_means(other, None, sign), sign * float(value.mean()))
        drawn = [_rate_at(_means(other, draw, sign), sign * float(value[draw].mean())) for draw in draws]
        ratios = [rate / float(bpp[draw].mean()) for (rate, _), draw in zip(drawn, draws, strict=True)]
        mean_bpp = float(bpp.mean())
        figures = float(value.mean()), mean_bpp, at, at / mean_bpp, *_ends(ratios)
        ends = _end_bounds(ratios, [reached for _, reached in drawn])
        found.append(Needed(model, setting, codec, metric, *figures, bound, len(own.keys), *ends))
    return found


class _Curve(NamedTuple):
    """Rates, and qualities that grow with them."""

    bpp: NDArray[np.float64]
    quality: NDArray[np.float64]


def _means(ladder: _Ladder, draw: NDArray[np.integer] | None, sign: float) -> _Curve:
    """The curve over the pictures drawn, less the points that are no better than one of a lower rate."""
    columns = slice(None) if draw is None else draw
    bpp, quality = ladder.bpp[:, columns].mean(1), sign * ladder.values[:, columns].mean(1)
    order = np.lexsort((quality, bpp))
    bpp, quality = bpp[order], quality[order]
    better = np.concatenate([[True], quality[1:] > np.maximum.accumulate(quality)[:-1]])
    return _Curve(bpp[better], quality[better])


def _rate_at(curve: _Curve, quality: float) -> tuple[float, Bound]:
    if quality > curve.quality[-1]:
        return float(curve.bpp[-1]), "at least"
    if quality < curve.quality[0]:
        return float(curve.bpp[0]), "at most"
    return math.exp(float(np.interp(quality, curve.quality, np.log(curve.bpp)))), "exact"


def _bd(tested: _Curve, reference: _Curve) -> tuple[float | None, str]:
    shortest = min(len(tested.bpp), len(reference.bpp))
    if shortest < LEAST_POINTS:
        return None, f"a curve has {shortest} points that improve with rate, {LEAST_POINTS} are needed"
    ranges = [(float(curve.quality[0]), float(curve.quality[-1])) for curve in (tested, reference)]
    common = min(high for _, high in ranges) - max(low for low, _ in ranges)
    share = common / min(high - low for low, high in ranges)
    if share < LEAST_OVERLAP:
        return None, f"the curves share {max(share, 0):.0%} of the shorter one's range of quality"
    from bjontegaard import bd_rate as bjontegaard

    bd: Callable[..., float] = bjontegaard
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of less overlap than it likes: that is judged above
        return float(bd(*reference, *tested, method="pchip", require_matching_points=False)), ""


def _sign(metric: MetricName) -> float:
    return 1.0 if METRICS[metric].better == "higher" else -1.0


def _draws(pictures: int, resamples: int, seed: int) -> NDArray[np.integer]:
    return np.random.default_rng(seed).integers(pictures, size=(resamples, pictures))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def _end_bounds(ratios: Sequence[float], bounds: Sequence[Bound]) -> tuple[Bound, Bound]:
    """What is known of the ends of an interval of draws, of which some are bounds alone: each end is read again with
    these as far out as could be."""
    known, kind = np.array(ratios), np.array(bounds)
    beyond = 1e9 * float(known.max())
    least = _ends(np.where(kind == "at most", 0.0, known).tolist())
    most = _ends(np.where(kind == "at least", beyond, known).tolist())

    def bound(end: float, lowest: float, highest: float) -> Bound:
        if highest > end * (1 + EXACT):
            return "at least"
        return "at most" if lowest < end * (1 - EXACT) else "exact"

    low, high = (bound(*one) for one in zip(_ends(ratios), least, most, strict=True))
    return low, high
