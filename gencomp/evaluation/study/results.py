"""An analysis as text, as JSON and as a page."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gencomp.evaluation.study.analysis import Crossing, Preference, Results
from gencomp.evaluation.study.intervals import Share

WIDTH, HEIGHT = 640.0, 300.0
"""Of a chart, in its own units."""
LEFT, RIGHT, TOP, BOTTOM = 48.0, 16.0, 14.0, 46.0
CURVE_POINTS = 60


class Point(NamedTuple):
    """A preference in a chart."""

    x: float
    y: float
    low: float
    high: float
    label: str
    title: str


class Chart(NamedTuple):
    """The preferences of a model over one codec, by rate, and the curve through them."""

    title: str
    sentence: str
    points: list[Point]
    path: str
    """The curve, as the `d` of an SVG path."""
    band: tuple[float, float] | None
    """From where to where the crossing's interval goes; None where it covers nothing that was shown."""
    crossing: float | None
    half: float
    """Height of one half."""


def results_text(results: Results) -> str:
    """For a terminal."""
    return "\n".join(_lines(results)) + "\n"


def results_json(results: Results) -> str:
    """Canonical JSON; its names are those of Results and what is in it."""
    return json.dumps(_plain(results), indent=2, allow_nan=False) + "\n"


def results_html(results: Results) -> str:
    """One page that loads nothing."""
    from gencomp.evaluation import templates

    environment = templates.environment("gencomp.evaluation.study")
    template = environment.get_template("results.html.jinja")
    return template.render(
        results=results,
        counted=sum(one.counted for one in results.participants),
        charts=[_chart(one, results.preferences) for one in results.crossings],
        percent=_percent,
        number=_number,
        frame=(WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM),
    )


def crossing_sentence(one: Crossing) -> str:
    """What a crossing says, in words."""
    model, interval = f"{one.model} {one.model_setting}", f"95 % interval {_span(one)}"
    if one.state == "never preferred":
        return f"{one.other} is preferred to {model} from {one.tested_low:.2f} times its bytes on ({interval})"
    if one.state == "preferred throughout":
        return f"{model} is preferred even where {one.other} spends {one.tested_high:.2f} times its bytes ({interval})"
    assert one.ratio is not None and one.saved is not None
    more = f"{one.ratio:.2f} times the bytes ({interval})"
    if one.saved <= 0:
        return f"{one.other} is preferred as often as {model} at {more}"
    return f"{one.other} needs {more} to be preferred as often as {model}, which saves {one.saved:.0%}"


def _lines(results: Results) -> Iterable[str]:
    counted = [one for one in results.participants if one.counted]
    yield (
        f"{len(results.participants)} participants, {len(counted)} of whom count, {results.votes} votes on pairs; "
        + (f"median {results.seconds:.1f} s a vote")
    )
    yield f"Rule: {results.rule}."
    for one in results.participants:
        if not one.counted:
            yield f"  left out: {one.participant}, {one.catch_right} of {one.catch_asked} catch trials right"
    yield f"Repeated pairs answered as before: {_percent(results.consistent)}"
    yield f"Left side chosen: {_percent(results.left)}"
    yield ""
    yield "Preferred, by rate (Wilson intervals)"
    yield from _table(
        ("model", "other", "rung", "bpp", "other bpp", "pictures", "votes", "preferred"),
        [
            (
                f"{one.model} {one.model_setting}",
                f"{one.other} {one.other_setting}".strip(),
                "-" if one.ratio is None else f"x{one.ratio:g}",
                f"{one.model_bpp:.4f}",
                f"{one.other_bpp:.4f}",
                str(one.pictures),
                str(one.preferred.of),
                _percent(one.preferred),
            )
            for one in results.preferences
        ],
    )
    yield ""
    yield "Bradley-Terry (intervals by a bootstrap over participants)"
    yield from _table(
        ("item", "strength", "interval"),
        [
            (item.item, f"{item.strength:+.2f}", "-" if item.low is None else f"{item.low:+.2f} to {item.high:+.2f}")
            for item in results.ranking
        ],
    )
    if any(item.group for item in results.ranking):
        yield "Items that were never compared, not even through others, are in groups of their own, each about 0."
    for crossing in results.crossings:
        yield ""
        yield f"{crossing_sentence(crossing)}."
        yield _beaten(crossing)


def _beaten(one: Crossing) -> str:
    if one.beaten_up_to is None:
        return f"{one.other} is beaten for sure at no rung."
    return f"{one.other} is beaten for sure (all intervals above one half) up to x{one.beaten_up_to:g}."


def _span(one: Crossing) -> str:
    if one.low is None:
        return f"above {one.tested_high:.2f}"
    if one.high == 0:
        return f"below {one.tested_low:.2f}"
    low = f"below {one.tested_low:.2f}" if one.low == 0 else f"{one.low:.2f}"
    return f"{low} to {'above ' + format(one.tested_high, '.2f') if one.high is None else format(one.high, '.2f')}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]


def _percent(one: Share) -> str:
    if one.share is None:
        return "none"
    return f"{one.share:.0%} ({one.low:.0%} to {one.high:.0%}) of {one.of}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _plain(value: object) -> object:
    """NamedTuples as objects, recursively."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _chart(one: Crossing, preferences: Sequence[Preference]) -> Chart:
    rungs = [p for p in preferences if p[:3] == one[:3] and p.ratio is not None]
    low, high = math.log2(one.tested_low) - 0.1, math.log2(one.tested_high) + 0.1

    def x(logarithm: float) -> float:
        return round(LEFT + (logarithm - low) / (high - low) * (WIDTH - LEFT - RIGHT), 2)

    def y(part: float) -> float:
        return round(HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM), 2)

    def end(ratio: float | None) -> float:
        return high if ratio is None else max(low, math.log2(ratio)) if ratio else low

    points = [
        Point(
            x=x(math.log2(p.actual_ratio)),
            y=y(p.preferred.share or 0.0),
            low=y(p.preferred.low),
            high=y(p.preferred.high),
            label=f"x{p.ratio:g}",
            title=f"{p.other} at {p.other_bpp:.4f} bpp, {p.actual_ratio:.2f} times the bytes: {_percent(p.preferred)}",
        )
        for p in rungs
    ]
    along = [low + (high - low) * at / CURVE_POINTS for at in range(CURVE_POINTS + 1)]
    curve = [(x(at), y(1 / (1 + math.exp(-(one.intercept + one.slope * at))))) for at in along]
    band = (x(end(one.low)), x(end(one.high)))
    return Chart(
        title=f"{one.model} {one.model_setting} against {one.other}",
        sentence=f"{crossing_sentence(one)}. {_beaten(one)}",
        points=points,
        path="M" + "L".join(f"{at} {height}" for at, height in curve),
        band=band if band[1] > band[0] else None,
        crossing=x(math.log2(one.ratio)) if one.ratio else None,
        half=y(0.5),
    )
