"""Open Images: label maps composed from object masks."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from gencomp.data.archive import ArchiveError, ZipReader
from gencomp.data.dataset import Split
from gencomp.data.failure import Rejected
from gencomp.data.labelmap import MAP_PIXELS, LabelMap, NoLabels
from gencomp.data.lists import filled, read_table
from gencomp.data.manifest import ClassTable, LabelClass, RawItem, RawSidecar
from gencomp.data.openimages import ARCHIVE, CLASSES, SEGMENTED, SUBSET_NAMES, TABLE, read_classes
from gencomp.data.photograph import decode, upright
from gencomp.data.request import file_stamp


class OpenImagesLabels:
    """The mask tables. Label ids are places in the class list, from 1 on, whichever of its classes are there, so that
    all subsets of a dataset have the same; id 0 is no object."""

    def __init__(self, annotations: Path, items: Iterable[RawItem]) -> None:
        self._annotations = annotations.absolute()
        self._masks: dict[tuple[Split, str], list[Mask]] = defaultdict(list)
        wanted = {(item.split, item.id) for item in items if item.outcome == "ok"}
        names: set[str] = set()
        for split, subset in SUBSET_NAMES.items():
            table = annotations / filled(TABLE, split=subset)
            if not table.exists():
                continue
            for row in read_table(table, table.name, required=("MaskPath", "ImageID", "LabelName")):
                names.add(row["LabelName"])
                if (split, row["ImageID"]) in wanted:
                    self._masks[split, row["ImageID"]].append(Mask(row["MaskPath"], row["LabelName"]))
        self._ids, self.table = _class_table(annotations, names)

    def of(self, items: Sequence[RawItem]) -> "ComposedMasks":
        """The masks of these images."""
        keys = [(item.split, item.id) for item in items]
        return ComposedMasks(
            self._annotations, self._ids, {key: self._masks[key] for key in keys if key in self._masks}
        )


class Mask(NamedTuple):
    """A row of a mask table."""

    path: str
    label: str


class ComposedMasks(NamedTuple):
    """Label maps composed from object masks: id 0 is no object; a smaller object lies on top of a larger one."""

    annotations: Path
    ids: dict[str, int]
    """Label id by LabelName."""
    masks: dict[tuple[Split, str], list[Mask]]
    """By split and image id."""

    def label(self, sidecar: RawSidecar) -> LabelMap | NoLabels:
        """The composed map of an image, where any of its masks can be had."""
        layers: list[tuple[int, str, int, np.ndarray]] = []
        masks = sorted(set(self.masks.get((sidecar.split, sidecar.id), [])))
        archive = self._archive(sidecar) if masks else None
        for path, label in masks:
            mask = _read(archive, sidecar, path) if archive else None
            if mask is not None:
                layers.append((-int(mask.sum()), path, self.ids[label], mask))
        if not layers:
            return NoLabels(len(masks))
        labels = np.zeros((sidecar.height, sidecar.width), np.uint16)
        instances = np.zeros((sidecar.height, sidecar.width), np.int32)
        for index, (_, _, id, mask) in enumerate(sorted(layers, key=lambda layer: layer[:2]), start=1):
            labels[mask] = id
            instances[mask] = index
        return LabelMap(_upright(labels, sidecar), _upright(instances, sidecar), len(layers), len(masks) - len(layers))

    def _archive(self, sidecar: RawSidecar) -> ZipReader | None:
        path = self.annotations / filled(ARCHIVE, split=SUBSET_NAMES[sidecar.split], digit=sidecar.id[0].lower())
        return _opened(path, file_stamp(path)) if path.exists() else None


@functools.lru_cache(maxsize=2)
def _opened(path: Path, _stamp: str) -> ZipReader:
    """An archive, whose directory is large: images come in the order of their ids, so the last two are enough."""
    return ZipReader(path)


def _read(archive: ZipReader, sidecar: RawSidecar, path: str) -> np.ndarray | None:
    """A mask (H, W) bool at the stored size of its image; None when it is absent or unreadable."""
    try:
        image = decode(archive.read(path), MAP_PIXELS).convert("L")
    except (KeyError, ArchiveError, Rejected):
        return None
    return np.asarray(image.resize((sidecar.width, sidecar.height), Image.Resampling.NEAREST)) > 0


def _class_table(annotations: Path, names: set[str]) -> tuple[dict[str, int], ClassTable]:
    """Ids and names of the classes that can have masks; label names in use that no list knows come last, under their
    code."""
    if not (annotations / CLASSES).exists():
        return {}, ClassTable(classes=[])
    display, segmented = read_classes(annotations / CLASSES), annotations / SEGMENTED
    listed = read_classes(segmented) if segmented.exists() else display
    ordered = [*listed, *sorted(names - listed.keys())]
    classes = [LabelClass(id=0, name="no object")]
    classes += [LabelClass(id=id, name=display.get(name, name)) for id, name in enumerate(ordered, start=1)]
    return {name: id for id, name in enumerate(ordered, start=1)}, ClassTable(classes=classes)


def _upright(array: np.ndarray, sidecar: RawSidecar) -> np.ndarray:
    return np.asarray(upright(Image.fromarray(array), sidecar.orientation))
