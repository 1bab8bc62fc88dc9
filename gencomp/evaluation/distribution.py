"""How far the decoded pictures are from the originals as a set: KID, and FID from 10,000 patches on.

Patches are taken as in HiFiC (Mentzer et al. 2020): every picture is cut into patches of 256 x 256 without overlap, and
once more from an origin shifted by 128 in both directions. The Inception-v3 of FID looks at each.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencomp.data.atomic import replacing
from gencomp.evaluation.cache import Cache, NoCache, code_digest, digest, picture_digest
from gencomp.evaluation.rates import RatesError
from gencomp.models.inception import FEATURES, SIDE, load_inception
from gencomp.weights.cache import weights_hash, weights_path

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]
"""(n, 2048), one row per patch."""
PATCH = 256
"""Pixels."""
FID_PATCHES = 10_000
"""Patches below which an FID says more of their number than of the pictures."""
BATCH = 8
"""Patches that go through Inception at once."""
ROWS = 512
"""Patches of originals and as many of reconstructions of which kernels are computed at once; 8 MB each."""
PROTOCOL = (
    "HiFiC's patches of 256 x 256 (without overlap, and again shifted by 128), Inception-v3 of 2015-12-05 on patches "
    "resized to 299 as TensorFlow 1 does; KID: cubic kernel, all patches at once, +- 1.96 standard errors by the "
    "jackknife over pictures; FID from 10,000 patches on"
)
CODE = ("evaluation/distribution.py", "models/inception.py")
"""Source files that compute features, relative to the package's folder."""
COLUMNS = ("codec", "setting", "images", "patches", "kid", "kid_low", "kid_high", "fid")


class SetFigures(NamedTuple):
    """A codec at one setting, on all pictures at once; None where there is too little for a figure."""

    images: int
    """Pictures that are large enough for a patch."""
    patches: int
    kid: float | None = None
    """Kernel Inception distance, unscaled. Every patch meets its own reconstruction among the pairs, as in published
    figures; below some hundred patches that makes it too small, or negative."""
    kid_low: float | None = None
    kid_high: float | None = None
    """Ends of its 95 % interval."""
    fid: float | None = None
    """Fréchet Inception distance. It has no interval: by the jackknife, a picture left out would be another 2048 x 2048
    matrix root."""


class SetRow(NamedTuple):
    """One row of `sets.csv`."""

    codec: str
    setting: str
    figures: SetFigures


class PatchFeatures:
    """The features of pictures' patches. What a cache holds is not computed again. Raises MissingWeightsError."""

    def __init__(self, cache: Cache | None = None) -> None:
        self.cache = cache or NoCache()
        self.identity = digest(PROTOCOL, weights_hash("inception"), code_digest(*CODE), f"torch {torch.__version__}")
        """A digest of all that features depend on but the pictures and the machine."""
        self.network = load_inception(weights_path("inception"))

    def __call__(self, x: Pixels) -> Features:
        """(H, W, 3) picture -> (n, 2048); no rows for a picture that is smaller than a patch."""
        picture = picture_digest(x)
        found = self.known(picture)
        if found is None:
            found = self._computed(patches_of(x))
            self.cache.put(self._key(picture), found.tobytes())
        return found

    def known(self, picture: str) -> Features | None:
        """The features of a picture of that digest; None where the cache does not hold them."""
        data = self.cache.get(self._key(picture))
        if data is None or len(data) % (4 * FEATURES):
            return None
        return np.frombuffer(data, np.float32).reshape(-1, FEATURES)

    def _computed(self, patches: Sequence[Pixels]) -> Features:
        found = [np.zeros((0, FEATURES), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(patches), BATCH):
                batch = torch.from_numpy(np.stack(patches[start : start + BATCH])).permute(0, 3, 1, 2)
                found.append(self.network((resized(batch) - 128) / 128).numpy())
        return np.concatenate(found)

    def _key(self, picture: str) -> str:
        return digest("features", self.identity, picture)


class Distance:
    """Gathers the features of originals and of their reconstructions, picture by picture; a row per patch is kept."""

    def __init__(self) -> None:
        self.originals: list[Features] = []
        self.decoded: list[Features] = []

    def add(self, original: Features, decoded: Features) -> None:
        """One picture. Raises ValueError when the numbers of patches differ."""
        if original.shape != decoded.shape:
            raise ValueError(f"features of {original.shape} and {decoded.shape}: not of one picture")
        if len(original):
            self.originals.append(original)
            self.decoded.append(decoded)

    def figures(self) -> SetFigures:
        """KID and its interval, and FID where there are patches enough."""
        images, patches = len(self.originals), sum(map(len, self.originals))
        if patches < 2:
            return SetFigures(images, patches)
        kid, low, high = kernel_distance(self.originals, self.decoded)
        fid = frechet_distance(self.originals, self.decoded) if patches >= FID_PATCHES else None
        return SetFigures(images, patches, kid, low, high, fid)


def patches_of(x: Pixels) -> list[Pixels]:
    """The patches of an (H, W, 3) picture: floor(H/256) floor(W/256), and one less each way when shifted."""
    rows, columns = x.shape[0] // PATCH, x.shape[1] // PATCH
    corners = [(row * PATCH, column * PATCH) for row in range(rows) for column in range(columns)]
    shifted = [(top + PATCH // 2, left + PATCH // 2) for top, left in corners]
    inside = [(top, left) for top, left in shifted if top // PATCH < rows - 1 and left // PATCH < columns - 1]
    return [x[top : top + PATCH, left : left + PATCH] for top, left in corners + inside]


def resized(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 255] -> (N, 3, 299, 299), bilinear between the pixels at i H / 299, as TensorFlow 1 does."""
    x = x.float()
    for axis in (2, 3):
        side = x.shape[axis]
        position = torch.arange(SIDE, dtype=torch.float32) * (side / SIDE)
        low = position.long()
        high = (low + 1).clamp(max=side - 1)
        share = (position - low).view(-1, *[1] * (3 - axis))
        first = x.index_select(axis, low)
        x = first + (x.index_select(axis, high) - first) * share
    return x


def kernel_distance(
    originals: Sequence[Features], decoded: Sequence[Features]
) -> tuple[float, float | None, float | None]:
    """KID (Binkowski et al. 2018): unbiased MMD^2 of k(a, b) = (a b / d + 1)^3 over all patches, and a 95 % interval.

    The features come picture by picture. The interval is that of the jackknife over pictures; None where fewer than two
    patches are left without one of them.
    """
    x, y = originals, decoded
    counts = np.array([len(features) for features in x])
    sums = [_kernel_sums(a, b) for a, b in ((x, x), (y, y), (x, y))]
    own = [_kernel_own(a) for a in (x, y)]
    (xx, yy, xy), (own_x, own_y) = (found.rows.sum() for found in sums), (found.sum() for found in own)
    kid = _mmd(xx, yy, xy, own_x, own_y, counts.sum())
    if counts.sum() - counts.max() < 2:  # too little is left without one picture
        return kid, None, None
    # What is left without one picture: less its row and its column, which meet in its own block.
    rest = [found.rows.sum() - found.rows - found.columns + found.within for found in sums]
    left = [diagonal.sum() - diagonal for diagonal in own]
    without = np.array([_mmd(*values) for values in zip(*rest, *left, counts.sum() - counts, strict=True)])
    pictures = len(counts)
    error = float(np.sqrt((pictures - 1) / pictures * ((without - without.mean()) ** 2).sum()))
    return kid, kid - 1.96 * error, kid + 1.96 * error


def _mmd(xx: float, yy: float, xy: float, own_x: float, own_y: float, count: int) -> float:
    return float((xx - own_x + yy - own_y) / (count * (count - 1)) - 2 * xy / count**2)


def _kernel(products: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return (products / width + 1) ** 3


class _Sums(NamedTuple):
    """The kernel of the patches of a with those of b, summed; each (pictures,)."""

    rows: NDArray[np.float64]
    """Over a picture's patches in a and all in b."""
    columns: NDArray[np.float64]
    """Over all patches in a and a picture's in b."""
    within: NDArray[np.float64]
    """Over a picture's patches in a and its own in b."""


class _Block(NamedTuple):
    """Patches one behind another."""

    rows: NDArray[np.float64]
    """(at most ROWS, d)"""
    first: int
    """The picture that the first row is of; those that follow have their rows behind it."""
    starts: NDArray[np.integer]
    """The first row of each picture."""


def _kernel_sums(a: Sequence[Features], b: Sequence[Features]) -> _Sums:
    sums = _Sums(*np.zeros((3, len(a))))
    for upper in _blocks(a):
        for lower in _blocks(b):
            kernel = _kernel(upper.rows @ lower.rows.T, upper.rows.shape[1])
            pairs = np.add.reduceat(np.add.reduceat(kernel, upper.starts, axis=0), lower.starts, axis=1)
            sums.rows[upper.first : upper.first + len(pairs)] += pairs.sum(1)
            sums.columns[lower.first : lower.first + pairs.shape[1]] += pairs.sum(0)
            own = np.diagonal(pairs, upper.first - lower.first)  # pairs of one picture with itself
            both = max(upper.first, lower.first)
            sums.within[both : both + len(own)] += own
    return sums


def _kernel_own(a: Sequence[Features]) -> NDArray[np.float64]:
    """(pictures,): the kernel of each patch with itself, summed over each picture."""
    sums = np.zeros(len(a))
    for block in _blocks(a):
        own = np.add.reduceat(_kernel((block.rows**2).sum(1), block.rows.shape[1]), block.starts)
        sums[block.first : block.first + len(own)] += own
    return sums


def _blocks(parts: Sequence[Features]) -> Iterator[_Block]:
    """All rows in float64, ROWS at once: a copy of all of them would be twice as large as they are."""
    ends = np.cumsum([len(part) for part in parts])
    for top in range(0, int(ends[-1]), ROWS):
        first, last = np.searchsorted(ends, [top, min(top + ROWS, ends[-1]) - 1], "right")
        starts = ends[first : last + 1] - [len(part) for part in parts[first : last + 1]]
        rows = np.concatenate(
            [part[max(top - start, 0) : top + ROWS - start] for part, start in zip(parts[first:], starts, strict=False)]
        )
        yield _Block(rows.astype(np.float64), int(first), np.maximum(starts - top, 0))


def frechet_distance(originals: Sequence[Features], decoded: Sequence[Features]) -> float:
    """FID (Heusel et al. 2017): |m1 - m2|^2 + tr(C1 + C2 - 2 sqrt(C1 C2)) of the features' means and covariances."""
    (m1, c1), (m2, c2) = moments(originals), moments(decoded)
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(min=0)).sum()
    return float(((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * cross)


def moments(parts: Iterable[Features]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,) and covariance (d, d) of rows that come in parts, of which one at a time is in use."""
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for part in parts:
        rows = part.astype(np.float64)
        centre = rows.mean(0)
        spread = (rows - centre).T @ (rows - centre)
        if not count:
            count, mean, scatter = len(rows), centre, spread
            continue
        total = count + len(rows)
        shift = centre - mean
        scatter += spread + np.outer(shift, shift) * (count * len(rows) / total)
        mean = mean + shift * (len(rows) / total)
        count = total
    return mean, scatter / (count - 1)


def write_sets(path: Path, rows: Iterable[SetRow]) -> None:
    """Write `sets.csv` atomically, six decimals; an empty cell for None."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            images, patches, *figures = row.figures
            cells = ["" if figure is None else f"{figure:.6f}" for figure in figures]
            writer.writerow((row.codec, row.setting, images, patches, *cells))


def read_sets(path: Path) -> list[SetRow]:
    """The rows of a `sets.csv`; none where the file is missing. Raises OSError or RatesError, which name the file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != COLUMNS:
            raise RatesError(f"{path}: expected the columns {','.join(COLUMNS)}")
        return [
            SetRow(
                codec, setting, SetFigures(int(images), int(patches), *(float(cell) if cell else None for cell in rest))
            )
            for codec, setting, images, patches, *rest in reader
        ]
