"""What selective compression did to a picture: inside and outside the region whose symbols were coded, and between.

The region is the one that the stream says, at the latent's resolution, so it holds what was asked for and up to a
position more on each side. Outside it nothing but the label map is known, and distortion there says little.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from gencomp.data.atomic import replacing
from gencomp.evaluation.metrics import IDENTICAL_PSNR
from gencomp.evaluation.rates import mean

BAND = 2
"""Latent positions on each side of a region's border that its seam is compared with."""
COLUMNS = ("key", "preserved", "side_share", "mse_inside", "psnr_inside", "psnr_outside", "seam")

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


class SelectiveRow(NamedTuple):
    """The same of one picture."""

    key: str
    preserved: float
    side_share: float
    mse_inside: float | None
    psnr_inside: float | None
    psnr_outside: float | None
    seam: float | None


def selective_row(
    key: str, x: Pixels, x_hat: Pixels, region: Region, stride: int, side_bytes: int, size: int
) -> SelectiveRow:
    """What became of a picture whose file of `size` bytes holds `side_bytes` of side information; `stride` pixels make
    a latent position."""
    height, width, _ = x.shape
    inside = region.repeat(stride, 0).repeat(stride, 1)[:height, :width]  # (H, W)
    errors = (x_hat.astype(np.float64) - x) ** 2  # (H, W, 3)
    within, without = (float(errors[part].mean()) if part.any() else None for part in (inside, ~inside))
    return SelectiveRow(
        key=key,
        preserved=float(inside.mean()),
        side_share=side_bytes / size,
        mse_inside=within,
        psnr_inside=_psnr(within),
        psnr_outside=_psnr(without),
        seam=seam(x, x_hat, region, stride),
    )


def seam(x: Pixels, x_hat: Pixels, region: Region, stride: int) -> float | None:
    """How visible the region's border is, grey levels: 0 where it is not, the height of the step where x_hat is as x
    but for a step there.

    Of each pair of neighbouring pixels that a line between latent positions parts, the error of their difference is
    d = (x_hat_p - x_hat_q) - (x_p - x_q). With the mean of d^2 over the pairs and the channels of a kind,

        seam = sqrt(across) - sqrt((inside + outside) / 2)

    where `across` is of pairs of which one lies in the region, `inside` of pairs in it and `outside` of pairs out of
    it, both within 2 latent positions of the border, where the picture is much the same. Were errors on both sides
    independent of each other and as they are beside the border, the two roots would be the same; below 0, it is
    smoother there than beside. Lines of the same grid alone are compared, so that the network's own grid is in both, as
    the blocking effect factor compares the steps at block borders with others (Yim & Bovik 2011, "Quality Assessment of
    Deblocked Images"). None where there is no border, or nothing beside it.
    """
    error = x_hat.astype(np.float64) - x
    near = _grown(region) & _grown(~region)
    square = [_steps(error, region, near, stride), _steps(error.swapaxes(0, 1), region.T, near.T, stride)]
    across, inside, outside = (np.concatenate([kinds[kind] for kinds in square]) for kind in range(3))
    beside = [float(kind.mean()) for kind in (inside, outside) if kind.size]
    if not across.size or not beside:
        return None
    return float(np.sqrt(across.mean()) - np.sqrt(sum(beside) / len(beside)))


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
    )


def _steps(error: NDArray[np.float64], region: Region, near: Region, stride: int) -> tuple[NDArray[np.float64], ...]:
    """d^2 of the pairs above and below each line of the grid: those across the border, and near it inside and
    outside."""
    lines = np.arange(stride, len(error), stride)
    squares = ((error[lines] - error[lines - 1]) ** 2).mean(2)  # (lines, W)
    above, below = region[:-1], region[1:]
    both = near[:-1] & near[1:]
    kinds = (above != below, above & below & both, ~above & ~below & both)
    return tuple(squares[kind.repeat(stride, 1)[:, : squares.shape[1]]] for kind in kinds)


def _grown(region: Region) -> Region:
    """What lies within `BAND` positions of a region, across corners too."""
    side = 2 * BAND + 1
    return np.asarray(np.lib.stride_tricks.sliding_window_view(np.pad(region, BAND), (side, side)).any((2, 3)))


def _psnr(mse: float | None) -> float | None:
    if mse is None:
        return None
    return IDENTICAL_PSNR if mse == 0 else min(10 * float(np.log10(255**2 / mse)), IDENTICAL_PSNR)


def _rounded(values: Sequence[float | None]) -> float | None:
    found = mean(values)
    return None if found is None else round(found, 6)
