"""What a user asks of selective compression, checked against the picture and the model, as side information."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from gencomp.codec.maps import Bits
from gencomp.codec.regions import Ids, Mask, Region, Whole, parse_region
from gencomp.codec.side import Labels, Side, borders, label_type, unlabelled

IdMap = Image.Image | Ids
"""(H, W), ids of classes or of instances; of a palette picture its indices."""
BinaryMap = npt.NDArray[np.bool_] | npt.NDArray[np.integer]
"""(H, W), truth values or 0 and 1."""
Preserve = str | Region | BinaryMap
"""A region as `parse_region` understands it, or read, or a mask that is true where preserved."""


class SelectionError(ValueError):
    """Maps or masks that do not fit the picture or the model; the message is one line."""


class Selection(NamedTuple):
    """What is given beside a picture; for models of global compression, nothing."""

    labels: IdMap | None = None
    edges: BinaryMap | None = None
    instances: IdMap | None = None
    preserve: Preserve | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is given."""
        return all(given is None for given in self)


def side_information(selection: Selection, size: tuple[int, int], classes: int, stride: int) -> Side:
    """The side information of a picture of `size` (height, width) for a model of so many classes and pixels per latent
    position.

    `labels` is needed. Without `edges`, they are the borders of labels and, where given, of instances. Without
    `preserve`, all is preserved. Raises SelectionError and RegionError.
    """
    if selection.labels is None:
        raise SelectionError(
            "this model compresses selectively: it needs the picture's label map (labels, or --labels MAP.png)"
        )
    labels = _label_ids(selection.labels, size, classes)
    instances = None if selection.instances is None else _ids(selection.instances, size, "the instance map")
    mask = _mask(selection.preserve, labels, instances)
    return Side(labels, _edges(selection.edges, labels, instances), latent_mask(mask, stride))


def latent_mask(mask: Mask, stride: int) -> Bits:
    """(H, W) -> (ceil(H / stride), ceil(W / stride)): a position is preserved where any of its pixels is, as in
    training (`mask_to_latent`). Padding beyond the picture preserves nothing."""
    rows, columns = (np.arange(0, side, stride) for side in mask.shape)
    return np.asarray(np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1))


def _label_ids(labels: IdMap, size: tuple[int, int], classes: int) -> Labels:
    ids = _ids(labels, size, "the label map")
    none = unlabelled(classes)
    known = (ids >= 0) & (ids < classes) | (ids == none)
    if not known.all():
        raise SelectionError(
            f"the label map has id {ids[~known][0]}, and this model knows 0 to {classes - 1}, and {none} for none"
        )
    return np.asarray(ids, label_type(classes))


def _edges(edges: BinaryMap | None, labels: Labels, instances: Ids | None) -> Bits:
    if edges is not None:
        return _binary(edges, labels.shape, "the map of edges")
    return borders(labels) if instances is None else borders(labels) | borders(instances)


def _mask(preserve: Preserve | None, labels: Labels, instances: Ids | None) -> Mask:
    region = Whole(True) if preserve is None else parse_region(preserve) if isinstance(preserve, str) else preserve
    if isinstance(region, Region):
        height, width = labels.shape
        return region.mask(height, width, labels=labels, instances=instances)
    return _binary(region, labels.shape, "the mask")


def _ids(given: IdMap, size: tuple[int, int], name: str) -> Ids:
    if isinstance(given, Image.Image) and given.mode not in ("1", "L", "P", "I", "I;16"):
        raise SelectionError(f"{name} must be a single-channel image of ids, not {given.mode}")
    ids = np.asarray(given)
    if ids.dtype == np.bool_:
        ids = ids.astype(np.uint8)
    if not np.issubdtype(ids.dtype, np.integer):
        raise SelectionError(f"{name} must hold whole numbers, not {ids.dtype}")
    _check_size(ids.shape, size, name)
    return ids


def _binary(given: BinaryMap, size: tuple[int, ...], name: str) -> Bits:
    values = np.asarray(given)
    _check_size(values.shape, size, name)
    if not np.isin(values, (0, 1)).all():
        raise SelectionError(f"{name} must hold truth values, or 0 and 1 alone")
    return values.astype(np.bool_)


def _check_size(shape: tuple[int, ...], size: tuple[int, ...], name: str) -> None:
    if shape != size:
        height, width = size
        raise SelectionError(f"{name} has the shape {shape}, and the picture is {width} x {height} pixels")
