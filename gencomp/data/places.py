"""Places: local paths, and URLs of whatever fsspec knows, such as `s3://bucket/prefix`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

from gencomp.data.failure import DataError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Place = Path | str
"""A local path, or the URL of a file or folder. It carries no credentials: those are the environment's."""
BLOCK = 8 * 2**20
"""Bytes of a remote file that are asked for at once."""


def place(name: str) -> Place:
    """The place that a user names. Raises DataError for a URL with credentials or parameters in it."""
    if "://" not in name:
        return Path(name)
    parts = urlsplit(name)
    if parts.password or parts.query or parts.fragment:
        bare = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise DataError(f"{bare}: name it without password and parameters; credentials belong into the environment")
    return Path(parts.path) if parts.scheme == "file" else name.rstrip("/")


def within(folder: Place, name: str) -> Place:
    """A file of a folder."""
    return folder / name if isinstance(folder, Path) else f"{folder}/{name}"


@contextmanager
def opened(file: Place) -> Iterator[BinaryIO]:
    """A file, open for reading. Raises FileNotFoundError, and DataError for a remote place that cannot be read."""
    if isinstance(file, Path):
        with file.open("rb") as local:
            yield local
        return
    with said_of(file):
        system, path = remote(file)
        stream = system.open(path, "rb", block_size=BLOCK, cache_type="readahead")
    with stream:
        yield cast(BinaryIO, stream)


def content(file: Place) -> bytes:
    """All bytes of a file. Raises as `opened` does."""
    with opened(file) as stream:
        return stream.read()


def remote(url: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of a URL, and the path in it; listings are not kept, since others write too."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = "gencomp[s3]" if url.startswith(("s3://", "s3a://")) else "fsspec"
        raise DataError(f"{url}: {error}: pip install '{extra}'") from None
    return system, str(path)


@contextmanager
def said_of(url: str) -> Iterator[None]:
    """What goes wrong at a remote place, as a DataError of one line; a missing file stays FileNotFoundError."""
    try:
        yield
    except (DataError, FileNotFoundError):
        raise
    except Exception as error:  # every file system and its client have errors of their own
        line = (str(error).strip().splitlines() or [""])[0]
        raise DataError(f"{url}: {type(error).__name__}: {line}") from None
