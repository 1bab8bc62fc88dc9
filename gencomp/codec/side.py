"""Side information of selective compression: where symbols are coded, the label map and the edges, all lossless.

All of it is one run of decisions, coded as maps.py says: the mask, then the labels, then whether edges are given, and
the edges where they are; else they are the borders of the label map. Who needs the mask alone stops behind it. Sizes
are known from the header. Side information of format version 0 is deflated.py's.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gencomp.codec.container import VERSION
from gencomp.codec.deflated import inflate_maps, inflate_mask
from gencomp.codec.maps import Bits, Ids, MapDecoder, MapEncoder, code_bits, code_edges, code_flag, code_labels

Labels = Ids
"""(H, W), label ids, of the type that `label_type` gives; its largest number is unlabelled."""


class Side(NamedTuple):
    """What decoding needs beside the symbols, of a picture of H x W pixels."""

    labels: Labels
    """(H, W), label ids, of the type that `label_type` gives; its largest number is unlabelled."""
    edges: Bits
    """(H, W), true on the borders of instances."""
    mask: Bits
    """(ceil(H / stride), ceil(W / stride)), true at the latent positions whose symbols are coded."""


def label_type(classes: int) -> npt.DTypeLike:
    """The type of a label map that holds so many classes and one number more, for unlabelled: uint8 or uint16."""
    return np.uint8 if classes <= np.iinfo(np.uint8).max else np.uint16


def unlabelled(classes: int) -> int:
    """The id of pixels that belong to none of so many classes: 255, or 65535 beyond 255 classes."""
    return int(np.iinfo(label_type(classes)).max)


def pack_side(side: Side) -> bytes:
    """The bytes of side information, the same on every machine; 0.2 s for 480 x 360 pixels of a street scene."""
    encoder, drawn = MapEncoder(), borders(side.labels)
    given = not np.array_equal(side.edges, drawn)
    code_bits(encoder, side.mask.shape, side.mask)
    code_labels(encoder, side.labels.shape, side.labels.dtype, side.labels)
    if code_flag(encoder, given):
        code_edges(encoder, drawn, side.edges)
    return encoder.sealed()


def unpack_side(data: bytes, height: int, width: int, stride: int, classes: int, version: int = VERSION) -> Side:
    """The side information of a picture of height x width pixels, by a model of so many classes. Raises StreamError."""
    shape, kind = (height, width), label_type(classes)
    if version == 0:
        mask = unpack_mask(data, height, width, stride, version)
        found = inflate_maps(data, height, width, kind)
        return Side(found.labels, borders(found.labels) if found.edges is None else found.edges, mask)
    decoder = MapDecoder(data)
    mask = code_bits(decoder, _latent_shape(shape, stride), None)
    labels = code_labels(decoder, shape, kind, None)
    edges = borders(labels)
    if code_flag(decoder, None):
        edges = code_edges(decoder, edges, None)
    decoder.close()
    return Side(labels, edges, mask)


def unpack_mask(data: bytes, height: int, width: int, stride: int, version: int = VERSION) -> Bits:
    """The mask alone, all that decoding of the symbols needs. Raises StreamError."""
    shape = _latent_shape((height, width), stride)
    return inflate_mask(data, *shape) if version == 0 else code_bits(MapDecoder(data), shape, None)


def borders(ids: npt.NDArray[np.integer]) -> Bits:
    """Where a pixel's right, left, upper or lower neighbour has another id, (H, W): two pixels wide, as the edges of
    instances that models are trained on (pix2pixHD)."""
    edges = np.zeros(ids.shape, np.bool_)
    across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    edges[1:] |= down
    edges[:-1] |= down
    return edges


def _latent_shape(shape: tuple[int, int], stride: int) -> tuple[int, int]:
    height, width = shape
    return -(-height // stride), -(-width // stride)
