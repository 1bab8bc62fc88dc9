"""Every codec at the bytes that a model spends, picture by picture."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gencomp.evaluation.bootstrap import Interval, interval
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.rates import METRIC_NAMES, Match, MetricName, RateRow, match


class EqualBytes(NamedTuple):
    """One codec beside one model, averaged over the pictures."""

    name: str
    title: str
    is_model: bool
    size: float
    """Bytes of a file."""
    bpp: float
    """Bits per pixel."""
    ratio: float
    """Its bytes in those of the model."""
    figures: Mapping[MetricName, Interval]
    """The metrics that were measured, with intervals over the pictures."""
    too_large: int
    """Pictures for which the codec cannot go this low."""
    images: int


def match_all(models: Mapping[str, RateRow], anchors: Sequence[RateRow]) -> dict[str, dict[str, Match]]:
    """Model rows by picture, anchors' ladders -> picture -> codec -> the file that stands beside the model's."""
    ladders: dict[str, dict[str, list[RateRow]]] = {key: {} for key in models}
    for row in anchors:
        if row.key in ladders:
            ladders[row.key].setdefault(row.codec, []).append(row)
    return {
        key: {codec: match(ladder, models[key].size) for codec, ladder in by_codec.items()}
        for key, by_codec in ladders.items()
    }


def table(entry: Entry, entries: Sequence[Entry], anchors: Sequence[RateRow]) -> list[EqualBytes]:
    """The entry itself, the others of its group at their own bytes, then each codec at equal bytes."""
    spent = sum(row.size for row in entry.rows.values())
    beside = [entry, *(other for other in entries if other.group == entry.group and other is not entry)]
    found = [
        _row(other.name, other.name, [Match(row, False) for row in other.rows.values()], spent) for other in beside
    ]
    matches = match_all(entry.rows, anchors)
    for codec in CODECS.values():
        present = [by_codec[codec.name] for by_codec in matches.values() if codec.name in by_codec]
        if present:
            beside_it = sum(entry.rows[match.row.key].size for match in present)
            found.append(_row(codec.name, codec.title, present, beside_it))
    return found


def intervals(rows: Sequence[RateRow]) -> dict[MetricName, Interval]:
    """The mean of each metric that was measured, over the rows for which it was."""
    found = {}
    for name in METRIC_NAMES:
        values = [value for row in rows if (value := row.figure(name)) is not None]
        if values:
            found[name] = interval(values)
    return found


def _row(name: str, title: str, matches: Sequence[Match], spent: int) -> EqualBytes:
    rows, count = [match.row for match in matches], len(matches)
    return EqualBytes(
        name=name,
        title=title,
        is_model=name not in CODECS,
        size=sum(row.size for row in rows) / count,
        bpp=sum(row.bpp for row in rows) / count,
        ratio=sum(row.size for row in rows) / spent,
        figures=intervals(rows),
        too_large=sum(match.too_large for match in matches),
        images=count,
    )
