"""The annotation of one image, what can be asked for it, and how its files are opened."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from gencomp.data.archive import ZipReader
from gencomp.data.failure import DataError, Rejected
from gencomp.data.manifest import ClassTable, LabelNetwork, RawItem, RawSidecar
from gencomp.data.photograph import decode

MAP_PIXELS = 170_000_000
"""Most pixels of a label map or mask."""


class LabelMap(NamedTuple):
    """The annotation of one upright image."""

    labels: np.ndarray
    """(H, W), label ids."""
    instances: np.ndarray
    """(H, W), an integer per instance."""
    objects: int
    """Annotated objects that were drawn; 0 where the source does not count them."""
    lost: int
    """Annotated objects that were absent or unreadable."""


class NoLabels(NamedTuple):
    """An image without annotations that can be had."""

    lost: int = 0
    """Annotated objects that were absent or unreadable, all of them."""


class Labeller(Protocol):
    """The annotations of some images, from any process: it can be pickled."""

    def label(self, sidecar: RawSidecar) -> LabelMap | NoLabels:
        """The label map of an image, where it has one. Raises Rejected for one that cannot be used."""


class Annotations(Protocol):
    """The annotations of a dataset."""

    table: ClassTable

    def of(self, items: Sequence[RawItem]) -> Labeller:
        """The annotations of these images."""


class Segmentation(Protocol):
    """What draws label maps where there are no annotations, in any process: it can be pickled."""

    @property
    def table(self) -> ClassTable:
        """The ids that it draws, and no others."""

    @property
    def network(self) -> LabelNetwork:
        """What it goes by."""

    def draw(self, image: bytes, sidecar: RawSidecar) -> LabelMap:
        """The label map of an image file. Raises Rejected, and DataError for a network that cannot be used."""


def read_map(archive: ZipReader, name: str) -> Image.Image:
    """A label map out of an archive. Raises Rejected: `labels-corrupt`, and `labels-too-large` before anything of it is
    decoded."""
    try:
        return decode(archive.read(name), MAP_PIXELS)
    except Rejected as error:
        raise Rejected("labels-too-large" if error.reason == "too-large" else "labels-corrupt", str(error)) from None
    except DataError as error:
        raise Rejected("labels-corrupt", str(error)) from None
