"""Partitions: each is a pure function of its inputs, its result survives a killed stage, and none is made twice."""

import functools
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from gencomp.data import manifest
from gencomp.data.failure import DataError
from gencomp.data.manifest import Part
from gencomp.data.meter import meter
from gencomp.data.workers import results


class Record(Protocol):
    """What a finished partition tells about itself."""

    @property
    def part(self) -> Part | None:
        """Its tar, None when it came out empty."""

    @property
    def images(self) -> int:
        """Images that went in."""

    @property
    def rejected(self) -> int:
        """Images, or label maps, that were left out."""


class Item(Protocol):
    """What became of one image."""

    @property
    def outcome(self) -> str:
        """`rejected` where it, or its label map, was left out."""


T = TypeVar("T", bound=Item)


class ItemRecord(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """The record of a partition that tells the outcome of each of its images."""

    items: list[T]
    part: Part | None

    @property
    def images(self) -> int:
        """Images of the partition."""
        return len(self.items)

    @property
    def rejected(self) -> int:
        """How many of their outcomes are `rejected`."""
        return sum(item.outcome == "rejected" for item in self.items)


R = TypeVar("R", bound=Record)


class Records(Generic[R]):
    """The records of finished partitions, in order; each is read from its file whenever its turn comes."""

    def __init__(self, folder: Path, names: Sequence[str], cls: type[R]) -> None:
        self._folder, self._names, self._cls = folder, names, cls

    def __iter__(self) -> Iterator[R]:
        return (manifest.read(self._folder / f"{name}.json", self._cls) for name in self._names)


class _Work(Mapping[str, Callable[[], R]]):
    """The making of the partitions that are left: a partition is looked up when its turn comes."""

    def __init__(self, folder: Path, partitions: Mapping[str, Callable[[Path], R]], left: Sequence[str]) -> None:
        self._folder, self._partitions, self._left = folder, partitions, left

    def __getitem__(self, name: str) -> Callable[[], R]:
        return functools.partial(_made, self._partitions[name], self._folder, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._left)

    def __len__(self) -> int:
        return len(self._left)


FEW = 100
"""Images that are done before workers have started."""


def part_name(index: int) -> str:
    """Name of a partition, without extension."""
    return f"part-{index:06d}"


def resume_key(*inputs: bytes) -> str:
    """Names the resume state: changes with any of the inputs and with the code of this package."""
    code = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    hashes = [hashlib.sha256(data).digest() for data in (*inputs, *code)]
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:16]


def finish(
    folder: Path,
    partitions: Mapping[str, Callable[[Path], R]],
    cls: type[R],
    task: str,
    images: int,
    each: Callable[[R], None] = lambda _: None,
    here: bool = False,
    before: Callable[[Sequence[str]], str | None] = lambda _: None,
    most: int | None = None,
) -> Records[R]:
    """The record of each partition, from `folder` where an earlier run left it, made now by workers where not.

    A partition is a function of the tar that it writes, unless it comes out empty, and returns its record; it can be
    pickled, and equal ones write equal bytes. `images`: how many there are in all; few are worth no workers. `each` is
    called with every record, as they come. `here`: in this process, one after the other. `most`: how many are made at
    once at most. `before` is called with the names of the partitions that are to be made, and what it returns is said.
    Whatever else lies in the folder is removed. A partition is looked up when its turn comes, and no record is kept but
    on disk. Raises what a partition, `each` or `before` raises, and DataError.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, partitions)
    left = []
    for name in partitions:
        found = _finished(folder, name, cls)
        if found is None:
            left.append(name)
        else:
            each(found)
    foreseen = before(left)
    work = _Work(folder, partitions, left)
    with meter(task, len(partitions), len(partitions) - len(left)) as tell:
        if foreseen:
            tell.say(foreseen)
        for _, record in results(work, folder.parent, tell.say, here=here or images <= FEW, most=most):
            tell.add(record.images, record.rejected, record.part.bytes if record.part else 0)
            each(record)
    return Records(folder, list(partitions), cls)


def _made(make: Callable[[Path], R], folder: Path, name: str) -> R:
    record = make(folder / f"{name}.tar")
    manifest.write(folder / f"{name}.json", _struct(record))
    return record


def described(tar: Path, count: int, name: str | None = None) -> Part:
    """Name, hash and size of a finished tar with `count` samples."""
    return Part(name=name or tar.name, sha256=manifest.digest(tar), bytes=tar.stat().st_size, count=count)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(folder: Path, target: Path) -> None:
    """Put a complete output folder where it belongs, in place of an earlier one. It appears complete or not at all,
    also on another disk. Raises DataError where it does not fit there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    arriving = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(arriving, ignore_errors=True)
    try:
        shutil.move(folder, arriving)
    except OSError as error:
        shutil.rmtree(arriving, ignore_errors=True)
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error  # what the first file met
        raise DataError(f"{target}: {reason}") from None
    if target.exists():
        shutil.rmtree(target)
    arriving.rename(target)


def _sweep(folder: Path, names: Iterable[str]) -> None:
    expected = {f"{name}{suffix}" for name in names for suffix in (".tar", ".json")}
    for path in folder.iterdir():
        if path.name not in expected:
            path.unlink()


def _finished(folder: Path, name: str, cls: type[R]) -> R | None:
    try:
        record = manifest.read(folder / f"{name}.json", cls)
    except DataError:
        return None
    if record.part is None:
        return record
    tar = folder / f"{name}.tar"
    return record if tar.is_file() and manifest.digest(tar) == record.part.sha256 else None


def _struct(record: Record) -> msgspec.Struct:
    assert isinstance(record, msgspec.Struct)
    return record
