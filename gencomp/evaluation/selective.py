"""What selective compression did to a picture: inside and outside the region whose symbols were coded, and between.

The region is the one that the stream says, at the latent's resolution, so it holds what was asked for and up to a
position more on each side. Outside it nothing but the label map is known, and distortion there says little; LPIPS
says more.
"""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from gencomp.data.atomic import replacing
from gencomp.evaluation.bootstrap import interval
from gencomp.evaluation.metrics import IDENTICAL_PSNR, METRICS, Record
from gencomp.evaluation.rates import ChosenMetric, mean

BAND = 2
"""Latent positions on each side of a region's border that its seam is compared with."""
COLUMNS = (
    *("key", "preserved", "side_share", "mse_inside", "psnr_inside", "psnr_outside", "seam"),
    *("lpips_inside", "lpips_outside"),
)
PARTS = (
    "over the pixels of the latent positions whose symbols the file holds, and over the others; mean over the pictures "
    "that have such"
)
SEAM = (
    "root mean square of the steps between neighbouring pixels across the border of what is preserved, less that of "
    f"the steps within {BAND} latent positions of it on both sides; of the decoded picture, less the same of the "
    "original; mean over the pictures that have a border"
)

Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""
Region = NDArray[np.bool_]
"""(ceil(H / stride), ceil(W / stride)), true at the latent positions whose symbols are coded."""


class Selective(msgspec.Struct, frozen=True, kw_only=True):
    """Means over pictures; None where no picture has such a value."""

    preserved: float
    """Share of the pixels that lie in the region."""
    side_share: float
    """Share of the file's bytes that the side information takes."""
    mse_inside: float | None
    """Of 8-bit values over the region; none where nothing is preserved."""
    psnr_inside: float | None
    """dB, over the region."""
    psnr_outside: float | None
    """dB, over the rest; none where all is preserved."""
    seam: float | None
    """Grey levels; see `seam`."""
    lpips_inside: float | None = None
    """LPIPS with AlexNet, its map averaged over the region; None where LPIPS was not measured."""
    lpips_outside: float | None = None
    """The same over the rest."""
    intervals: dict[str, tuple[float, float]] = {}
    """95 % intervals of these means, by the bootstrap over pictures: of those that two pictures and more have."""


class SelectiveRow(NamedTuple):
    """The same of one picture."""

    key: str
    preserved: float
    side_share: float
    mse_inside: float | None
    psnr_inside: float | None
    psnr_outside: float | None
    seam: float | None
    lpips_inside: float | None = None
    lpips_outside: float | None = None


def selective_row(
    key: str,
    x: Pixels,
    x_hat: Pixels,
    region: Region,
    stride: int,
    side_bytes: int,
    size: int,
    lpips: NDArray[np.float32] | None = None,
) -> SelectiveRow:
    """What became of a picture whose file of `size` bytes holds `side_bytes` of side information; `stride` pixels make
    a latent position, and `lpips` is the (H, W) map of the distance where it was measured."""
    inside = _pixels(region, stride, x.shape)
    errors = (x_hat.astype(np.float64) - x) ** 2  # (H, W, 3)
    within, without = (_mean(errors, part) for part in (inside, ~inside))
    near, far = (None if lpips is None else _mean(lpips, part) for part in (inside, ~inside))
    return SelectiveRow(
        key=key,
        preserved=float(inside.mean()),
        side_share=side_bytes / size,
        mse_inside=within,
        psnr_inside=_psnr(within),
        psnr_outside=_psnr(without),
        seam=seam(x, x_hat, region, stride),
        lpips_inside=near,
        lpips_outside=far,
    )


def seam(x: Pixels, x_hat: Pixels, region: Region, stride: int) -> float | None:
    """How much of a step the region's border has become, grey levels: 0 where it shows no more than what lies beside it
    and no more than in the original, s where a smooth picture has got a step of s there.

    g(x, kind) is the root mean square of the difference of neighbouring pixels, over the pairs of a kind and the
    channels: `across`, of which one pixel lies in the region, and on both sides within 2 latent positions of the border
    `inside` and `outside`, of which both or none do; g(x, beside)^2 = (g(x, inside)^2 + g(x, outside)^2) / 2.

        seam = (g(x_hat, across) - g(x, across)) - (g(x_hat, beside) - g(x, beside))

    Below 0 the border is smoother than what lies beside it. Comparing steps at borders with others is the idea of
    measures of blocking, such as that of Yim & Bovik 2011, "Quality Assessment of Deblocked Images". None where there
    is no border, or nothing beside it.
    """
    near = _grown(region) & _grown(~region)
    inside, near = (_pixels(part, stride, x.shape) for part in (region, near))
    found = [_steps(picture.astype(np.float64), inside, near) for picture in (x, x_hat)]
    if any(steps is None for steps in found):
        return None
    (across, beside), (across_hat, beside_hat) = (steps for steps in found if steps is not None)
    return (across_hat - across) - (beside_hat - beside)


def write_selective(path: Path, rows: Sequence[SelectiveRow]) -> None:
    """Write `selective.csv` atomically; six decimals, an empty cell for None."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, *values in rows:
            writer.writerow([key, *("" if value is None else f"{value:.6f}" for value in values)])


def selective_means(rows: Sequence[SelectiveRow]) -> Selective:
    """The means over pictures, of which there is at least one."""
    return Selective(
        preserved=_rounded([row.preserved for row in rows]) or 0.0,
        side_share=_rounded([row.side_share for row in rows]) or 0.0,
        mse_inside=_rounded([row.mse_inside for row in rows]),
        psnr_inside=_rounded([row.psnr_inside for row in rows]),
        psnr_outside=_rounded([row.psnr_outside for row in rows]),
        seam=_rounded([row.seam for row in rows]),
        lpips_inside=_rounded([row.lpips_inside for row in rows]),
        lpips_outside=_rounded([row.lpips_outside for row in rows]),
        intervals=_intervals(rows),
    )


def selective_records(metrics: Collection[ChosenMetric]) -> dict[str, Record]:
    """How what is measured inside, outside and between is computed where these metrics are measured, by the names that
    `Selective` has for it."""
    error = f"of 8-bit RGB, PSNR at most {IDENTICAL_PSNR:g} dB, {PARTS}"
    found = {
        "mse_inside": Record("MSE inside", "", "lower", error, "", {}),
        "psnr_inside": Record("PSNR inside", "dB", "higher", error, "", {}),
        "psnr_outside": Record("PSNR outside", "dB", "higher", error, "", {}),
        "seam": Record("Seam", "grey levels", "lower", SEAM, "", {}),
    }
    if "lpips_alex" in metrics:
        by_pixel = f"LPIPS 0.1, AlexNet, full size, the layers' maps enlarged (bilinear) and summed, {PARTS}"
        for part in ("inside", "outside"):
            record = Record(f"LPIPS {part}", "", "lower", by_pixel, "", METRICS["lpips_alex"].hashes)
            found[f"lpips_{part}"] = record
    return found


def _steps(x: NDArray[np.float64], inside: Region, near: Region) -> tuple[float, float] | None:
    """g(x, across) and g(x, beside); `inside` and `near` are (H, W)."""
    kinds: list[list[NDArray[np.float64]]] = [[], [], []]
    for picture, within, close in ((x, inside, near), (x.swapaxes(0, 1), inside.T, near.T)):
        squares = (np.diff(picture, axis=0) ** 2).mean(2)
        one, other, both = within[:-1], within[1:], close[:-1] & close[1:]
        for found, kind in zip(kinds, (one != other, one & other & both, ~one & ~other & both), strict=True):
            found.append(squares[kind])
    across, *beside = (np.concatenate(found) for found in kinds)
    sides = [float(side.mean()) for side in beside if side.size]
    if not across.size or not sides:
        return None
    return float(np.sqrt(across.mean())), float(np.sqrt(sum(sides) / len(sides)))


def _pixels(region: Region, stride: int, shape: tuple[int, ...]) -> Region:
    """A region of latent positions by pixel, (H, W)."""
    return region.repeat(stride, 0).repeat(stride, 1)[: shape[0], : shape[1]]


def _grown(region: Region) -> Region:
    """What lies within `BAND` positions of a region, across corners too."""
    side = 2 * BAND + 1
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(region, BAND), (side, side)).any((2, 3)))


def _mean(values: NDArray[np.floating], part: NDArray[np.bool_]) -> float | None:
    """Over some of the pixels; None where there are none."""
    return float(values[part].mean()) if part.any() else None


def _psnr(mse: float | None) -> float | None:
    if mse is None:
        return None
    return IDENTICAL_PSNR if mse == 0 else min(10 * float(np.log10(255**2 / mse)), IDENTICAL_PSNR)


def _intervals(rows: Sequence[SelectiveRow]) -> dict[str, tuple[float, float]]:
    columns = {name: [value for row in rows if (value := getattr(row, name)) is not None] for name in COLUMNS[1:]}
    found = {name: interval(values) for name, values in columns.items() if len(values) > 1}
    return {name: (round(low, 6), round(high, 6)) for name, (_, low, high) in found.items()}


def _rounded(values: Sequence[float | None]) -> float | None:
    found = mean(values)
    return None if found is None else round(found, 6)
