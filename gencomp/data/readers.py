"""What fetches the images of a source: from URLs and paths, out of a zip, out of tars."""

import threading
from pathlib import Path
from typing import NamedTuple

from gencomp.data.archive import ZipReader
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher, check_known
from gencomp.data.request import Request


class UrlReader(NamedTuple):
    """Images at URLs or local paths; one whose place is empty is missing."""

    fetcher: Fetcher

    def read(self, request: Request, limit: int) -> bytes:
        if not request.place:
            raise Rejected("missing")
        return self.fetcher.read(request.place, limit, length=request.length, md5=request.md5)


class ZipImages:
    """Images that are members of one zip, which is opened for the first of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: ZipReader | None = None
        self._opening = threading.Lock()

    def __reduce__(self) -> tuple[type["ZipImages"], tuple[Path]]:
        return ZipImages, (self._path,)

    def read(self, request: Request, limit: int) -> bytes:
        if not request.place:
            raise Rejected("missing")
        with self._opening:
            if self._zip is None:
                self._zip = ZipReader(self._path)
        try:
            data = self._zip.read(request.place)
        except DataError as error:
            raise Rejected("corrupt", str(error)) from None
        if len(data) > limit:
            raise Rejected("too-large", f"{len(data)} bytes")
        return data


class Member(NamedTuple):
    """A file within a tar: where its bytes lie."""

    tar: str
    """Path below the root."""
    offset: int
    size: int

    @property
    def place(self) -> str:
        """The member in a request."""
        return f"{self.offset}+{self.size} {self.tar}"

    @classmethod
    def at(cls, place: str) -> "Member":
        """The member that a request means."""
        span, _, tar = place.partition(" ")
        offset, _, size = span.partition("+")
        return cls(tar, int(offset), int(size))

    def read(self, root: Path) -> bytes:
        with (root / self.tar).open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise Rejected("wrong-length", f"{self.tar} ends within a member")
        return data


class TarImages(NamedTuple):
    """Images that are members of the tars below a folder, read in place; one whose place is empty is missing."""

    root: Path

    def read(self, request: Request, limit: int) -> bytes:
        if not request.place:
            raise Rejected("missing")
        member = Member.at(request.place)
        if member.size > limit:
            raise Rejected("too-large", f"{member.size} bytes, above {limit}")
        data = member.read(self.root)
        check_known(data, request.length, request.md5)
        return data
