"""Partitions: each is a pure function of its inputs, its result survives a killed stage, and none is made twice."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
from rich.console import Console
from rich.progress import track

from gencomp.data import manifest
from gencomp.data.failure import DataError
from gencomp.data.manifest import Part


class Record(Protocol):
    """What a finished partition tells about itself; `part` is None when it came out empty."""

    @property
    def part(self) -> Part | None: ...


R = TypeVar("R", bound=Record)


def part_name(index: int) -> str:
    """Name of a partition, without extension."""
    return f"part-{index:06d}"


def resume_key(*inputs: bytes) -> str:
    """Names the resume state: changes with any of the inputs and with the code of this package."""
    code = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    hashes = [hashlib.sha256(data).digest() for data in (*inputs, *code)]
    return hashlib.sha256(b"".join(hashes)).hexdigest()[:16]


def finish(folder: Path, names: Sequence[str], make: Callable[[str, Path], R], cls: type[R], task: str) -> Iterator[R]:
    """The record of each partition in turn, from `folder` where an earlier run left it, made by `make` where not.

    `make(name, tar)` writes the tar, unless it comes out empty, and returns the record. Whatever else lies in the
    folder is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder, names)
    console = Console(stderr=True)
    for name in track(names, task, console=console, disable=not sys.stderr.isatty()):
        record = _finished(folder, name, cls)
        if record is None:
            record = make(name, folder / f"{name}.tar")
            manifest.write(folder / f"{name}.json", _struct(record))
        yield record


def described(tar: Path, count: int, name: str | None = None) -> Part:
    """Name, hash and size of a finished tar with `count` samples."""
    return Part(name=name or tar.name, sha256=manifest.digest(tar), bytes=tar.stat().st_size, count=count)


def fresh(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(folder: Path, target: Path) -> None:
    """Put a complete output folder where it belongs, in place of an earlier one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    shutil.move(folder, target)


def _sweep(folder: Path, names: Sequence[str]) -> None:
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
