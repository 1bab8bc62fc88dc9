"""The manifests: every id asked for with its outcome, every file with its hash. Stable JSON, no paths, no dates."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from gencomp.data.atomic import replacing
from gencomp.data.dataset import Split
from gencomp.data.failure import DataError
from gencomp.data.places import Place, content

T = TypeVar("T")


REFUSALS = frozenset({"too-small", "greyscale", "not-rgb", "saturated", "bright"})
"""Why a recipe leaves an image out that can be decoded; all other reasons are those of the download."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tar of a stage's output; `count` samples."""

    name: str
    sha256: str
    bytes: int
    count: int


class Annotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One annotation file, kept as it was fetched."""

    name: str
    sha256: str
    bytes: int


class RawItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One image that was asked for; a rejected one has a `reason` and no `part`. Bytes, SHA-256, width and height are
    those of the file that was fetched, in stored pixels; upright ones where only a reduced copy is kept."""

    id: str
    key: str | None
    split: Split
    outcome: Literal["ok", "rejected"]
    reason: str | None
    bytes: int
    sha256: str | None
    width: int | None
    height: int | None
    author: str | None
    license: str | None
    title: str | None
    part: str | None


class RawManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `download` got, sorted by (split, id)."""

    dataset: str
    source: str
    items: list[RawItem]
    counts: dict[str, int]
    parts: list[Part]
    annotations: list[Annotation]


class RawSidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The `<key>.json` beside a raw image; `orientation` is the EXIF code 1..8 that turns the pixels upright. Original
    sizes are there where the image is a reduced copy, and those of the upright original, pixels."""

    id: str
    key: str
    split: Split
    width: int
    height: int
    orientation: int
    author: str | None
    license: str | None
    title: str | None
    original_width: int | None = None
    original_height: int | None = None


class LabelClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A label id and its name; `color` is RGB, where the source defines one."""

    id: int
    name: str
    color: tuple[int, int, int] | None = None


class ClassTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The label ids 0 .. n-1 of a dataset, and the id of unlabelled pixels, where there is one."""

    classes: list[LabelClass]
    ignore: int | None = None


class LabelNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The segmentation network that drew a label map: the name of its file, and the file's SHA-256."""

    name: str
    sha256: str


class LabelItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The label map of one image, `pseudo-labelled` where a network drew it; `lost` annotated objects were absent or
    unreadable."""

    key: str
    split: Split
    outcome: Literal["labelled", "pseudo-labelled", "unlabelled", "rejected"]
    reason: str | None = None
    objects: int = 0
    lost: int = 0
    part: str | None = None


class LabelManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What `semantics` made, sorted by (split, key); `network` is there where one was named."""

    dataset: str
    classes: int
    items: list[LabelItem]
    counts: dict[str, int]
    parts: list[Part]
    network: LabelNetwork | None = None


class ShardSidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The `<key>.json` of a training sample; original sizes are those of the upright original, pixels. `labels_by` is
    there where a network drew the label map."""

    key: str
    split: Split
    width: int
    height: int
    original_width: int
    original_height: int
    author: str | None
    license: str | None
    title: str | None
    id: str
    labels_by: LabelNetwork | None = None


class ShardFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One training shard."""

    name: str
    sha256: str
    bytes: int
    samples: int


class ShardSplit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shards of one split."""

    samples: int
    shards: list[ShardFile]


class Reject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image asked for that is in no shard."""

    id: str
    key: str | None
    split: Split
    reason: str


class ShardCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Images: asked = kept + the sum over `rejected`, by reason; `labelled` of the kept have a label map. With `tile`,
    there are more samples than images kept."""

    asked: int
    kept: int
    labelled: int
    rejected: dict[str, int]


class ShardManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What `shard` kept and why not the rest; `classes` is 0 without label maps; `reserved` is there, and true, where
    the licence of a sample forbids passing it on."""

    dataset: str
    recipe: str
    classes: int
    splits: dict[Split, ShardSplit]
    rejects: list[Reject]
    counts: ShardCounts
    reserved: bool = False


def tally(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, by name."""
    return dict(sorted(Counter(values).items()))


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises DataError when it is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage before this one") from None


def encode(value: msgspec.Struct) -> bytes:
    """Stable JSON: sorted keys, indented, one line end at the end."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n"


def write(path: Path, value: msgspec.Struct) -> None:
    """Write stable JSON, atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(encode(value))


def write_rows(path: Path, value: msgspec.Struct, field: str, rows: Iterable[msgspec.Struct]) -> None:
    """Write what `write` would write if the list `field` of `value`, which is empty, held the rows. They are taken one
    at a time, and the file appears atomically."""
    before, empty, after = encode(value).partition(f'\n "{field}": []'.encode())
    assert empty, f"{field} is no empty list"
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(before + empty[:-1])
        end = b"]"
        for row in rows:
            file.write((b"\n  " if end == b"]" else b",\n  ") + encode(row)[:-1].replace(b"\n", b"\n  "))
            end = b"\n ]"
        file.write(end + after)


def read_head(path: Path, cls: type[T], field: str) -> T:
    """What `read` reads, but the list `field` is empty: as much memory as a manifest without its rows takes."""
    try:
        return msgspec.json.decode(b"".join(line for line, inside in _lines(path, field) if not inside), type=cls)
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from None


def read_rows(path: Path, cls: type[T], field: str) -> Iterator[T]:
    """The rows of the list `field` of JSON written by `write`, one at a time. Raises as `read` does."""
    decoder, row = msgspec.json.Decoder(cls), b""
    try:
        for line, inside in _lines(path, field):
            row = row + line if inside else b""
            if inside and line.rstrip(b",\n") == b"  }":
                yield decoder.decode(row.rstrip(b",\n"))
                row = b""
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from None


def _lines(path: Path, field: str) -> Iterator[tuple[bytes, bool]]:
    """The lines of stable JSON, and whether each lies within the list `field`."""
    inside = False
    try:
        with path.open("rb") as file:
            for line in file:
                inside = inside and line[:2] != b" ]"
                yield line, inside
                inside = inside or line == f' "{field}": [\n'.encode()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage before this one") from None


def read(path: Place, cls: type[T]) -> T:
    """Read JSON written by `write`. Raises DataError when it is missing or does not fit."""
    try:
        return msgspec.json.decode(content(path), type=cls)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run the stage before this one") from None
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: {error}") from None
