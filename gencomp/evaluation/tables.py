"""Further tables of the page: what curves and sets say, what models cost, and what selective compression kept."""

from collections.abc import Mapping, Sequence

from gencomp.evaluation.analysis import LEAST_DRAWS, LEAST_OVERLAP, LEAST_POINTS, BdRate, Needed, bd_rate, curve
from gencomp.evaluation.cells import Cell, Table, fixed, number
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.distribution import FID_PATCHES, SetRow
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.metrics import Metric
from gencomp.evaluation.practicality import Practicality, table
from gencomp.evaluation.published import Published
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.selective import Selective

REFERENCES = ("bpg", "vvc", "avif", "webp", "jpeg2000", "jpeg")
"""Codecs that BD-rates are against: the first that has a curve."""
SIGNS = {"exact": "", "at least": "\N{GREATER-THAN OR EQUAL TO} ", "at most": "\N{LESS-THAN OR EQUAL TO} "}


def needed_table(found: Sequence[Needed], metric: Metric) -> Table | None:
    """What codecs need for the quality of models; None where nothing was found."""
    if not found:
        return None
    rows = [
        (
            Cell(f"{CODECS[item.codec].title} for {item.setting}", f"{item.setting} {item.codec}"),
            number(item.value, metric.decimals),
            number(item.model_bpp, 4),
            Cell(f"{SIGNS[item.bound]}{fixed(item.bpp, 4)}", item.bpp),
            Cell(
                f"{SIGNS[item.bound]}{fixed(item.ratio, 2)}",
                item.ratio,
                _interval(item) if item.images > 1 else "",
            ),
        )
        for item in found
    ]
    note = (
        f"What each codec\N{RIGHT SINGLE QUOTATION MARK}s curve spends at the {metric.title} that a model has, both "
        "means over the pictures: the arrows in the chart above. Where the curve does not reach it, its nearest end "
        "gives a bound. Below, the interval of 95 % over the pictures; an end of it is a bound where pictures were "
        "drawn for which the curve does not reach it. By other metrics the arrows can point the other way."
    )
    columns = ("Codec", metric.axis, "Model, bits per pixel", "Codec, bits per pixel", "Times the bytes of the model")
    return Table(f"Bytes for the same {metric.title}", note, columns, rows)


def _interval(item: Needed) -> str:
    low, high = f"{SIGNS[item.low_bound]}{fixed(item.low, 2)}", f"{SIGNS[item.high_bound]}{fixed(item.high, 2)}"
    return f"{low} to {high}"


def bd_table(
    models: Mapping[str, Sequence[RateRow]], anchors: Sequence[RateRow], metrics: Sequence[Metric]
) -> Table | None:
    """BD-rates of models and codecs against one codec, by every metric; None where no two curves can be compared."""
    codecs = list(dict.fromkeys(row.codec for row in anchors))
    long = [name for name in REFERENCES if name in codecs and len(curve(anchors, name, "psnr")) >= LEAST_POINTS]
    if not long:
        return None
    contestants = [*models.items(), *((name, anchors) for name in codecs if name != long[0])]
    lines = {
        name: [bd_rate(rows, name, anchors, long[0], metric.name) for metric in metrics] for name, rows in contestants
    }
    shown = {name: line for name, line in lines.items() if any(found.percent is not None for found in line)}
    if not shown:
        return None
    rows = [[Cell(title(name), title(name)), *map(_bd_cell, line)] for name, line in shown.items()]
    missing = [f"{title(name)}: {line[0].reason}" for name, line in lines.items() if name not in shown]
    against = CODECS[long[0]].title
    note = (
        f"Bytes on top of {against}\N{RIGHT SINGLE QUOTATION MARK}s at equal quality, %, mean over the qualities that "
        f"both curves have; negative: fewer. Below, the interval of 95 % over the pictures; none where there is one "
        f"picture, or where more than {1 - LEAST_DRAWS:.0%} of the draws of pictures have no BD-rate. A dash where a "
        f"curve has fewer than {LEAST_POINTS} points that improve with rate by the metric, or two share less than "
        f"{LEAST_OVERLAP:.0%} of the shorter one\N{RIGHT SINGLE QUOTATION MARK}s range of quality."
        f"{' None at all of ' + '; '.join(missing) + '.' if missing else ''}"
    )
    return Table(f"BD-rate against {against}", note, ("Codec", *(metric.title for metric in metrics)), rows)


def _bd_cell(found: BdRate) -> Cell:
    if found.percent is None:
        return number(None, 0)
    if found.low is None or found.high is None:
        return Cell(_signed(found.percent), found.percent)
    return Cell(_signed(found.percent), found.percent, f"{_signed(found.low)} to {_signed(found.high)}")


def _signed(percent: float) -> str:
    return f"{percent:+.0f}".replace("-", "\N{MINUS SIGN}")


ONE_EACH = " Of each codec it is the setting nearest to the middle of the model's rates; --full has all within reach."


def sets_table(
    found: Sequence[SetRow],
    rates: Mapping[tuple[str, str], float],
    entries: Sequence[Entry] = (),
    published: Sequence[Published] = (),
    one_each: bool = False,
) -> Table:
    """KID and FID of models and codecs; `rates` has the mean bits per pixel of (codec, setting). What was published of
    others stands in the note alone. `one_each`: say that of each codec one setting was looked at."""
    names = {(row.codec, row.setting): entry.name for entry in entries for row in entry.rows.values()}
    rows = []
    for name, setting, figures in found:
        words = f"{CODECS[name].title} {setting}" if name in CODECS else names.get((name, setting), name)
        kid, ends = figures.kid, (figures.kid_low, figures.kid_high)
        low, high = (None if end is None else 1000 * end for end in ends)
        rows.append(
            [
                Cell(words, words),
                number(rates.get((name, setting)), 4),
                number(figures.patches, 0),
                number(
                    None if kid is None else 1000 * kid,
                    2,
                    "" if low is None else f"{fixed(low, 2)} to {fixed(high, 2)}",
                ),
                number(figures.fid, 2),
            ]
        )
    note = (
        "How far the decoded pictures are from the originals as a set, by patches of 256 pixels; lower is better. Each "
        "patch meets its own reconstruction, so that KID of some hundred patches comes out too small, or negative: "
        "compare lines, not pages. Below KID, its interval of 95 % by the jackknife over pictures. FID is given from "
        f"{FID_PATCHES:,} patches on, and has none.{ONE_EACH if one_each else ''}{_published_fid(published)}"
    )
    return Table(
        "KID and FID", note, ("Codec", "Bits per pixel", "Patches", "KID \N{MULTIPLICATION SIGN} 1000", "FID"), rows
    )


def _published_fid(published: Sequence[Published]) -> str:
    """A sentence of the FID of others; empty where none is known."""
    rows = [row for row in published if row.fid is not None]
    if not rows:
        return ""
    told = "; ".join(f"{row.codec} {row.fid:g} at {row.bpp:g} bpp ({row.dataset}, {row.source})" for row in rows)
    how = "; ".join(dict.fromkeys(row.protocol for row in rows))
    return f" FID that others report, on other pictures and so comparable with no line here: {told}. Of these: {how}."


def title(codec: str) -> str:
    """As people write a codec, or a model's name."""
    return CODECS[codec].title if codec in CODECS else codec


def costs_table(found: Practicality) -> Table:
    """Time, memory and weights of models and codecs, and after how many pictures the weights are paid for."""
    lines = table(found.costs)
    beside = list(dict.fromkeys(payoff.codec for line in lines for payoff in line.payoffs))
    columns = [
        *("Codec", "Bits per pixel", "LPIPS", "Encode, ms", "Decode, ms", "First picture, ms"),
        *("Memory to encode, MB", "Memory to decode, MB", "Decoder's weights, MB"),
        *(f"Pictures until they are paid for, beside {codec}" for codec in beside),
    ]
    rows = []
    for line in lines:
        cost = line.cost
        payoffs = {payoff.codec: payoff for payoff in line.payoffs}
        rows.append(
            [
                Cell(f"{cost.codec} {cost.setting}", f"{cost.codec} {cost.setting}"),
                number(cost.bpp, 4),
                number(cost.lpips, 3),
                *(number(value, 0) for value in (cost.encode_ms, cost.decode_ms, cost.first_ms)),
                *(number(value, 0) for value in (cost.encode_peak, cost.decode_peak)),
                number(cost.weights / 1e6, 1),
                *(
                    Cell(f"{payoff.pictures:,}", payoff.pictures)
                    if (payoff := payoffs.get(codec)) and payoff.pictures is not None
                    else Cell("\N{EN DASH}", "", payoffs[codec].why if codec in payoffs else "")
                    for codec in beside
                ),
            ]
        )
    note = f"{found.hardware}, {found.images} pictures: {found.protocol}. Paid for: by the bytes saved at equal LPIPS."
    return Table("What it costs", note, columns, rows)


def selective_table(found: Mapping[str, Selective]) -> Table:
    """What selective models kept, by variant."""
    columns = (
        *("Model", "Preserved, %", "Side information, % of the file", "PSNR inside, dB", "PSNR outside, dB"),
        *("LPIPS inside", "LPIPS outside", "Seam, grey levels"),
    )
    rows = [
        [
            Cell(name, name),
            *(_selective_cell(means, name, 1, factor=100) for name in ("preserved", "side_share")),
            *(_selective_cell(means, name, 2) for name in ("psnr_inside", "psnr_outside")),
            *(_selective_cell(means, name, 3) for name in ("lpips_inside", "lpips_outside")),
            _selective_cell(means, "seam", 2),
        ]
        for name, means in found.items()
    ]
    note = (
        "Means over the pictures, inside and outside of the region that was preserved, and across its border. Outside, "
        "where G draws, PSNR says little; LPIPS (AlexNet) is averaged over either part of its map. "
        "Below a mean, its bootstrap interval of 95 % over the pictures."
    )
    return Table("Selective compression", note, columns, rows)


def _selective_cell(means: Selective, name: str, digits: int, factor: int = 1) -> Cell:
    """One of the means, with its interval where it has one."""
    value: float | None = getattr(means, name)
    ends = means.intervals.get(name, ())
    below = " to ".join(fixed(factor * end, digits) for end in ends)
    return number(None if value is None else factor * value, digits, below)
