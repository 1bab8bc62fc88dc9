"""Side information of format version 0, which is read and no longer written: deflated, see docs/format.md."""

import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gencomp.codec.container import StreamError, read_varint
from gencomp.codec.maps import Bits, Ids

_RAW_DEFLATE = -15
"""How zlib is told that neither its header nor its checksum is there: the container has a checksum over all."""


class Inflated(NamedTuple):
    """What version 0 says of a picture of H x W pixels."""

    labels: Ids
    """(H, W)."""
    edges: Bits | None
    """(H, W); None: the borders of the label map."""


def inflate_mask(data: bytes, height: int, width: int) -> Bits:
    """The mask (height, width) of side information. Raises StreamError."""
    return _bits(_parts(data).mask, height, width)


def inflate_maps(data: bytes, height: int, width: int, kind: npt.DTypeLike) -> Inflated:
    """Labels of `kind`, uint8 or uint16, and edges, (height, width). Raises StreamError."""
    rest = _parts(data).rest
    number, start = read_varint(rest, 0)
    size, coded = divmod(number, 2)
    if size > len(rest) - start or (not coded and size < len(rest) - start):
        raise StreamError("damaged stream: the parts of its side information do not fit its size")
    depth = np.dtype(kind).itemsize
    labels = _from_planes(_inflated(rest[start : start + size], depth * height, width), depth)
    return Inflated(labels, _bits(rest[start + size :], height, width) if coded else None)


class _Parts(NamedTuple):
    mask: bytes
    rest: bytes


def _parts(data: bytes) -> _Parts:
    size, start = read_varint(data, 0)
    if size > len(data) - start:
        raise StreamError("damaged stream: the parts of its side information do not fit its size")
    return _Parts(data[start : start + size], data[start + size :])


def _from_planes(planes: npt.NDArray[np.uint8], depth: int) -> Ids:
    """(H, W) of one byte as they are, of two bytes from (2 H, W), the upper bytes first."""
    if depth == 1:
        return planes
    upper, lower = np.split(planes.astype(np.uint16), depth)
    return np.asarray(upper << 8 | lower, np.uint16)


def _bits(data: bytes, height: int, width: int) -> Bits:
    packed = _inflated(data, height, -(-width // 8))
    return np.unpackbits(packed, axis=1, count=width).view(np.bool_)


def _inflated(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Rows (height, width), each XORed with the one above; stops one byte after what they take. Raises StreamError."""
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
