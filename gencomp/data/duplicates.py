"""Near-duplicates between two sets of pictures, such as training and evaluation: by perceptual hash.

The hash is pHash as the library ImageHash computes it: the signs of the lowest 8 x 8 coefficients of a cosine transform
of the picture at 32 x 32 pixels, beside their median. It survives reduction, JPEG and small changes of colour and
light, not crops, mirrors or turns.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.failure import DataError, Rejected
from gencomp.data.manifest import ShardManifest
from gencomp.data.photograph import EXTENSIONS, decode, orientation, upright

NEAR = 8
"""Bits of 64 in which the hashes of near-duplicates differ at most, unless told otherwise."""
PIXELS = 178 * 10**6
"""Most pixels of a picture in a folder."""
_SIDE, _KEPT = 32, 8


class Pair(NamedTuple):
    """A picture of either set, and the bits in which their hashes differ."""

    first: str
    second: str
    distance: int


class Hashes(NamedTuple):
    """The pictures of a set."""

    names: list[str]
    bits: NDArray[np.uint64]


def perceptual_hash(image: Image.Image) -> int:
    """64 bits of an RGB or grey picture, the lowest frequency first."""
    pixels = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    low = (_COSINES @ pixels @ _COSINES.T).reshape(-1)
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


def _cosines() -> NDArray[np.float64]:
    """The first rows of the cosine transform (type II), (_KEPT, _SIDE)."""
    frequency, place = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None] + 0.5
    return np.cos(np.pi / _SIDE * frequency * place)


_COSINES = _cosines()


def hashes(place: Path, split: str | None = None) -> Hashes:
    """The pictures of a folder of shards, or of one split of it, or of a folder with its subfolders. Raises
    DataError."""
    found = [(name, perceptual_hash(image)) for name, image in _pictures(place, split)]
    return Hashes([name for name, _ in found], np.array([bits for _, bits in found], np.uint64))


def near_duplicates(first: Hashes, second: Hashes, distance: int = NEAR) -> Iterator[Pair]:
    """The pairs of pictures whose hashes differ in at most `distance` bits, in the order of the first set."""
    for name, bits in zip(first.names, first.bits, strict=True):
        apart = np.bitwise_count(second.bits ^ bits)
        for index in np.flatnonzero(apart <= distance).tolist():
            yield Pair(name, second.names[index], int(apart[index]))


def _pictures(place: Path, split: str | None) -> Iterable[tuple[str, Image.Image]]:
    if (place / "manifest.json").is_file():
        return _in_shards(place, split)
    if not place.is_dir():
        raise DataError(f"{place}: no such folder")
    if split is not None:
        raise DataError(f"{place}: a folder of pictures has no splits; name the folder of the split {split}")
    return _in_folder(place)


def _in_shards(shards: Path, wanted: str | None) -> Iterator[tuple[str, Image.Image]]:
    splits = manifest.read(shards / "manifest.json", ShardManifest).splits
    if wanted is not None and wanted not in splits:
        raise DataError(f"{shards}: no split {wanted}; there are {', '.join(splits)}")
    for name, split in splits.items():
        for shard in split.shards if wanted in (None, name) else []:
            for key, files in read_samples(shards / shard.name):
                ending = next(name for name in files if f".{name}" in EXTENSIONS)
                yield f"{name}/{key}", Image.open(io.BytesIO(files[ending]))


def _in_folder(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            try:
                image = decode(path.read_bytes(), PIXELS)
            except Rejected as error:
                raise DataError(f"{path}: {error}") from None
            yield path.relative_to(folder).as_posix(), upright(image, orientation(image))
