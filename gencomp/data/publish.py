"""Copies a stage's finished output to any place that fsspec knows, such as an S3 bucket.

Files go one by one, each of which appears whole or not at all, `manifest.json` last: where it is, everything is. What
is under way is written down beside them, so that an interrupted copy goes on, and nothing is taken for sent because it
only has the right name and size.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.atomic import replacing
from gencomp.data.failure import DataError
from gencomp.data.manifest import Annotation, Part, ShardSplit
from gencomp.data.places import BLOCK, Place, remote, said_of
from gencomp.data.terms import reserved

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFEST, JOURNAL = "manifest.json", ".publishing.json"


class File(msgspec.Struct, frozen=True):
    """A file's content."""

    sha256: str
    bytes: int


class Journal(msgspec.Struct, frozen=True):
    """A copy under way."""

    files: dict[str, File]
    """What is to be there in the end, by name."""
    before: dict[str, File]
    """What was there of an earlier copy, until what differs is `cleared` away; from then on all files are new ones."""
    cleared: bool


class Published(NamedTuple):
    """What lies at the place now."""

    files: int
    bytes: int
    sent: int
    """Files that had to be sent, the others were there."""


class _Named(msgspec.Struct, frozen=True):
    """The files that a manifest of any stage names."""

    parts: list[Part] = []
    annotations: list[Annotation] = []
    splits: dict[str, ShardSplit] = {}

    def files(self) -> dict[str, File]:
        found = {part.name: File(part.sha256, part.bytes) for part in self.parts}
        found |= {f"annotations/{file.name}": File(file.sha256, file.bytes) for file in self.annotations}
        shards = (shard for split in self.splits.values() for shard in split.shards)
        return found | {shard.name: File(shard.sha256, shard.bytes) for shard in shards}


def publish(
    folder: Path, target: Place, tell: Callable[[str], None] = lambda _: None, *, private: bool = False
) -> Published:
    """Make `target` hold exactly the files of a stage's output folder, those of an earlier copy replaced.

    Files of other names are left alone. One copy at a time: two at once may leave a mixture. `tell` gets a line for
    each file that is sent. Raises DataError: for a folder that is not what its manifest says, a place that cannot be
    written, or, unless it is `private`, pictures that may not be passed on (Cityscapes') at a URL.
    """
    files = _described(folder)
    if not (private or isinstance(target, Path)):
        _check_terms(folder, files)
    url = target.absolute().as_uri() if isinstance(target, Path) else target
    try:
        with said_of(url):
            return _Copy(*remote(url)).run(folder, files, tell)
    except FileNotFoundError as error:  # a bucket is not made
        raise DataError(f"{url}: {error}; is there such a bucket?") from None


def _check_terms(folder: Path, files: Mapping[str, File]) -> None:
    """Raise DataError where any sample says that it may not be passed on."""
    terms: set[str] = set()
    for name in (name for name in files if name.endswith(".tar")):
        for _, members in read_samples(folder / name):
            said = (json.loads(data) for ending, data in members.items() if ending.endswith("json"))
            terms |= {str(one.get("license")) for one in said}
    if found := sorted(filter(reserved, terms)):
        raise DataError(
            f"{folder}: its pictures may not be passed on ({', '.join(found)}); say --private if nobody "
            "else can read that place"
        )


class _Copy:
    """The folder `root` of a file system."""

    def __init__(self, system: "AbstractFileSystem", root: str) -> None:
        self._system, self._root = system, root.rstrip("/")

    def run(self, folder: Path, files: Mapping[str, File], tell: Callable[[str], None]) -> Published:
        sizes = self._sizes()
        journal = msgspec.json.decode(self._read(JOURNAL), type=Journal) if JOURNAL in sizes else None
        if journal is None or journal.files != files or not journal.cleared:
            known = self._known(sizes) if journal is None else journal.files if journal.cleared else journal.before
            if journal is None and known.get(MANIFEST) == files[MANIFEST] and not _missing(files, sizes):
                return _published(files, 0)
            self._clear(sizes, files, known)
            sizes = self._sizes()
        missing = _missing(files, sizes)
        for index, name in enumerate(missing, 1):
            tell(f"{index} of {len(missing)}: {name}, {files[name].bytes:,} bytes")
            self._send(folder / name, name, files[name].bytes)
        self._remove(JOURNAL)
        return _published(files, len(missing))

    def _clear(self, sizes: Mapping[str, int], files: Mapping[str, File], known: Mapping[str, File]) -> None:
        """Remove what is not to stay, the manifest first; wherever this ends, a journal tells what was there."""
        self._write(JOURNAL, msgspec.json.encode(Journal(dict(files), dict(known), cleared=False)))
        for name in sorted(sizes.keys() & (files.keys() | known.keys()), key=lambda name: (name != MANIFEST, name)):
            if name == MANIFEST or name not in files or known.get(name) != files[name]:
                self._remove(name)
        self._write(JOURNAL, msgspec.json.encode(Journal(dict(files), {}, cleared=True)))

    def _known(self, sizes: Mapping[str, int]) -> dict[str, File]:
        """The manifest that is there, and what it names."""
        if MANIFEST not in sizes:
            return {}
        data = self._read(MANIFEST)
        own = File(hashlib.sha256(data).hexdigest(), len(data))
        try:
            return {**msgspec.json.decode(data, type=_Named).files(), MANIFEST: own}
        except msgspec.DecodeError:
            raise DataError(f"{self._root}: has a {MANIFEST} of something else; choose another place") from None

    def _sizes(self) -> dict[str, int]:
        """The files below the folder, by their names within it."""
        found = self._system.find(self._root, detail=True)
        return {name[len(self._root) + 1 :]: int(entry["size"]) for name, entry in found.items()}

    def _send(self, source: Path, name: str, size: int) -> None:
        with source.open("rb") as file:
            self._put(name, iter(lambda: file.read(BLOCK), b""))
        arrived = self._system.info(f"{self._root}/{name}")["size"]
        if arrived != size:
            raise DataError(f"{self._root}/{name}: {arrived} bytes arrived of {size}; publish again")

    def _write(self, name: str, data: bytes) -> None:
        self._put(name, iter([data]))

    def _put(self, name: str, blocks: Iterator[bytes]) -> None:
        """Write a file that appears whole or not at all."""
        path = f"{self._root}/{name}"
        if "file" in _protocols(self._system):  # fsspec's own comes from another disk
            with replacing(Path(path)) as temporary, temporary.open("wb") as out:
                out.writelines(blocks)
            return
        out = self._system.open(path, "wb", block_size=BLOCK, autocommit=False)
        try:
            out.writelines(blocks)
            out.close()
        except BaseException:
            out.discard()
            raise
        out.commit()

    def _read(self, name: str) -> bytes:
        return bytes(self._system.cat_file(f"{self._root}/{name}"))

    def _remove(self, name: str) -> None:
        self._system.rm_file(f"{self._root}/{name}")


def _missing(files: Mapping[str, File], sizes: Mapping[str, int]) -> list[str]:
    return [name for name, file in files.items() if sizes.get(name) != file.bytes]


def _published(files: Mapping[str, File], sent: int) -> Published:
    return Published(len(files), sum(file.bytes for file in files.values()), sent)


def _protocols(system: "AbstractFileSystem") -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _described(folder: Path) -> dict[str, File]:
    """The files of a stage's output, hashed, the manifest last. Raises DataError for one that is not what the manifest
    says, and for a folder that is no stage's output."""
    named = manifest.read(folder / MANIFEST, _Named).files()
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {
        path.relative_to(folder).as_posix(): File(manifest.digest(path), path.stat().st_size)
        for path in sorted(paths, key=lambda path: path == folder / MANIFEST)
    }
    wrong = [name for name, file in named.items() if found.get(name) != file]
    if wrong:
        raise DataError(f"{folder}: {wrong[0]} is not what {MANIFEST} says; run the stage again, or dvc checkout")
    return found
