"""The annotation of one image, and what can be asked for it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from gencomp.data.manifest import ClassTable, LabelNetwork, RawItem, RawSidecar

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


class Labeller(Protocol):
    """The annotations of some images, from any process: it can be pickled."""

    def label(self, sidecar: RawSidecar) -> LabelMap | None:
        """The label map of an image, None where it has none. Raises Rejected for one that cannot be used."""


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
