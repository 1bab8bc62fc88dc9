"""From annotations to one label map and one instance-edge map per image, both upright and as large as the image."""

import functools
import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples, write_tar
from gencomp.data.failure import Rejected
from gencomp.data.labelmap import Annotations, Labeller, Segmentation
from gencomp.data.manifest import (
    ClassTable,
    LabelItem,
    LabelManifest,
    RawItem,
    RawManifest,
    RawSidecar,
    tally,
)
from gencomp.data.partitions import ItemRecord, described, finish, fresh

EDGE = 255
"""Value of an edge in an edge map."""


class LabelRecord(ItemRecord[LabelItem], frozen=True, kw_only=True):
    """The outcome of one partition; rejected label maps cannot be used."""


def write_semantics(
    dataset: str, raw: Path, annotations: Annotations | None, scratch: Path, segmentation: Segmentation | None = None
) -> Path:
    """Make the label maps of the images in `raw`, in a complete folder within `scratch`: from annotations where there
    are any, and from the segmentation where there are none. With neither there are no maps."""
    source = manifest.read(raw / "manifest.json", RawManifest)
    drawn = annotations or segmentation
    table = drawn.table if drawn else ClassTable(classes=[])
    items_of: dict[str, list[RawItem]] = defaultdict(list)
    for item in source.items:
        if item.part is not None:
            items_of[item.part].append(item)
    if drawn is None:
        records = [_unlabelled(items) for items in items_of.values()]
    else:
        makers = {
            Path(name).stem: functools.partial(
                label_partition,
                raw.absolute() / name,
                annotations.of(items) if annotations else None,
                segmentation,
                table,
            )
            for name, items in items_of.items()
        }
        images = sum(map(len, items_of.values()))
        records = finish(scratch / "parts", makers, LabelRecord, f"semantics {dataset}", images)
    out = fresh(scratch / "out")
    kept = [record.part for record in records if record.part is not None]
    for part in kept:
        (scratch / "parts" / part.name).rename(out / part.name)
    items = sorted((item for record in records for item in record.items), key=lambda item: (item.split, item.key))
    manifest.write(out / "classes.json", table)
    manifest.write(
        out / "manifest.json",
        LabelManifest(
            dataset=dataset,
            classes=len(table.classes),
            items=items,
            counts={
                **tally(item.reason or item.outcome for item in items),
                "objects": sum(item.objects for item in items),
                "lost": sum(item.lost for item in items),
            },
            parts=kept,
            network=segmentation.network if segmentation else None,
        ),
    )
    return out


def _unlabelled(items: Sequence[RawItem]) -> LabelRecord:
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
                found = labeller.label(sidecar) if labeller else None
                network = segmentation if found is None else None
                if network:
                    found = network.draw(files.popitem()[1], sidecar)
            except Rejected as error:
                items.append(item(outcome="rejected", reason=error.reason))
                continue
            if found is None:
                items.append(item(outcome="unlabelled"))
                continue
            items.append(
                item(
                    outcome="pseudo-labelled" if network else "labelled",
                    objects=found.objects,
                    lost=found.lost,
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
