"""Label maps of one's own: single-channel PNG that hold the ids of the configured classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gencomp.data.archive import ZipReader
from gencomp.data.failure import Rejected
from gencomp.data.folder import LABELS
from gencomp.data.labelmap import LabelMap, NoLabels, read_map
from gencomp.data.manifest import ClassTable, LabelClass, RawItem, RawSidecar
from gencomp.data.photograph import upright

UNLABELLED = 255
"""The value of pixels without a class."""


class FolderLabels:
    """Label maps that hold the ids of the configured classes, 255 where unlabelled; regions count as instances."""

    def __init__(self, classes: Sequence[str], annotations: Path) -> None:
        self._classes, self._annotations = classes, annotations.absolute()
        self.table = ClassTable(
            classes=[LabelClass(id=id, name=name) for id, name in enumerate(classes)], ignore=UNLABELLED
        )
        self._zip = ZipReader(annotations / LABELS)
        self._names = set(self._zip.names)

    def __reduce__(self) -> tuple[type["FolderLabels"], tuple[Sequence[str], Path]]:
        return FolderLabels, (self._classes, self._annotations)

    def of(self, _items: Sequence[RawItem]) -> "FolderLabels":
        """All of them: the archive's directory is small."""
        return self

    def label(self, sidecar: RawSidecar) -> LabelMap | NoLabels:
        """The label map of an image, drawn on the upright or on the stored view.

        Raises Rejected: `labels-corrupt`, `labels-too-large`, `labels-mode` (more than one channel), `labels-size`,
        `labels-value`.
        """
        name = f"{sidecar.key}.png"
        if name not in self._names:
            return NoLabels()
        image = read_map(self._zip, name)
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise Rejected("labels-mode", image.mode)
        pixels = np.asarray(_turned(image, sidecar)).astype(np.int32)
        unknown = set(np.unique(pixels).tolist()) - {*range(len(self.table.classes)), UNLABELLED}
        if unknown:
            raise Rejected("labels-value", f"ids {sorted(unknown)}")
        return LabelMap(pixels, pixels, 0, 0)


def _turned(image: Image.Image, sidecar: RawSidecar) -> Image.Image:
    """The map as large as the upright image, which it may have been drawn on before or after turning."""
    stored = (sidecar.width, sidecar.height)
    shown = stored[::-1] if sidecar.orientation >= 5 else stored
    if image.size == shown:
        return image
    if image.size == stored:
        return upright(image, sidecar.orientation)
    raise Rejected("labels-size", f"{image.size}")
