"""Deterministic tars and zips, and safe reading of archives that others made.

Nothing is ever unpacked to disk: members are read into memory, one at a time, under a size limit.
"""

import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath

from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError
from gencomp.data.places import Place, opened

MEMBER_LIMIT = 256_000_000
"""Most bytes of one member, unpacked."""
TOTAL_LIMIT = 256_000_000_000
"""Most bytes of all members of a zip, unpacked."""
RATIO_LIMIT = 200
"""Most bytes unpacked per byte packed, for members above RATIO_FREE."""
RATIO_FREE = 1_000_000
"""Members up to this many bytes unpacked may have any ratio."""


PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""A member's name that leads nowhere, as those of our own tars."""


class ArchiveError(DataError):
    """An archive that is damaged, or that no honest tool would have written."""


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> int:
    """Write members in the given order, without owner or time: equal members give equal bytes. Returns their number."""
    seen: set[str] = set()
    with replacing(path) as temporary, _new_tar(temporary) as tar:
        for name, data in members:
            _check_name(path, name, seen)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mtime = 0
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them
    return len(seen)


def _new_tar(path: Path) -> tarfile.TarFile:
    # Members lie in memory; tarfile would copy them by 16 KiB.
    return tarfile.TarFile(path, "w", format=tarfile.PAX_FORMAT, copybufsize=MEMBER_LIMIT)


def read_tar(path: Place) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member in turn. Raises ArchiveError for anything but plain, safely named files."""
    with opened_tar(path) as tar:
        for entry in checked_members(path, tar):
            assert tar.fileobj is not None
            tar.fileobj.seek(entry.offset_data)
            data = tar.fileobj.read(entry.size)
            if len(data) != entry.size:
                raise ArchiveError(f"{path}: ends within {entry.name!r}")
            yield entry.name, data


@contextmanager
def opened_tar(path: Place) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar, open for reading. What is wrong with it is an ArchiveError, in the block too."""
    try:
        with opened(path) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            yield tar
    except tarfile.TarError as error:
        raise ArchiveError(f"{path}: {error}") from None


def checked_members(path: Place, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar in turn, folders left out. Raises ArchiveError for anything but plain, safely named files
    of at most MEMBER_LIMIT bytes, each named once."""
    seen: set[str] = set()
    for entry in tar:
        tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them
        if entry.isdir():
            continue
        _check_name(path, entry.name, seen)
        if not entry.isreg() or entry.issparse():
            raise ArchiveError(f"{path}: member {entry.name!r} is no plain file")
        if entry.size > MEMBER_LIMIT:
            raise ArchiveError(f"{path}: member {entry.name!r} has {entry.size} bytes, above {MEMBER_LIMIT}")
        yield entry
    # tarfile takes a damaged header for the end.
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise ArchiveError(f"{path}: damaged behind member {len(seen)}")


def read_samples(path: Place) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and `{extension: content}` of each run of members with the same key (the name up to its first dot)."""
    for key, members in groupby(read_tar(path), lambda member: member[0].partition(".")[0]):
        yield key, {name.partition(".")[2]: data for name, data in members}


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write members in the given order, uncompressed, without time: equal members give equal bytes."""
    seen: set[str] = set()
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            _check_name(path, name, seen)
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)


class ZipReader:
    """A zip whose whole directory was found harmless before the first member is read.

    Raises ArchiveError for absolute names, `..`, links and other special files, duplicate names, encryption, and
    members, totals or ratios above the limits.
    """

    def __init__(self, path: Path, *, member_limit: int = MEMBER_LIMIT, total_limit: int = TOTAL_LIMIT) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise ArchiveError(f"{path}: {error}") from None
        try:
            self._members = dict(self._checked(member_limit, total_limit))
        except ArchiveError:
            self._zip.close()
            raise

    def __enter__(self) -> "ZipReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    @property
    def names(self) -> list[str]:
        """Names of the files, in the archive's order."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """Content of one member. Raises KeyError when there is none, ArchiveError when it is damaged."""
        entry = self._members[name]
        try:
            with self._zip.open(entry) as file:
                data = file.read(entry.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, OSError) as error:
            raise ArchiveError(f"{self._path}: member {name!r}: {error}") from None
        if len(data) != entry.file_size:
            raise ArchiveError(f"{self._path}: member {name!r} has not the size that the directory states")
        return data

    def _checked(self, member_limit: int, total_limit: int) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        seen: set[str] = set()
        total = 0
        for entry in self._zip.infolist():
            if entry.is_dir() and not entry.file_size:
                continue
            _check_name(self._path, entry.orig_filename, seen)
            total += entry.file_size
            problem = _danger(entry, member_limit)
            if total > total_limit:
                problem = f"brings the total above {total_limit} bytes"
            if problem:
                raise ArchiveError(f"{self._path}: member {entry.filename!r} {problem}")
            yield entry.filename, entry


def _danger(entry: zipfile.ZipInfo, member_limit: int) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is no plain file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.file_size > member_limit:
        return f"has {entry.file_size} bytes, above {member_limit}"
    if entry.file_size > max(RATIO_FREE, RATIO_LIMIT * entry.compress_size):
        return f"unpacks to {entry.file_size} bytes from {entry.compress_size}"
    return None


def _check_name(path: Place, name: str, seen: set[str]) -> None:
    normal = name if PLAIN_NAME.fullmatch(name) else _checked_path(path, name)
    if normal in seen:
        raise ArchiveError(f"{path}: member name {name!r} occurs twice")
    seen.add(normal)


def _checked_path(path: Place, name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or any(c in name for c in "\\:\0"):
        raise ArchiveError(f"{path}: member name {name!r} leads out of the archive's folder")
    return "/".join(parts)
