"""What a source is asked for, and what a source is."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from gencomp.data.dataset import Split

KEY = re.compile(r"[A-Za-z0-9_-]+")
"""Keys have no dots: WebDataset ends them at the first one."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One image to fetch. `place` is its URL, path or archive member; what the source knows of it travels along."""

    id: str
    key: str | None
    split: Split
    place: str
    length: int | None = None
    md5: str | None = None
    orientation: int | None = None
    author: str | None = None
    license: str | None = None
    title: str | None = None


class Reader(Protocol):
    """Fetches the images of a source, from any process: it can be pickled, however many images there are."""

    def read(self, request: Request, limit: int) -> bytes:
        """The original bytes of an image, at most `limit`. Raises Rejected."""


class Source(Protocol):
    """A place that images and annotations come from; sources derive from it."""

    def requests(self) -> Iterable[Request]:
        """Every image of the source; one may occur again. Raises DataError when its list cannot be had."""

    def located(self, requests: Iterable[Request]) -> Iterable[Request]:
        """The requests, which can be gone through more than once, with places that `reader` can read in any order: as
        they are, or where images that come in an order of their own were put aside. Raises DataError."""
        return requests

    def reader(self) -> Reader:
        """What fetches the images."""

    def stamp(self, request: Request) -> str:
        """Changes when a local file is replaced, so that an interrupted download does not mix old and new."""

    def save_annotations(self, requests: Iterable[Request], folder: Path) -> None:
        """Write the annotation files that belong to these images into `folder`. Raises DataError."""


def file_stamp(path: Path) -> str:
    """Size and modification time of a file, empty where there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def keys_of(ids: Iterable[str]) -> dict[str, str]:
    """A key for each id: the id itself where it can be one; otherwise, and where two would meet, with part of its hash.

    Keys that differ only in case count as meeting, since they become file names.
    """
    slugs = {id: re.sub(r"[^A-Za-z0-9_-]+", "-", id) for id in ids}
    shared = Counter(slug.lower() for slug in slugs.values())
    return {
        id: slug if shared[slug.lower()] == 1 else f"{slug}-{hashlib.sha256(id.encode()).hexdigest()[:12]}"
        for id, slug in slugs.items()
    }
