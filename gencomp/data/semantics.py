"""From annotations to one label map and one instance-edge map per image, both upright and as large as the image."""

import functools
import io
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples, write_tar
from gencomp.data.failure import Rejected
from gencomp.data.labelmap import Annotations, Labeller, NoLabels, Segmentation
from gencomp.data.manifest import (
    ClassTable,
    LabelItem,
    LabelManifest,
    Part,
    RawItem,
    RawManifest,
    RawSidecar,
    tally,
)
from gencomp.data.partitions import ItemRecord, described, finish, fresh
from gencomp.data.rows import Rows, rows

EDGE = 255
"""Value of an edge in an edge map."""


class LabelRecord(ItemRecord[LabelItem], frozen=True, kw_only=True):
    """The outcome of one partition; rejected label maps cannot be used."""


def write_semantics(
    dataset: str, raw: Path, annotations: Annotations | None, scratch: Path, segmentation: Segmentation | None = None
) -> Path:
    """Make the label maps of the images in `raw`, in a complete folder within `scratch`: from annotations where there
    are any, and from the segmentation where there are none. With neither there are no maps."""
    source = manifest.read_head(raw / "manifest.json", RawManifest, "items")
    drawn = annotations or segmentation
    table = drawn.table if drawn else ClassTable(classes=[])
    records: Iterable[LabelRecord]
    if drawn is None:
        records = (_unlabelled(items) for _, items in _by_part(raw))
    else:
        makers = _Makers(raw, annotations, segmentation, table, fresh(scratch / "items"))
        images = sum(part.count for part in source.parts)
        records = finish(scratch / "parts", makers, LabelRecord, f"semantics {dataset}", images)
    with rows(scratch / "rows") as listing:
        return _assemble(dataset, records, table, segmentation, scratch, listing)


def _by_part(raw: Path) -> Iterator[tuple[str, list[RawItem]]]:
    """The usable images of each raw tar, which follow each other in the manifest, by its name."""
    items = manifest.read_rows(raw / "manifest.json", RawItem, "items")
    usable = ((item.part, item) for item in items if item.part is not None)
    for name, members in itertools.groupby(usable, lambda pair: pair[0]):
        yield name, [item for _, item in members]


class _Makers(Mapping[str, Callable[[Path], LabelRecord]]):
    """What makes the label maps of each raw tar; its images lie in `folder` until it is their turn."""

    def __init__(
        self,
        raw: Path,
        annotations: Annotations | None,
        segmentation: Segmentation | None,
        table: ClassTable,
        folder: Path,
    ) -> None:
        self._raw, self._annotations, self._folder = raw.absolute(), annotations, folder
        self._segmentation, self._table = segmentation, table
        self._names: dict[str, str] = {}
        for name, items in _by_part(raw):
            self._names[Path(name).stem] = name
            (folder / name).write_bytes(msgspec.json.encode(items))

    def __getitem__(self, stem: str) -> Callable[[Path], LabelRecord]:
        name = self._names[stem]
        items = msgspec.json.decode((self._folder / name).read_bytes(), type=list[RawItem])
        labeller = self._annotations.of(items) if self._annotations else None
        return functools.partial(label_partition, self._raw / name, labeller, self._segmentation, self._table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _assemble(
    dataset: str,
    records: Iterable[LabelRecord],
    table: ClassTable,
    segmentation: Segmentation | None,
    scratch: Path,
    listing: Rows,
) -> Path:
    """The output folder; `listing` brings the label maps in the order of their keys, which need not be that of the
    ids, by which partitions are cut."""
    out = fresh(scratch / "out")
    kept: list[Part] = []
    counts = Counter[str]()
    objects = lost = 0
    for record in records:
        for item in record.items:
            counts[item.reason or item.outcome] += 1
            objects, lost = objects + item.objects, lost + item.lost
            alone = listing.add(item.split, item.key, msgspec.json.encode(item))
            assert alone, f"{item.key} occurs twice"
        if record.part is not None:
            kept.append(record.part)
            (scratch / "parts" / record.part.name).rename(out / record.part.name)
    head = LabelManifest(
        dataset=dataset,
        classes=len(table.classes),
        items=[],
        counts={**tally(counts.elements()), "objects": objects, "lost": lost},
        parts=kept,
        network=segmentation.network if segmentation else None,
    )
    decoder = msgspec.json.Decoder(LabelItem)
    items = (decoder.decode(row) for split in listing.groups() for row in listing.sorted(split))
    manifest.write(out / "classes.json", table)
    manifest.write_rows(out / "manifest.json", head, "items", items)
    return out


def _unlabelled(items: Iterable[RawItem]) -> LabelRecord:
    keys = [(item.key, item.split) for item in items if item.key is not None]
    return LabelRecord(items=[LabelItem(key=key, split=split, outcome="unlabelled") for key, split in keys], part=None)


def label_partition(
    raw: Path, labeller: Labeller | None, segmentation: Segmentation | None, table: ClassTable, tar: Path
) -> LabelRecord:
    """Label and edge maps of the images of one raw tar, with the network's name where it drew them; no tar when none
    has any."""
    items: list[LabelItem] = []

    def members() -> Iterator[tuple[str, bytes]]:
        for key, files in read_samples(raw):
            sidecar = msgspec.json.decode(files.pop("json"), type=RawSidecar)
            item = functools.partial(LabelItem, key=key, split=sidecar.split)
            try:
                found = labeller.label(sidecar) if labeller else NoLabels()
                lost = found.lost
                network = segmentation if isinstance(found, NoLabels) else None
                if network:
                    found = network.draw(files.popitem()[1], sidecar)
            except Rejected as error:
                items.append(item(outcome="rejected", reason=error.reason))
                continue
            if isinstance(found, NoLabels):
                items.append(item(outcome="unlabelled", lost=lost))
                continue
            items.append(
                item(
                    outcome="pseudo-labelled" if network else "labelled",
                    objects=found.objects,
                    lost=lost,
                    part=tar.name,
                )
            )
            yield f"{key}.labels.png", png(narrowed(found.labels, table))
            yield f"{key}.edges.png", png(instance_edges(found.instances))
            if network:
                yield f"{key}.json", manifest.encode(network.network)

    write_tar(tar, members())
    count = sum(item.part is not None for item in items)
    if not count:
        tar.unlink()
    return LabelRecord(items=items, part=described(tar, count) if count else None)


def instance_edges(instances: np.ndarray) -> np.ndarray:
    """Edge map (H, W) uint8, 0 or 255, of an instance map (H, W): pixels whose right, left, upper or lower neighbour
    belongs to another instance. A border is two pixels wide, as in pix2pixHD."""
    edges = np.zeros(instances.shape, bool)
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges.astype(np.uint8) * EDGE


def resize_labels(labels: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A label map at another size (width, height), by nearest neighbour: no id appears that was not there."""
    return labels if labels.size == size else labels.resize(size, Image.Resampling.NEAREST)


def resize_edges(edges: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An edge map (H, W) at another size (width, height): a pixel is an edge when any pixel that it covers is.

    Nearest neighbour would tear the thin lines; this keeps each line connected, one or two pixels wide.
    """
    width, height = size
    rows = np.arange(height) * edges.shape[0] // height
    columns = np.arange(width) * edges.shape[1] // width
    covered: np.ndarray = np.maximum.reduceat(np.maximum.reduceat(edges, rows, axis=0), columns, axis=1)
    return covered


def narrowed(labels: np.ndarray, table: ClassTable) -> np.ndarray:
    """The label map in 8 bits where the dataset's ids fit, in 16 otherwise."""
    return labels.astype(np.uint8 if len(table.classes) <= 256 else np.uint16)


def png(pixels: np.ndarray) -> bytes:
    """A single-channel PNG, 8 or 16 bits."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
