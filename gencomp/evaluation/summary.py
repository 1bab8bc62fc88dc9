"""The page in three sentences, each computed from the numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from gencomp.evaluation.equal_bytes import EqualBytes
from gencomp.evaluation.metrics import METRICS, Metric

NEAR = 0.9
"""Files of a codec that take less than this share of a model's bytes are said to."""


class Result(NamedTuple):
    """What the summary needs to know of one entry."""

    name: str
    pictures: str
    """Name of its set; empty where it tells nothing."""
    table: list[EqualBytes]
    """The codecs beside it; its own row first."""
    metric: Metric
    """That by which it is compared."""
    bound_violations: int
    symbol_mismatches: int


def sentences(results: Sequence[Result], focus: int = 0) -> list[str]:
    """What the models spend and reach, what the classical codecs do with those bytes, and whether files are exact.

    The second one is about the result number `focus`.
    """
    return [_spent(results), _at_equal_bytes(results[focus]), _exact(results)]


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _spent(results: Sequence[Result]) -> str:
    parts = []
    for number, pictures in enumerate(dict.fromkeys(result.pictures for result in results)):
        first, *others = [result for result in results if result.pictures == pictures]
        spent = listed([_cost(first, " spends"), *map(_cost, others)])
        of = f" of {pictures}" if pictures else ""
        parts.append(f"{'on one' if number else 'On a picture'}{of}, {spent}")
    return "; ".join(parts) + "."


def _cost(result: Result, verb: str = "") -> str:
    own = result.table[0]
    chosen = dict.fromkeys((result.metric, METRICS["psnr"]))
    figures = ", ".join(_figure(own, metric) for metric in chosen if metric.name in own.figures)
    return f"{result.name}{verb} {own.size:.0f} bytes ({own.bpp:.4f} bpp, {figures})"


def _figure(row: EqualBytes, metric: Metric) -> str:
    """`LPIPS 0.357`, `22.57 dB`."""
    value = f"{row.figures[metric.name].mean:.{metric.decimals}f}"
    return f"{value} {metric.unit}" if metric.unit else f"{metric.title} {value}"


def _at_equal_bytes(result: Result) -> str:
    anchors = [row for row in result.table if not row.is_model]
    if not anchors:
        return "No classical codec was measured beside them."
    fitting = [row for row in anchors if not row.too_large and result.metric.name in row.figures]
    some = [row for row in anchors if 0 < row.too_large < row.images]
    none = [row for row in anchors if row.too_large == row.images]
    parts = [listed([_reached(row, result.metric) for row in fitting])] if fitting else []
    parts += [f"{row.title} goes that low for {row.images - row.too_large} of {row.images} pictures" for row in some]
    if none:
        names, ratios = listed([row.title for row in none]), listed([f"{row.ratio:.1f}" for row in none])
        parts.append(f"{names} cannot go that low, with smallest files {ratios} times as large")
    on = f" on {result.pictures}" if result.pictures else ""
    return f"With the bytes of {result.name}{on}, {'; '.join(parts)}."


def _reached(row: EqualBytes, metric: Metric) -> str:
    """What a codec makes of the bytes, and of how many of them where its nearest files leave some over."""
    used = f" with {row.ratio:.2f} of them" if row.ratio < NEAR else ""
    return f"{row.title} reaches {_figure(row, metric)}{used}"


def _exact(results: Sequence[Result]) -> str:
    files = sum(result.table[0].images for result in results)
    mismatches = sum(result.symbol_mismatches for result in results)
    violations = sum(result.bound_violations for result in results)
    if not mismatches and not violations:
        return f"Every file ({files}) decodes to exactly the symbols that were encoded, and none is above its bound."
    faults = f"{violations} are above their bound, and {mismatches} symbols came back changed"
    return f"Of {files} files, {faults}: not fit for use."
