"""A folder of one's own photographs, with label maps beside them where there are any."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gencomp.data.archive import write_zip
from gencomp.data.dataset import SPLITS, FolderSource, Split
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher
from gencomp.data.photograph import EXTENSIONS
from gencomp.data.readers import UrlReader
from gencomp.data.request import Request, Source, file_stamp, keys_of

X = TypeVar("X")
LABELS = "labels.zip"
LABEL_SUFFIX = ".labels.png"


class Folder(Source):
    """The folder as a source; an image's id is its path within it."""

    def __init__(self, source: FolderSource, fetcher: Fetcher) -> None:
        self._source = source
        self._root = Path(source.root).absolute()
        self._fetcher = fetcher

    def requests(self) -> list[Request]:
        """Every file that is named like an image, hidden ones and label maps apart."""
        if not self._root.is_dir():
            raise DataError(f"{self._root}: no such folder")
        ids = sorted(path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if self._is_image(path))
        keys = keys_of(ids)
        splits = self._splits(ids)
        return [Request(id=id, key=keys[id], split=splits[id], place=str(self._root / id)) for id in ids]

    def reader(self) -> UrlReader:
        """Reads files."""
        return UrlReader(self._fetcher)

    def stamp(self, request: Request) -> str:
        """Size and time of the file."""
        return file_stamp(Path(request.place))

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """`labels.zip`: `<key>.png` for each of these images that has a label map."""
        if self._source.classes:
            found = {request.key: self._label_path(request.id) for request in requests}
            write_labels(folder, {key: path for key, path in found.items() if path.is_file()}, Path.read_bytes)

    def _label_path(self, id: str) -> Path:
        if self._source.labels is None:
            return (self._root / id).with_suffix(LABEL_SUFFIX)
        return (Path(self._source.labels) / id).with_suffix(".png")

    def _is_image(self, path: Path) -> bool:
        inner = path.relative_to(self._root)
        hidden = any(part.startswith(".") for part in inner.parts)
        label = path.name.lower().endswith(LABEL_SUFFIX) or self._is_parallel(path)
        return path.suffix.lower() in EXTENSIONS and not hidden and not label and path.is_file()

    def _is_parallel(self, path: Path) -> bool:
        labels = self._source.labels
        return labels is not None and path.resolve().is_relative_to(Path(labels).resolve())

    def _splits(self, ids: Sequence[str]) -> dict[str, Split]:
        if any((self._root / split).is_dir() for split in SPLITS):
            return self._named_splits(ids)
        return hashed_splits(ids, self._source.validation_share)

    def _named_splits(self, ids: Sequence[str]) -> dict[str, Split]:
        tops: dict[str, Split] = {split: split for split in SPLITS}
        stray = [id for id in ids if id.partition("/")[0] not in tops]
        if stray:
            raise DataError(
                f"{self._root}: has split folders, but {stray[0]} and {len(stray) - 1} more lie outside them"
            )
        return {id: tops[id.partition("/")[0]] for id in ids}


def write_labels(folder: Path, found: Mapping[str | None, X], read: Callable[[X], bytes]) -> None:
    """`labels.zip` of the label maps found, each `<key>.png`, read one at a time."""
    named = sorted((f"{key}.png", where) for key, where in found.items())
    write_zip(folder / LABELS, ((name, read(where)) for name, where in named))


def hashed_splits(ids: Sequence[str], validation_share: float) -> dict[str, Split]:
    """`val` for ids whose hash falls into the share, `train` for the rest; at least one of each, where that can be.

    An image keeps its split when others come and go.
    """
    ranked = sorted(ids, key=_position)
    held_out = sum(_position(id) < validation_share for id in ranked)
    if 0 < validation_share < 1 and len(ids) > 1:
        held_out = min(max(held_out, 1), len(ids) - 1)
    return {id: "val" if index < held_out else "train" for index, id in enumerate(ranked)}


def _position(id: str) -> float:
    """A number in [0, 1) that depends on the id alone."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:6]) / 2**48
