"""What a file cost and how good it is, one row per picture, codec and setting; and codecs matched at equal bytes."""

import csv
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from gencomp.data.atomic import replacing

MetricName = Literal["psnr", "ms_ssim", "lpips_alex", "lpips_vgg", "dists", "ssimulacra2"]
"""Every metric of a pair of pictures, as a column of the table is named; `metrics.METRICS` says what they are."""
METRIC_NAMES: tuple[MetricName, ...] = get_args(MetricName)
COARSE: frozenset[MetricName] = frozenset({"psnr", "ssimulacra2"})
"""Metrics of large values, written with 4 decimals; the others with 6."""
COLUMNS = (
    "key",
    "codec",
    "setting",
    "width",
    "height",
    "bytes",
    "header_bytes",
    "side_bytes",
    "bpp",
    *METRIC_NAMES,
)


class RatesError(ValueError):
    """A table of rates that cannot be read; the message is one line that names it."""


class RateRow(NamedTuple):
    """One encoded file."""

    key: str
    codec: str
    """Name of the codec or of the model's variant."""
    setting: str
    """The point of the codec's ladder: a quality, a quantiser, a rate, or the model's entropy coding."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    size: int
    """Bytes of the whole file."""
    header_bytes: int | None
    """Bytes that describe the file; None where a codec does not tell."""
    side_bytes: int | None
    """Bytes of side information; None where a codec does not tell."""
    psnr: float
    """dB over RGB."""
    ms_ssim: float | None
    """In [0, 1]; None for a picture too small for five scales."""
    lpips_alex: float | None = None
    """None where it was not measured, as are all that follow."""
    lpips_vgg: float | None = None
    dists: float | None = None
    ssimulacra2: float | None = None

    @property
    def bpp(self) -> float:
        """Bits per pixel: the bytes of the file x 8 / pixels."""
        return self.size * 8 / (self.width * self.height)

    def figure(self, metric: MetricName) -> float | None:
        """What a metric says of it; None where that was not measured."""
        value: float | None = getattr(self, metric)
        return value


class RatePoint(NamedTuple):
    """A codec at one setting, averaged over the pictures."""

    codec: str
    setting: str
    images: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    lpips_alex: float | None = None
    lpips_vgg: float | None = None
    dists: float | None = None
    ssimulacra2: float | None = None

    def figure(self, metric: MetricName) -> float | None:
        """The mean of a metric; None where that was not measured."""
        value: float | None = getattr(self, metric)
        return value


class Match(NamedTuple):
    """The file of a codec that stands beside a model's file of the same picture."""

    row: RateRow
    too_large: bool
    """The codec cannot go this low: its smallest file is above the model's bytes."""


def write_rows(path: Path, rows: Iterable[RateRow]) -> None:
    """Write `images.csv` atomically: PSNR and SSIMULACRA2 with 4 decimals, the rest with 6; an empty cell for None."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(row) for row in rows)


def read_rows(path: Path) -> list[RateRow]:
    """The rows of an `images.csv`. Raises OSError or RatesError, which name the file."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise RatesError(f"{path}: expected the columns {','.join(COLUMNS)}")
        return [_row(cells) for cells in reader]


def mean_points(rows: Iterable[RateRow]) -> list[RatePoint]:
    """The mean over pictures of each (codec, setting), sorted by codec, then bpp."""
    ordered = sorted(rows, key=lambda row: (row.codec, row.setting, row.key))
    points = [_mean_point(list(group)) for _, group in groupby(ordered, key=lambda row: (row.codec, row.setting))]
    return sorted(points, key=lambda point: (point.codec, point.bpp, point.setting))


def match(ladder: Sequence[RateRow], size: int) -> Match:
    """The largest file of a codec's ladder for one picture that is not above `size` bytes, else its smallest.

    Of files of one size, the one with the higher PSNR. Raises ValueError when the ladder is empty.
    """
    if not ladder:
        raise ValueError("no file to match: the ladder is empty")
    fitting = [row for row in ladder if row.size <= size]
    if fitting:
        return Match(max(fitting, key=lambda row: (row.size, row.psnr)), too_large=False)
    return Match(min(ladder, key=lambda row: (row.size, -row.psnr)), too_large=True)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are there; None when there is none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _mean_point(rows: Sequence[RateRow]) -> RatePoint:
    count = len(rows)
    return RatePoint(
        codec=rows[0].codec,
        setting=rows[0].setting,
        images=count,
        bpp=sum(row.bpp for row in rows) / count,
        psnr=sum(row.psnr for row in rows) / count,
        **{name: mean([row.figure(name) for row in rows]) for name in METRIC_NAMES[1:]},
    )


def _cells(row: RateRow) -> tuple[object, ...]:
    return (
        *(row.key, row.codec, row.setting, row.width, row.height, row.size),
        *(("" if count is None else count) for count in (row.header_bytes, row.side_bytes)),
        f"{row.bpp:.6f}",
        *(cell(name, row.figure(name)) for name in METRIC_NAMES),
    )


def cell(metric: MetricName, value: float | None) -> str:
    """A figure as tables hold it."""
    return "" if value is None else f"{value:.{4 if metric in COARSE else 6}f}"


def _row(cells: dict[str, str]) -> RateRow:
    return RateRow(
        key=cells["key"],
        codec=cells["codec"],
        setting=cells["setting"],
        width=int(cells["width"]),
        height=int(cells["height"]),
        size=int(cells["bytes"]),
        header_bytes=int(cells["header_bytes"]) if cells["header_bytes"] else None,
        side_bytes=int(cells["side_bytes"]) if cells["side_bytes"] else None,
        psnr=float(cells["psnr"]),
        **{name: float(cells[name]) if cells[name] else None for name in METRIC_NAMES[1:]},
    )
