"""Every codec at the bytes that a model spends, picture by picture."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.rates import Match, RateRow, match, mean


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
    psnr: float
    """dB."""
    ms_ssim: float | None
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


def table(variant: str, models: Mapping[str, Mapping[str, RateRow]], anchors: Sequence[RateRow]) -> list[EqualBytes]:
    """The rows beside `variant`: itself, the other variants at their own bytes, then each codec at equal bytes.

    `models` is variant -> picture -> row.
    """
    own = models[variant]
    spent = sum(row.size for row in own.values())
    matches = match_all(own, anchors)
    codecs = [codec for codec in CODECS if any(codec in by_codec for by_codec in matches.values())]
    rows = []
    for name in (variant, *(name for name in models if name != variant)):
        rows.append(_row(name, name, [Match(row, False) for row in models[name].values()], spent))
    for codec in codecs:
        found = [by_codec[codec] for by_codec in matches.values() if codec in by_codec]
        rows.append(_row(codec, CODECS[codec].title, found, spent))
    return rows


def _row(name: str, title: str, matches: Sequence[Match], spent: int) -> EqualBytes:
    rows, count = [match.row for match in matches], len(matches)
    return EqualBytes(
        name=name,
        title=title,
        is_model=name not in CODECS,
        size=sum(row.size for row in rows) / count,
        bpp=sum(row.bpp for row in rows) / count,
        ratio=sum(row.size for row in rows) / spent,
        psnr=sum(row.psnr for row in rows) / count,
        ms_ssim=mean([row.ms_ssim for row in rows]),
        too_large=sum(match.too_large for match in matches),
        images=count,
    )
