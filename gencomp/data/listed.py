"""Standard sets such as RAISE1K and CLIC: a list of images, and the folder or URL that they lie under."""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from gencomp.data.dataset import ListSource, Split
from gencomp.data.failure import DataError
from gencomp.data.fetch import Fetcher, local_path
from gencomp.data.folder import hashed_splits
from gencomp.data.lists import filled, named_split, read_table
from gencomp.data.readers import UrlReader
from gencomp.data.request import Request, Source, file_stamp, keys_of

NAME = "{name}"


class Line(NamedTuple):
    """An image of the list, and its split where the list tells."""

    entry: str
    split: Split | None


class Listed(Source):
    """The list as a source; an image's id is what the list calls it, a file name or a URL."""

    def __init__(self, source: ListSource, fetcher: Fetcher, scratch: Path) -> None:
        self._source = source
        self._fetcher = fetcher
        self._scratch = scratch

    def requests(self) -> list[Request]:
        """Every image of the list; a line that repeats another is the same image. A name that leads out of the folder,
        or a URL of another kind than `http(s)://`, is no key."""
        path = self._fetcher.local(self._source.list, self._scratch / "list")
        lines = list(dict.fromkeys(self._rows(path) if self._source.column else self._lines(path)))
        ids = list(dict.fromkeys(line.entry for line in lines))
        keys, drawn = keys_of(ids), hashed_splits(ids, self._source.validation_share)
        return [
            Request(
                id=entry,
                key=keys[entry] if _safe(entry) else None,
                split=split or drawn[entry],
                place=self._place(entry),
                license=self._source.license,
            )
            for entry, split in lines
        ]

    def reader(self) -> UrlReader:
        """Reads files and URLs."""
        return UrlReader(self._fetcher)

    def stamp(self, request: Request) -> str:
        """Size and time of a local file."""
        path = local_path(request.place) if request.key and request.place else None
        return file_stamp(path) if path else ""

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """None: a list has no label maps."""

    def _rows(self, path: Path) -> Iterator[Line]:
        column, split = self._source.column, self._source.split_column
        for row in read_table(path, self._source.list, required=[column, *([split] if split else [])]):
            yield Line(row[column], named_split(row[split], self._source.list) if split else None)

    def _lines(self, path: Path) -> Iterator[Line]:
        try:
            text = path.read_text(encoding="utf-8-sig", errors="replace")  # whatever its line ends
        except FileNotFoundError:
            raise DataError(f"{self._source.list}: no such file") from None
        yield from (Line(line.strip(), None) for line in text.split("\n") if line.strip())

    def _place(self, entry: str) -> str:
        if "://" in entry:
            return entry
        images = self._source.images
        if not images:
            return ""
        name = quote(entry) if "://" in images else entry
        return filled(images, name=name) if NAME in images else f"{images.rstrip('/')}/{name}"


def _safe(entry: str) -> bool:
    if "://" in entry:
        return urlsplit(entry).scheme in ("http", "https")
    return not entry.startswith("/") and ".." not in PurePosixPath(entry).parts and "\0" not in entry
