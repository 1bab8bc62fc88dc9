"""Side information of selective compression: where symbols are coded, the label map and the edges, all lossless.

    varint m, m bytes: the mask, one bit per latent position of the picture, rows padded to whole bytes
    varint 2k + e, k bytes: the label map, one byte per pixel; of models with more than 255 classes the upper bytes of
    all rows, then the lower ones
    the rest, only where e is 1: the edges, one bit per pixel, rows padded to whole bytes; else they are the borders
    of the label map

Each row is XORed with the row above, and all rows are deflated (RFC 1951); no bytes at all stand for zeros alone.
Sizes are known from the header, and nothing larger is ever inflated.
"""

import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gencomp.codec.container import StreamError, read_varint, varint

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""(H, W), label ids, of the type that `label_type` gives; its largest number is unlabelled."""
Bits = npt.NDArray[np.bool_]
"""(H, W) or, at the latent's resolution, (h, w)."""

_RAW_DEFLATE = -15
"""How zlib is told to write neither its header nor its checksum: the container has a checksum over all."""
_MEMORY = 9
"""The most that zlib may take, for longer blocks."""


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
    """The bytes of side information; deflate may spell the same side in other bytes with another zlib."""
    mask, labels = _deflated(_packed(side.mask)), _deflated(_planes(side.labels))
    derived = np.array_equal(side.edges, borders(side.labels))
    edges = b"" if derived else _deflated(_packed(side.edges))
    return varint(len(mask)) + mask + varint(2 * len(labels) + (not derived)) + labels + edges


def unpack_side(data: bytes, height: int, width: int, stride: int, classes: int) -> Side:
    """The side information of a picture of height x width pixels, by a model of so many classes. Raises StreamError."""
    mask = unpack_mask(data, height, width, stride)
    rest = _parts(data).rest
    number, start = read_varint(rest, 0)
    size, coded = divmod(number, 2)
    if size > len(rest) - start or (not coded and size < len(rest) - start):
        raise StreamError("damaged stream: the parts of its side information do not fit its size")
    depth = np.dtype(label_type(classes)).itemsize
    labels = _from_planes(_inflated(rest[start : start + size], depth * height, width), depth)
    edges = _bits(rest[start + size :], height, width) if coded else borders(labels)
    return Side(labels, edges, mask)


def unpack_mask(data: bytes, height: int, width: int, stride: int) -> Bits:
    """The mask alone, all that decoding of the symbols needs. Raises StreamError."""
    return _bits(_parts(data).mask, -(-height // stride), -(-width // stride))


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


class _Parts(NamedTuple):
    mask: bytes
    rest: bytes


def _parts(data: bytes) -> _Parts:
    size, start = read_varint(data, 0)
    if size > len(data) - start:
        raise StreamError("damaged stream: the parts of its side information do not fit its size")
    return _Parts(data[start : start + size], data[start + size :])


def _planes(labels: Labels) -> npt.NDArray[np.uint8]:
    """(H, W) of one byte as they are, of two bytes as (2 H, W), the upper bytes first."""
    planes = labels if labels.dtype == np.uint8 else np.concatenate([labels >> 8, labels & 0xFF])
    return planes.astype(np.uint8)


def _from_planes(planes: npt.NDArray[np.uint8], depth: int) -> Labels:
    if depth == 1:
        return planes
    upper, lower = np.split(planes.astype(np.uint16), depth)
    return np.asarray(upper << 8 | lower, np.uint16)


def _packed(bits: Bits) -> npt.NDArray[np.uint8]:
    return np.packbits(bits, axis=1)


def _bits(data: bytes, height: int, width: int) -> Bits:
    packed = _inflated(data, height, -(-width // 8))
    return np.unpackbits(packed, axis=1, count=width).view(np.bool_)


def _deflated(rows: npt.NDArray[np.uint8]) -> bytes:
    """Rows (H, n) as bytes, none for zeros alone."""
    filtered = rows.copy()
    filtered[1:] ^= rows[:-1]
    if not filtered.any():
        return b""
    deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, _MEMORY)
    return deflate.compress(filtered.tobytes()) + deflate.flush()


def _inflated(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The rows (height, width) of `_deflated`; stops one byte after what they take. Raises StreamError."""
    if not data:
        return np.zeros((height, width), np.uint8)
    inflate = zlib.decompressobj(_RAW_DEFLATE)
    try:
        filtered = inflate.decompress(data, height * width + 1)
    except zlib.error:
        raise StreamError("damaged stream: its side information cannot be inflated") from None
    if len(filtered) != height * width or not inflate.eof or inflate.unused_data:
        raise StreamError("damaged stream: its side information does not have the size of its picture")
    rows = np.frombuffer(filtered, np.uint8).reshape(height, width)
    return np.bitwise_xor.accumulate(rows, axis=0)
