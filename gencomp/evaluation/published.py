"""Published figures of other codecs, out of `references.csv`: to stand beside measured ones, never among them.

Figures of different protocols can differ by a factor of two, so every one comes with its own.
"""

import csv
from importlib.resources import files
from typing import NamedTuple

from gencomp.evaluation.rates import MetricName, RatesError

COLUMNS = ("dataset", "codec", "setting", "bpp", "psnr", "lpips_alex", "dists", "fid", "source", "protocol")


class Published(NamedTuple):
    """One codec at one rate on one set of pictures, as others report it; None where they do not."""

    dataset: str
    """Such as `clic2020-test`."""
    codec: str
    """As its authors call it."""
    setting: str
    """Empty where none is told."""
    bpp: float
    """Bits per pixel, as reported: an estimate or files."""
    psnr: float | None
    """dB."""
    lpips_alex: float | None
    dists: float | None
    fid: float | None
    source: str
    """Who reports it, and where: with an arXiv id, a DOI or an address."""
    protocol: str
    """How it was measured, as far as is known."""

    def figure(self, metric: MetricName) -> float | None:
        """What is reported by one of our metrics; None where nothing is."""
        value: float | None = getattr(self, metric, None)
        return value


def published(dataset: str | None = None) -> list[Published]:
    """The rows of `references.csv`, of one set of pictures or of all. Raises RatesError for a damaged file."""
    reader = csv.reader(files("gencomp.evaluation").joinpath("references.csv").read_text().splitlines())
    if tuple(next(reader, ())) != COLUMNS:
        raise RatesError(f"references.csv: expected the columns {','.join(COLUMNS)}")
    rows = [_row(*cells) for cells in reader]
    return [row for row in rows if dataset in (None, row.dataset)]


def _row(dataset: str, codec: str, setting: str, bpp: str, *rest: str) -> Published:
    *figures, source, protocol = rest
    psnr, lpips_alex, dists, fid = (float(cell) if cell else None for cell in figures)
    return Published(dataset, codec, setting, float(bpp), psnr, lpips_alex, dists, fid, source, protocol)
