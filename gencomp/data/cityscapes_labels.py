"""Cityscapes: label ids become train ids, instance ids become instances."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import labels

from gencomp.data.archive import ZipReader
from gencomp.data.cityscapes import ANNOTATIONS, View, views
from gencomp.data.failure import Rejected
from gencomp.data.labelmap import LabelMap, NoLabels, read_map
from gencomp.data.manifest import ClassTable, LabelClass, RawItem, RawSidecar

VOID = 255
"""Train id of pixels that belong to no class."""


class CityscapesLabels:
    """Label maps in train ids (0..18, 255 void), instances by the set's instance ids."""

    def __init__(self, annotations: Path) -> None:
        self._annotations = annotations.absolute()
        self._zip = ZipReader(annotations / ANNOTATIONS)
        self._names = dict(views(self._zip.names))
        self._train_ids = np.full(256, VOID, np.uint8)
        for label in labels:
            if label.id >= 0 and 0 <= label.trainId < VOID:
                self._train_ids[label.id] = label.trainId
        classes = {label.trainId: label for label in labels if 0 <= label.trainId < VOID}
        self.table = ClassTable(
            classes=[LabelClass(id=id, name=classes[id].name, color=classes[id].color) for id in sorted(classes)],
            ignore=VOID,
        )
        self._known = {label.id for label in labels}

    def __reduce__(self) -> tuple[type["CityscapesLabels"], tuple[Path]]:
        return CityscapesLabels, (self._annotations,)

    def of(self, _items: Sequence[RawItem]) -> "CityscapesLabels":
        """All of them: the archive's directory is small."""
        return self

    def label(self, sidecar: RawSidecar) -> LabelMap | NoLabels:
        """The maps of an image; none where all of it is void, as in the split test, whose maps are not published.

        Raises Rejected: `labels-corrupt`, `labels-too-large`, `labels-size`, `labels-value`.
        """
        ids = self._pixels(sidecar, "gtFine_labelIds")
        instances = self._pixels(sidecar, "gtFine_instanceIds")
        if ids is None or instances is None:
            return NoLabels()
        unknown = set(np.unique(ids).tolist()) - self._known
        if unknown:
            raise Rejected("labels-value", f"ids {sorted(unknown)}")
        labels = self._train_ids[ids]
        if (labels == VOID).all():
            return NoLabels()
        objects = np.unique(instances[instances >= 1000]).size
        return LabelMap(labels, instances, objects, 0)

    def _pixels(self, sidecar: RawSidecar, kind: str) -> np.ndarray | None:
        name = self._names.get(View(sidecar.split, sidecar.key, kind))
        if name is None:
            return None
        pixels = np.asarray(read_map(self._zip, name))
        if pixels.shape != (sidecar.height, sidecar.width):
            raise Rejected("labels-size", f"{pixels.shape}")
        return pixels.astype(np.int32)
