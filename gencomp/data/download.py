"""From a source to raw tars: every image asked for is decoded to its end, and ends in the manifest with its outcome.

The tars hold originals, or where the source says so, what a recipe makes of them: then one decoding does for both.
"""

import bisect
import functools
import hashlib
import itertools
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from gencomp.data import manifest
from gencomp.data.archive import write_tar
from gencomp.data.dataset import SPLITS, DatasetConfig, Subset, reduction
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import TRANSIENT
from gencomp.data.forecast import amount, forecast, in_tar
from gencomp.data.manifest import REFUSALS, Annotation, Part, RawItem, RawManifest, RawSidecar, tally
from gencomp.data.ordered import in_order
from gencomp.data.partitions import FEW, ItemRecord, Records, described, finish, fresh, part_name
from gencomp.data.photograph import examine
from gencomp.data.processors import processors
from gencomp.data.request import Reader, Request, Source
from gencomp.data.rows import Rows, rows
from gencomp.data.selection import Size, select
from gencomp.data.workers import at_once


class Partition(NamedTuple):
    """The requests of a partition, in a file that its worker reads."""

    listing: Path
    images: int

    def requests(self) -> list[Request]:
        """The requests, by split and id."""
        return msgspec.json.decode(self.listing.read_bytes(), type=list[Request])


class Chosen:
    """The images to ask for, by split and id, which lie on disk and can be gone through more than once."""

    def __init__(self, listing: Rows) -> None:
        self._listing = listing

    def __iter__(self) -> Iterator[Request]:
        decoder = msgspec.json.Decoder(Request)
        return (decoder.decode(row) for split in self._listing.groups() for row in self._listing.sorted(split))


class Stored(NamedTuple):
    """What is kept of an image, and the size of the file that was fetched."""

    data: bytes
    extension: str
    size: Size
    """Of what is kept: stored width and height, pixels."""
    orientation: int
    """EXIF orientation 1..8 that turns it upright."""
    fetched: Size
    """Stored width and height; upright ones of an image that was reduced."""


class RawRecord(ItemRecord[RawItem], frozen=True, kw_only=True):
    """The outcome of one partition; rejected images cannot be had or used."""


def download(
    dataset: str, config: DatasetConfig, source: Source, scratch: Path, vet: Callable[[Request], None] = lambda _: None
) -> Path:
    """Fetch a dataset into a complete folder within `scratch`, going on where an earlier run was interrupted.

    Before many images are fetched, it says what they will take. `vet` is called with what the source lists before
    anything of it is fetched. Raises DataError when the disk clearly cannot hold the images, and when more than
    `maximum_missing` of them cannot be had, as soon as that is certain; and what `vet` raises.
    """
    with rows(scratch / "requests") as listing:
        requests = chosen(_vetted(source.requests(), vet), config.subset, listing)
        run = scratch.absolute() / "runs" / _inputs_key(requests, source)
        _clear_others(run)
        partitions = partitioned(source.located(requests), config.shard_samples, fresh(run / "requests"))
    _forget_transient(run / "parts")
    asked = sum(partition.images for partition in partitions.values())

    reader = source.reader()
    makers = {name: functools.partial(fetch_partition, listed, reader, config) for name, listed in partitions.items()}
    missing = Counter[str]()

    def check(record: RawRecord) -> None:
        missing.update(item.reason for item in record.items if item.reason and item.reason not in REFUSALS)
        _check_missing(dataset, missing, asked, config.maximum_missing)

    def foresee(names: Sequence[str]) -> str | None:
        left = [partitions[name] for name in names]
        many = sum(partition.images for partition in left) > FEW
        return _foreseen(dataset, left, reader, config, run) if many else None

    task = f"download {dataset}"
    records = finish(run / "parts", makers, RawRecord, task, asked, check, before=foresee, most=config.connections)
    (run / "annotations").mkdir(exist_ok=True)
    source.save_annotations(_kept(partitions.values(), records), run / "annotations")
    return _assemble(dataset, config, records, run, fresh(scratch / "out"))


def chosen(requests: Iterable[Request], subset: Subset, listing: Rows) -> Chosen:
    """The images to ask for, put into `listing`: in each split those whose ids, with the seed, have the smallest
    hashes.

    So a larger subset holds a smaller one. A request that repeats another is the same image; raises DataError for an id
    that occurs twice with different data.
    """
    for request in requests:
        if not listing.add(request.split, request.id, msgspec.json.encode(request)):
            raise DataError(f"image id {request.id!r} is listed twice with different data")
    salt = f"{subset.seed}/" if subset.seed else ""
    for split in SPLITS:
        most = subset.most(split)
        if most is not None:
            listing.reduce(split, most, salt)
    if not listing.groups():
        raise DataError("the source lists no images")
    return Chosen(listing)


def partitioned(requests: Iterable[Request], size: int, folder: Path) -> dict[str, Partition]:
    """Requests sorted by (split, id) in partitions of at most `size`, each of one split, as files in `folder`."""
    found: dict[str, Partition] = {}
    for _, members in itertools.groupby(requests, lambda request: request.split):
        while piece := list(itertools.islice(members, size)):
            name = part_name(len(found))
            listing = folder / f"{name}.json"
            listing.write_bytes(msgspec.json.encode(piece))
            found[name] = Partition(listing, len(piece))
    return found


def fetch_partition(partition: Partition, reader: Reader, config: DatasetConfig, tar: Path) -> RawRecord:
    """Fetch and check the images of one partition into `tar`; no tar when none is usable.

    It has its share of `connections` threads, where partitions are fetched at once, which are no more than those.
    """
    threads, decoding = max(1, config.connections // at_once()), _decoding()
    items: list[RawItem] = []

    def fetch(request: Request) -> tuple[RawItem, list[tuple[str, bytes]]]:
        return _fetch_one(request, reader, config, tar.name, decoding)

    def members() -> Iterator[tuple[str, bytes]]:
        ordered = sorted(partition.requests(), key=lambda request: request.key or "")
        for item, files in in_order(fetch, ordered, threads):
            items.append(item)
            yield from files

    count = write_tar(tar, members()) // 2
    if not count:
        tar.unlink()
    return RawRecord(items=items, part=described(tar, count) if count else None)


def _vetted(requests: Iterable[Request], vet: Callable[[Request], None]) -> Iterator[Request]:
    for request in requests:
        vet(request)
        yield request


def _foreseen(dataset: str, left: Sequence[Partition], reader: Reader, config: DatasetConfig, folder: Path) -> str:
    """What the images left to fetch will take, in a line. Raises DataError when the disk clearly cannot hold them."""

    decoding = _decoding()

    def stored(request: Request) -> int:
        _, files = _fetch_one(request, reader, config, "", decoding)
        return sum(in_tar(len(data)) for _, data in files)

    ends = list(itertools.accumulate(partition.images for partition in left))

    def image(number: int) -> Request:
        index = bisect.bisect_right(ends, number)
        return left[index].requests()[number - ends[index] + left[index].images]

    found = forecast(ends[-1], image, stored, config.connections, folder)
    if not found.fits:
        raise DataError(
            f"{dataset}: {found.images:,} images take about {amount(found.bytes)}, and the disk of {folder} has "
            f"{amount(found.free)} free; make room, or ask for fewer by `subset`"
        )
    return str(found)


def _decoding() -> threading.Semaphore:
    """Bounds how many images are decoded at once, by this process' share of the processors: those of all connections
    would take each other's place in the caches."""
    return threading.Semaphore(max(1, processors() // at_once()))


def _fetch_one(
    request: Request, reader: Reader, config: DatasetConfig, part: str, decoding: threading.Semaphore
) -> tuple[RawItem, list[tuple[str, bytes]]]:
    data = b""
    try:
        if request.key is None:
            raise Rejected("bad-id")
        data = reader.read(request, config.maximum_megabytes * 10**6)
        with decoding:
            stored = _stored(request, request.key, data, config)
    except Rejected as error:
        return _item(request, data, reason=error.reason), []
    original = stored.fetched if stored.data is not data else (None, None)
    sidecar = RawSidecar(
        id=request.id,
        key=request.key,
        split=request.split,
        width=stored.size[0],
        height=stored.size[1],
        orientation=stored.orientation,
        author=request.author,
        license=request.license,
        title=request.title,
        original_width=original[0],
        original_height=original[1],
    )
    files = [(f"{request.key}.{stored.extension}", stored.data), (f"{request.key}.json", manifest.encode(sidecar))]
    return _item(request, data, stored=stored, part=part), files


def _stored(request: Request, key: str, data: bytes, config: DatasetConfig) -> Stored:
    """The original, or what the source's recipe makes of it. Raises Rejected."""
    pixels, recipe = config.maximum_megapixels * 10**6, reduction(config.source)
    if recipe:
        selected = select(recipe, key, data, "", request.orientation, pixels)
        return Stored(selected.data, selected.extension, selected.size, 1, selected.original_size)
    photograph = examine(data, pixels)
    size = photograph.width, photograph.height
    return Stored(data, photograph.extension, size, request.orientation or photograph.orientation, size)


def _item(
    request: Request,
    data: bytes,
    *,
    reason: str | None = None,
    stored: Stored | None = None,
    part: str | None = None,
) -> RawItem:
    return RawItem(
        id=request.id,
        key=request.key,
        split=request.split,
        outcome="rejected" if reason else "ok",
        reason=reason,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest() if data else None,
        width=stored.fetched[0] if stored else None,
        height=stored.fetched[1] if stored else None,
        author=request.author,
        license=request.license,
        title=request.title,
        part=part,
    )


def _inputs_key(requests: Iterable[Request], source: Source) -> str:
    listing = hashlib.sha256()
    for request in requests:
        listing.update(msgspec.json.encode((request, source.stamp(request))))
    return listing.hexdigest()[:16]


def _clear_others(run: Path) -> None:
    """Remove what a run with other inputs left."""
    for other in run.parent.glob("*"):
        if other != run:
            shutil.rmtree(other)


def _forget_transient(parts: Path) -> None:
    """Remove the outcomes of an interrupted run that another attempt may change."""
    for path in parts.glob("*.json"):
        record = manifest.read(path, RawRecord)
        if any(item.reason in TRANSIENT for item in record.items):
            path.unlink()


def _check_missing(dataset: str, missing: Counter[str], asked: int, maximum: float) -> None:
    if missing.total() > maximum * asked:
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(missing.items()))
        raise DataError(
            f"{dataset}: {missing.total()} of {asked} images cannot be used ({listed}), more than "
            f"maximum_missing = {maximum}; check the source, or raise it"
        )


def _kept(partitions: Iterable[Partition], records: Iterable[RawRecord]) -> Iterator[Request]:
    for partition, record in zip(partitions, records, strict=True):
        usable = {item.id for item in record.items if item.outcome == "ok"}
        yield from (request for request in partition.requests() if request.id in usable)


def _assemble(dataset: str, config: DatasetConfig, records: Records[RawRecord], run: Path, out: Path) -> Path:
    kept: list[Part] = []
    outcomes = Counter[str]()
    for record in records:
        outcomes.update(item.reason or "ok" for item in record.items)
        if record.part is not None:
            kept.append(record.part)
            (run / "parts" / record.part.name).rename(out / record.part.name)
    (run / "annotations").rename(out / "annotations")
    head = RawManifest(
        dataset=dataset,
        source=str(type(config.source).__struct_config__.tag),
        items=[],
        counts={"asked": outcomes.total(), **tally(outcomes.elements())},
        parts=kept,
        annotations=[
            Annotation(name=path.name, sha256=manifest.digest(path), bytes=path.stat().st_size)
            for path in sorted((out / "annotations").iterdir())
        ],
    )
    # Partitions follow each other by split and id, so that only their own items are to be sorted.
    items = (item for record in records for item in sorted(record.items, key=lambda item: item.id))
    manifest.write_rows(out / "manifest.json", head, "items", items)
    return out
