"""Side information: lossless, bounded, and refused where it is damaged; and what users may give for it."""

import io
import tracemalloc
import zlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencomp.codec.container import StreamError, read_varint, varint
from gencomp.codec.regions import RegionError
from gencomp.codec.selection import Selection, SelectionError, latent_mask, side_information
from gencomp.codec.side import Side, borders, pack_side, unpack_mask, unpack_side
from gencomp.data.semantics import instance_edges
from gencomp.models.selective import mask_to_latent

STRIDE = 8


@st.composite
def sides(draw: st.DrawFn) -> Side:
    """Side information of coarse or noisy maps."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.sampled_from([1, 7, 50]))
    kind = draw(st.sampled_from([np.uint8, np.uint16]))
    coarse = random.integers(0, np.iinfo(kind).max + 1, (height // block + 1, width // block + 1)).astype(kind)
    labels = np.repeat(np.repeat(coarse, block, 0), block, 1)[:height, :width]
    chance = draw(st.sampled_from([0, 0.3, 1]))
    edges = borders(labels) if draw(st.booleans()) else random.random((height, width)) < chance
    mask = random.random((-(-height // STRIDE), -(-width // STRIDE))) < chance
    return Side(labels, edges, mask)


def classes_of(side: Side) -> int:
    """Of a model whose label maps are of this type."""
    return 255 if side.labels.dtype == np.uint8 else 256


def equal(one: Side, other: Side) -> bool:
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def plain_unpack(data: bytes, height: int, width: int, stride: int, depth: int) -> tuple[list[list[int]], ...]:
    """Side information in plain integers, from the description of the format alone."""

    def rows(part: bytes, count: int, length: int) -> list[list[int]]:
        flat = zlib.decompress(part, -15) if part else bytes(count * length)
        assert len(flat) == count * length
        found = [list(flat[start : start + length]) for start in range(0, len(flat), length)]
        for above, row in pairwise(found):
            row[:] = [a ^ b for a, b in zip(above, row, strict=True)]
        return found

    def bits(part: bytes, count: int, length: int) -> list[list[int]]:
        return [[row[i // 8] >> 7 - i % 8 & 1 for i in range(length)] for row in rows(part, count, -(-length // 8))]

    size, start = read_varint(data, 0)
    mask = bits(data[start : start + size], -(-height // stride), -(-width // stride))
    number, start = read_varint(data, start + size)
    planes = rows(data[start : start + number // 2], depth * height, width)
    labels = (
        planes
        if depth == 1
        else [
            [256 * upper + lower for upper, lower in zip(*pair, strict=True)]
            for pair in zip(planes[:height], planes[height:], strict=True)
        ]
    )
    rest = data[start + number // 2 :]
    if number % 2:
        return labels, bits(rest, height, width), mask
    assert not rest
    around = ((0, 1), (0, -1), (1, 0), (-1, 0))
    edges = [
        [
            int(
                any(
                    labels[y + dy][x + dx] != labels[y][x]
                    for dy, dx in around
                    if 0 <= y + dy < height and 0 <= x + dx < width
                )
            )
            for x in range(width)
        ]
        for y in range(height)
    ]
    return labels, edges, mask


@given(sides())
def test_any_side_information_comes_back_exactly(side: Side) -> None:
    data = pack_side(side)
    height, width = side.labels.shape
    assert equal(unpack_side(data, height, width, STRIDE, classes_of(side)), side)
    assert np.array_equal(unpack_mask(data, height, width, STRIDE), side.mask)


@given(sides())
def test_the_format_is_as_described(side: Side) -> None:
    height, width = side.labels.shape
    found = plain_unpack(pack_side(side), height, width, STRIDE, side.labels.itemsize)
    assert [np.array_equal(a, b) for a, b in zip(found, side, strict=True)] == [True] * 3


def test_zeros_and_edges_that_are_borders_take_no_bytes() -> None:
    empty = Side(np.zeros((64, 48), np.uint8), np.zeros((64, 48), np.bool_), np.zeros((8, 6), np.bool_))
    assert pack_side(empty) == b"\0\0"
    labels = np.zeros((64, 48), np.uint8)
    labels[20:, 10:] = 3
    derived = pack_side(Side(labels, borders(labels), np.zeros((8, 6), np.bool_)))
    given_edges = pack_side(Side(labels, borders(labels) & False, np.zeros((8, 6), np.bool_)))
    assert len(derived) == len(given_edges) < 30
    assert derived != given_edges


def test_label_maps_of_scenes_take_less_than_as_an_optimised_png() -> None:
    y, x = np.mgrid[0:180, 0:240]
    labels = ((y > 90 + 10 * np.sin(x / 20)) + 2 * ((x - 120) ** 2 + (y - 80) ** 2 < 900)).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(labels).save(png, "PNG", optimize=True)
    assert len(pack_side(Side(labels, borders(labels), np.ones((23, 30), np.bool_)))) < len(png.getvalue())


@given(sides(), st.data())
def test_damaged_side_information_is_decoded_or_refused_and_nothing_else(side: Side, data: st.DataObject) -> None:
    height, width = side.labels.shape
    packed = bytearray(pack_side(side))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(packed[: data.draw(st.integers(0, len(packed)))]) + data.draw(st.binary(max_size=4))
    decoded_or_refused(damaged, height, width, classes_of(side))


@given(st.binary(max_size=80), st.integers(1, 30), st.integers(1, 30))
def test_foreign_bytes_are_decoded_or_refused_and_nothing_else(noise: bytes, height: int, width: int) -> None:
    decoded_or_refused(noise, height, width, 19)
    decoded_or_refused(noise, height, width, 300)


def decoded_or_refused(data: bytes, height: int, width: int, classes: int) -> None:
    try:
        side = unpack_side(data, height, width, STRIDE, classes)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert side.labels.shape == side.edges.shape == (height, width)
        assert side.mask.shape == (-(-height // STRIDE), -(-width // STRIDE))


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize("part", ["mask", "labels", "edges"])
def test_a_part_that_inflates_to_more_than_its_picture_is_refused_without_inflating_it(part: str) -> None:
    bomb = deflated(b"\1" * 50_000_000)
    data = {
        "mask": varint(len(bomb)) + bomb + b"\0",
        "labels": b"\0" + varint(2 * len(bomb)) + bomb,
        "edges": b"\0\1" + bomb,
    }[part]
    tracemalloc.start()
    try:
        with pytest.raises(StreamError, match="does not have the size of its picture"):
            unpack_side(data, 40, 30, STRIDE, 19)
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
        unpack_side(data, 4, 5, STRIDE, 19)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_borders_and_latent_masks_are_those_of_the_training(height: int, width: int, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, 2, (height, width))
    assert np.array_equal(borders(ids) * np.uint8(255), instance_edges(ids))
    padded = np.zeros((-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE), np.float32)
    padded[:height, :width] = ids * (np.random.default_rng(seed).random(ids.shape) < 0.02)
    found = latent_mask(padded[:height, :width] > 0, STRIDE)
    assert np.array_equal(found, mask_to_latent(torch.from_numpy(padded)[None, None], STRIDE)[0, 0].numpy() > 0)


LABELS = np.array([[0, 0, 1], [255, 2, 1]], np.uint8)


def side_of(selection: Selection, stride: int = 1) -> Side:
    return side_information(selection, LABELS.shape, 3, stride)


@pytest.mark.parametrize(
    "labels",
    [LABELS, LABELS.astype(np.int64), Image.fromarray(LABELS), Image.fromarray(LABELS.astype(np.int32))],
    ids=["uint8", "int64", "L", "I"],
)
def test_label_maps_may_be_arrays_or_pictures_of_ids(labels: np.ndarray | Image.Image) -> None:
    side = side_of(Selection(labels))
    assert np.array_equal(side.labels, LABELS) and side.labels.dtype == np.uint8
    assert np.array_equal(side.edges, borders(LABELS))
    assert side.mask.all()


def test_more_than_255_classes_take_two_bytes_and_another_id_for_none() -> None:
    ids = np.array([[0, 255, 299], [65535, 256, 1]])
    side = side_information(Selection(ids), ids.shape, 300, 1)
    assert np.array_equal(side.labels, ids) and side.labels.dtype == np.uint16
    with pytest.raises(SelectionError, match="has id 300, and this model knows 0 to 299, and 65535 for none"):
        side_information(Selection(ids + (ids == 299)), ids.shape, 300, 1)


def test_the_indices_of_a_palette_picture_are_its_ids() -> None:
    picture = Image.fromarray(LABELS)
    palette = picture.convert("P")
    palette.putdata(LABELS.reshape(-1).tolist())
    assert np.array_equal(side_of(Selection(palette)).labels, LABELS)


def test_edges_are_the_given_ones_or_the_borders_of_labels_and_instances() -> None:
    edges = np.array([[1, 0, 0], [0, 0, 1]])
    assert np.array_equal(side_of(Selection(LABELS, edges)).edges, edges)
    instances = np.array([[7, 8, 8], [7, 8, 8]])
    labels = np.zeros_like(LABELS)
    assert np.array_equal(side_of(Selection(labels, instances=instances)).edges, borders(instances))
    assert np.array_equal(side_of(Selection(LABELS, instances=labels)).edges, borders(LABELS))


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection(), "needs the picture's label map"),
        (Selection(LABELS[:1]), r"the label map has the shape \(1, 3\), and the picture is 3 x 2 pixels"),
        (Selection(LABELS[None]), "the label map has the shape"),
        (Selection(LABELS + np.uint8(1)), "has id 3, and this model knows 0 to 2, and 255 for none"),
        (Selection(LABELS.astype(np.int64) - 1), "has id -1"),
        (Selection(LABELS.astype(np.float32)), "the label map must hold whole numbers, not float32"),
        (Selection(Image.new("RGB", (3, 2))), "the label map must be a single-channel image of ids, not RGB"),
        (Selection(LABELS, edges=LABELS), "the map of edges must hold truth values"),
        (Selection(LABELS, edges=LABELS.T > 0), "the map of edges has the shape"),
        (Selection(LABELS, instances=LABELS.T), "the instance map has the shape"),
        (Selection(LABELS, preserve=LABELS.T > 0), "the mask has the shape"),
        (Selection(LABELS, preserve=LABELS), "the mask must hold truth values"),
    ],
)
def test_maps_that_do_not_fit_are_refused_in_one_line(selection: Selection, reason: str) -> None:
    with pytest.raises(SelectionError, match=reason) as refusal:
        side_of(selection)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("preserve", ["box:0,0,9,9", "instances:1", "nothing", "box:1"])
def test_regions_that_do_not_fit_are_refused_in_one_line(preserve: str) -> None:
    with pytest.raises(RegionError, match=r"^[^\n]+$"):
        side_of(Selection(LABELS, preserve=preserve))
