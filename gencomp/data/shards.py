"""From raw tars and label maps to training shards, with a manifest that accounts for every image asked for."""

import functools
import heapq
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples, write_tar
from gencomp.data.dataset import SelectionConfig, Split
from gencomp.data.failure import Rejected
from gencomp.data.manifest import (
    LabelManifest,
    LabelNetwork,
    Part,
    RawItem,
    RawManifest,
    RawSidecar,
    Reject,
    ShardCounts,
    ShardFile,
    ShardManifest,
    ShardSidecar,
    ShardSplit,
    tally,
)
from gencomp.data.partitions import described, finish, fresh
from gencomp.data.selection import Selected, Tile, select, tiles
from gencomp.data.semantics import png, resize_edges, resize_labels
from gencomp.data.terms import reserved


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one partition: a shard of `split`, with `kept` images and `labelled` label maps, and what is not
    in it; `reserved` where the licence of an image that is forbids passing it on."""

    split: Split
    rejects: list[Reject]
    kept: int
    labelled: int
    reserved: bool
    part: Part | None

    @property
    def images(self) -> int:
        """Images of the partition."""
        return self.kept + len(self.rejects)

    @property
    def rejected(self) -> int:
        """Images that the selection left out."""
        return len(self.rejects)


def write_shards(
    dataset: str, raw: Path, semantics: Path, selection: SelectionConfig, maximum_pixels: int, scratch: Path
) -> Path:
    """Make the shards of a dataset in a complete folder within `scratch`, going on where an earlier run was killed."""
    source = manifest.read_head(raw / "manifest.json", RawManifest, "items")
    labels = manifest.read_head(semantics / "manifest.json", LabelManifest, "items")

    raw, semantics = raw.absolute(), semantics.absolute()
    makers = {
        Path(part.name).stem: functools.partial(
            shard_partition, raw / part.name, semantics / part.name, selection, maximum_pixels
        )
        for part in source.parts
    }
    records = finish(
        scratch / "parts", makers, ShardRecord, f"shard {dataset}", sum(part.count for part in source.parts)
    )
    out = fresh(scratch / "out")
    items = raw / "manifest.json"
    splits: set[Split] = set()
    reasons = Counter[str]()
    for item in manifest.read_rows(items, RawItem, "items"):
        splits.add(item.split)
        reasons.update([item.reason] if item.reason else [])
    kept = labelled = 0
    private = False
    for record in records:
        kept, labelled = kept + record.kept, labelled + record.labelled
        private = private or record.reserved
        reasons.update(reject.reason for reject in record.rejects)
    head = ShardManifest(
        dataset=dataset,
        recipe=str(type(selection).__struct_config__.tag),
        classes=labels.classes,
        splits={split: _collect(split, records, scratch / "parts", out) for split in sorted(splits)},
        rejects=[],
        counts=ShardCounts(
            asked=source.counts["asked"], kept=kept, labelled=labelled, rejected=tally(reasons.elements())
        ),
        reserved=private,
    )
    manifest.write_rows(out / "manifest.json", head, "rejects", _rejects(items, records))
    return out


def _rejects(raw: Path, records: Iterable[ShardRecord]) -> Iterable[Reject]:
    """What the download and the selection left out, by split and id, in which order either leaves it already."""
    items = manifest.read_rows(raw, RawItem, "items")
    carried = (_carried(item) for item in items if item.outcome == "rejected")
    selected = (reject for record in records for reject in sorted(record.rejects, key=lambda reject: reject.id))
    return heapq.merge(carried, selected, key=lambda reject: (reject.split, reject.id))


def shard_partition(
    raw: Path, semantics: Path, selection: SelectionConfig, maximum_pixels: int, tar: Path
) -> ShardRecord:
    """Apply the recipe to the images of one raw tar; label and edge maps follow the size of their image.

    `semantics` need not exist. No tar when nothing is kept. Both tars are read in step, so that one image and its maps
    are in memory, however many there are.
    """
    rejects: list[Reject] = []
    splits: set[Split] = set()
    kept = labelled = samples = 0
    private = False

    def members() -> Iterator[tuple[str, bytes]]:
        nonlocal kept, labelled, samples, private
        for key, files, maps in _in_step(raw, semantics):
            sidecar = msgspec.json.decode(files.pop("json"), type=RawSidecar)
            splits.add(sidecar.split)
            extension, data = files.popitem()
            try:
                selected = select(selection, key, data, extension, sidecar.orientation, maximum_pixels)
            except Rejected as error:
                rejects.append(Reject(id=sidecar.id, key=key, split=sidecar.split, reason=error.reason))
                continue
            kept, labelled = kept + 1, labelled + (maps is not None)
            private = private or reserved(sidecar.license)
            resized, network = _resized_maps(key, maps, selected), _network(maps)
            for tile in tiles(selection, key, selected):
                samples += 1
                yield f"{tile.key}.{tile.extension}", tile.data
                for name, pixels in resized.items():
                    left, upper, right, lower = tile.box
                    yield f"{tile.key}.{name}", png(pixels[upper:lower, left:right])
                yield f"{tile.key}.json", manifest.encode(_sidecar(sidecar, selected, tile, network))

    write_tar(tar, members())
    if not samples:
        tar.unlink()
    part = described(tar, samples) if samples else None
    return ShardRecord(split=splits.pop(), rejects=rejects, kept=kept, labelled=labelled, reserved=private, part=part)


def _in_step(raw: Path, semantics: Path) -> Iterator[tuple[str, dict[str, bytes], dict[str, bytes] | None]]:
    """Key, files and maps of each raw image. Maps lie in the order of their images, some of which have none."""
    maps = read_samples(semantics) if semantics.exists() else iter(())
    following = next(maps, None)
    for key, files in read_samples(raw):
        if following is None or following[0] != key:
            yield key, files, None
            continue
        yield key, files, following[1]
        following = next(maps, None)
    assert following is None, f"{semantics}: {following[0]} is no image of {raw}, or in another order"


def _resized_maps(key: str, maps: dict[str, bytes] | None, selected: Selected) -> dict[str, NDArray[np.integer]]:
    if maps is None:
        return {}
    labels = Image.open(io.BytesIO(maps["labels.png"]))
    edges = Image.open(io.BytesIO(maps["edges.png"]))
    assert labels.size == edges.size == selected.original_size, f"{key}: label map of another size than its image"
    return {
        "labels.png": np.asarray(resize_labels(labels, selected.size)),
        "edges.png": resize_edges(np.asarray(edges), selected.size),
    }


def _network(maps: dict[str, bytes] | None) -> LabelNetwork | None:
    """What drew the maps, None for annotations and where there are none."""
    return msgspec.json.decode(maps["json"], type=LabelNetwork) if maps and "json" in maps else None


def _sidecar(raw: RawSidecar, selected: Selected, tile: Tile, network: LabelNetwork | None) -> ShardSidecar:
    left, upper, right, lower = tile.box
    return ShardSidecar(
        key=tile.key,
        split=raw.split,
        width=right - left,
        height=lower - upper,
        original_width=raw.original_width or selected.original_size[0],
        original_height=raw.original_height or selected.original_size[1],
        author=raw.author,
        license=raw.license,
        title=raw.title,
        id=raw.id,
        labels_by=network,
    )


def _collect(split: Split, records: Iterable[ShardRecord], parts: Path, out: Path) -> ShardSplit:
    """Move the shards of a split to `out`, numbered without gaps."""
    shards: list[ShardFile] = []
    for record in records:
        if record.split == split and record.part is not None:
            name = f"{split}-{len(shards):06d}.tar"
            (parts / record.part.name).rename(out / name)
            part = record.part
            shards.append(ShardFile(name=name, sha256=part.sha256, bytes=part.bytes, samples=part.count))
    return ShardSplit(samples=sum(shard.samples for shard in shards), shards=shards)


def _carried(item: RawItem) -> Reject:
    assert item.reason is not None
    return Reject(id=item.id, key=item.key, split=item.split, reason=item.reason)
