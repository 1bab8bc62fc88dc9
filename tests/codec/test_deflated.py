"""Side information of version 0: read for ever, though nothing writes it but these tests."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gencomp.codec.container import StreamError, varint
from gencomp.codec.side import Side, borders, unpack_mask, unpack_side
from tests.codec.plain import plain_side_0
from tests.codec.test_side import STRIDE, classes_of, decoded_or_refused, equal, sides


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


def part(rows: NDArray[np.generic]) -> bytes:
    filtered = rows.astype(np.uint8)
    filtered[1:] ^= rows[:-1].astype(np.uint8)
    return deflated(filtered.tobytes()) if filtered.any() else b""


def pack_side_0(side: Side) -> bytes:
    wide = side.labels.dtype == np.uint16
    labels = part(np.concatenate([side.labels >> 8, side.labels & 255]) if wide else side.labels)
    mask, edges = (part(np.packbits(bits, axis=1)) for bits in (side.mask, side.edges))
    coded = not np.array_equal(side.edges, borders(side.labels))
    return varint(len(mask)) + mask + varint(2 * len(labels) + coded) + labels + (edges if coded else b"")


@given(sides())
def test_it_is_read_as_it_was(side: Side) -> None:
    data = pack_side_0(side)
    height, width = side.labels.shape
    assert equal(unpack_side(data, height, width, STRIDE, classes_of(side), version=0), side)
    assert np.array_equal(unpack_mask(data, height, width, STRIDE, version=0), side.mask)
    found = plain_side_0(data, height, width, STRIDE, 8 * side.labels.itemsize)
    assert [np.array_equal(a, b) for a, b in zip(found, side, strict=True)] == [True] * 3


@given(sides(), st.data())
def test_damage_is_decoded_or_refused_and_nothing_else(side: Side, data: st.DataObject) -> None:
    height, width = side.labels.shape
    packed = bytearray(pack_side_0(side))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(packed[: data.draw(st.integers(0, len(packed)))]) + data.draw(st.binary(max_size=4))
    decoded_or_refused(damaged, height, width, classes_of(side), version=0)


@pytest.mark.parametrize("which", ["mask", "labels", "edges"])
def test_a_part_that_inflates_to_more_than_its_picture_is_refused_without_inflating_it(which: str) -> None:
    bomb = deflated(b"\1" * 50_000_000)
    data = {
        "mask": varint(len(bomb)) + bomb + b"\0",
        "labels": b"\0" + varint(2 * len(bomb)) + bomb,
        "edges": b"\0\1" + bomb,
    }[which]
    tracemalloc.start()
    try:
        with pytest.raises(StreamError, match="does not have the size of its picture"):
            unpack_side(data, 40, 30, STRIDE, 19, version=0)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cannot be read"),
        (b"\0", "cannot be read"),
        (b"\3\0\0", "parts of its side information"),
        (b"\0\4a", "parts of its side information"),
        (b"\0\0a", "parts of its side information"),
        (b"\0\2\xff", "cannot be inflated"),
        (b"\0" + varint(2 * len(deflated(b"\1" * 9))) + deflated(b"\1" * 9), "size of its picture"),
        (b"\0" + varint(2 * len(deflated(b"\1" * 20)) - 2) + deflated(b"\1" * 20)[:-1], "size of its picture"),
        (b"\0" + varint(2 * len(deflated(b"\1" * 20)) + 2) + deflated(b"\1" * 20) + b"x", "size of its picture"),
    ],
)
def test_the_reason_of_a_refusal_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(StreamError, match=reason):
        unpack_side(data, 4, 5, STRIDE, 19, version=0)
