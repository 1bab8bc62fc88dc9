"""Packed archives (`.tar`, `.tar.gz`): images in an order of their own, put where they can be read in any order.

An archive is read once, from its first byte to its last, and the images that are wanted go, as they come, into one tar
of the spool, in which partitions then find them. No image is ever a loose file.
"""

import functools
import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import msgspec

from gencomp.data.archive import (
    MEMBER_LIMIT,
    RATIO_FREE,
    RATIO_LIMIT,
    TOTAL_LIMIT,
    ArchiveError,
    checked_members,
    opened_tar,
    write_tar,
)
from gencomp.data.failure import DataError
from gencomp.data.fetch import CHUNK, Fetcher, local_path
from gencomp.data.forecast import amount
from gencomp.data.manifest import Part
from gencomp.data.partitions import described, finish
from gencomp.data.photograph import EXTENSIONS
from gencomp.data.readers import Member
from gencomp.data.request import file_stamp

GZIP = b"\x1f\x8b"


class SpoolRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was wanted of one archive: the tar of its images, None when it holds none of them."""

    part: Part | None
    images: int
    copy: str
    """Name of the fetched archive, which is needed no longer."""
    rejected: int = 0


def spooled(wanted: Mapping[str, Collection[str]], fetcher: Fetcher, scratch: Path) -> dict[str, Member]:
    """By id, where below `scratch` each image now lies that is in the archives; `wanted`: ids by the archive's URL.

    A remote archive is fetched whole, as every download of ours goes on where it broke, and removed once it was read;
    of an id that several archives hold, the first counts. Raises ArchiveError for an archive that is damaged or no
    honest one, DataError for one that cannot be had.
    """
    copies = scratch / "archives"
    named = {_name(url, ids): (url, ids) for url, ids in wanted.items()}
    makers = {
        name: functools.partial(spool, url, ids, fetcher, copies / _copy_name(url))
        for name, (url, ids) in named.items()
    }

    def forget(record: SpoolRecord) -> None:
        (copies / record.copy).unlink(missing_ok=True)

    def foresee(names: Sequence[str]) -> str:
        return _foreseen([named[name][0] for name in names], fetcher, scratch) if names else ""

    task = "packed images"
    records = finish(scratch / "spool", makers, SpoolRecord, task, len(makers), forget, here=True, before=foresee)
    found: dict[str, Member] = {}
    for record in records:
        if record.part is not None:
            for id, member in _listed(scratch, f"spool/{record.part.name}"):
                found.setdefault(id, member)
    return found


def spool(url: str, wanted: Collection[str], fetcher: Fetcher, copy: Path, tar: Path) -> SpoolRecord:
    """Write the wanted images of one archive into `tar`, in the archive's order; no tar when it holds none."""
    path = fetcher.local(url, copy)
    try:
        count = write_tar(tar, packed_images(path, wanted))
    except FileNotFoundError:
        raise DataError(f"{url}: no such file") from None
    except ArchiveError:
        copy.unlink(missing_ok=True)  # the next run may get a whole one
        raise
    if not count:
        tar.unlink()
    return SpoolRecord(part=described(tar, count) if count else None, images=count, copy=copy.name)


def _foreseen(urls: Sequence[str], fetcher: Fetcher, folder: Path) -> str:
    """What archives to read will take, in a line. Raises DataError when the disk cannot hold the largest to fetch."""
    sizes = {url: fetcher.size(url) or 0 for url in urls}
    unknown = sum(not size for size in sizes.values())
    total = sum(sizes.values())
    largest = max(0 if local_path(url) else size for url, size in sizes.items())
    free = shutil.disk_usage(folder).free
    if largest > free:
        problem = f"an archive of {amount(largest)} is to be fetched, and the disk of {folder} has {amount(free)} free"
        raise DataError(f"{problem}; make room")
    told = f"{amount(total)}{f' and {unknown} of unknown size' if unknown else ''}"
    return f"{len(urls)} archives to read, {told}; up to {amount(largest + 2 * total)} on disk, {amount(free)} free"


def packed_images(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Id (name without folder and extension) and content of each wanted image of an archive, gzipped or not, in turn.

    Raises ArchiveError, at the latest behind the last image: all of the archive is read, to its checksum.
    """
    seen: set[str] = set()
    with _opened(path) as (stream, tar):
        for entry in checked_members(path, tar):
            name = PurePosixPath(entry.name)
            if name.suffix.lower() not in EXTENSIONS or name.stem not in wanted:
                continue
            if name.stem in seen:
                raise ArchiveError(f"{path}: image {name.stem} occurs twice")
            seen.add(name.stem)
            stream.seek(entry.offset_data)
            data = stream.read(entry.size)
            if len(data) != entry.size:
                raise ArchiveError(f"{path}: ends within {entry.name!r}")
            yield name.stem, data
        stream.drain()


@contextmanager
def _opened(path: Path) -> Iterator[tuple["_Forward", tarfile.TarFile]]:
    with path.open("rb") as packed:
        zipped = packed.read(len(GZIP)) == GZIP
        packed.seek(0)
        try:
            with gzip.GzipFile(fileobj=packed) if zipped else packed as file:
                stream = _Forward(path, file, packed)
                with tarfile.open(fileobj=stream, mode="r:") as tar:
                    yield stream, tar
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
            raise ArchiveError(f"{path}: {error}") from None


class _Forward(io.BufferedIOBase):
    """A stream that tarfile can read: it goes forward, and back by the block that was read last.

    Raises ArchiveError when it unpacks to more than an honest archive would.
    """

    def __init__(self, path: Path, file: BinaryIO | gzip.GzipFile, packed: BinaryIO) -> None:
        self._path, self._file, self._packed = path, file, packed
        self._position = self._end = 0
        self._block = b""

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= MEMBER_LIMIT + tarfile.BLOCKSIZE:
            raise ArchiveError(f"{self._path}: a header of {size} bytes")
        back = self._end - self._position
        again = self._block[len(self._block) - back :][:size] if back else b""
        data = again + self._unpacked(size - len(again))
        self._position += len(data)
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET, /) -> int:
        assert whence == io.SEEK_SET
        if position < self._end - len(self._block):
            raise ArchiveError(f"{self._path}: a header that points backwards")
        while position > self._position and self.read(min(CHUNK, position - self._position)):
            pass
        self._position = min(position, self._end)
        return self._position

    def drain(self) -> None:
        """Read what is left."""
        while self.read(CHUNK):
            pass

    def _unpacked(self, size: int) -> bytes:
        data = self._file.read(size)
        self._end += len(data)
        self._block = (self._block + data[-tarfile.BLOCKSIZE :])[-tarfile.BLOCKSIZE :]
        if self._end > min(TOTAL_LIMIT, max(RATIO_FREE, RATIO_LIMIT * self._packed.tell())):
            raise ArchiveError(f"{self._path}: unpacks to {self._end} bytes from {self._packed.tell()}")
        return data


def _listed(scratch: Path, tar: str) -> Iterator[tuple[str, Member]]:
    with opened_tar(scratch / tar) as opened:
        for entry in checked_members(scratch / tar, opened):
            yield entry.name, Member(tar, entry.offset_data, entry.size)


def _name(url: str, wanted: Collection[str]) -> str:
    """Changes with the archive, with a local one's content, and with what is wanted of it."""
    path = local_path(url)
    listing = hashlib.sha256(msgspec.json.encode((url, file_stamp(path) if path else "")))
    for id in sorted(wanted):
        listing.update(f"\n{id}".encode())
    return listing.hexdigest()[:16]


def _copy_name(url: str) -> str:
    """The archive's own name, which errors mention, behind what tells equal names apart."""
    return f"{hashlib.sha256(url.encode()).hexdigest()[:8]}-{PurePosixPath(urlsplit(url).path).name}"
