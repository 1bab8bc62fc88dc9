"""Side information: lossless, bounded, and refused where it is damaged; and what users may give for it."""

import io
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.codec.container import VERSION, StreamError
from gencomp.codec.regions import RegionError
from gencomp.codec.selection import Selection, SelectionError, latent_mask, side_information
from gencomp.codec.side import Side, borders, pack_side, unpack_mask, unpack_side
from gencomp.data.semantics import instance_edges
from gencomp.data.streets import render
from gencomp.models.selective import mask_to_latent
from tests.codec.plain import plain_side

STRIDE = 8


@st.composite
def sides(draw: st.DrawFn) -> Side:
    """Side information of coarse or noisy maps: of one class or all of them, with nothing, some or all of the rest."""
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    block = draw(st.sampled_from([1, 7, 50]))
    kind = draw(st.sampled_from([np.uint8, np.uint16]))
    void = int(np.iinfo(kind).max)
    palette = np.array(draw(st.sampled_from([[0], [void], [0, 1, void], range(void + 1)])))
    coarse = random.choice(palette, (height // block + 1, width // block + 1)).astype(kind)
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


@given(sides())
@settings(max_examples=60)
def test_any_side_information_comes_back_exactly(side: Side) -> None:
    data = pack_side(side)
    height, width = side.labels.shape
    assert equal(unpack_side(data, height, width, STRIDE, classes_of(side)), side)
    assert np.array_equal(unpack_mask(data, height, width, STRIDE), side.mask)


@given(sides())
@settings(max_examples=30)
def test_the_format_is_as_described(side: Side) -> None:
    height, width = side.labels.shape
    found = plain_side(pack_side(side), height, width, STRIDE, 8 * side.labels.itemsize)
    assert [np.array_equal(a, b) for a, b in zip(found, side, strict=True)] == [True] * 3


@pytest.mark.parametrize("shape", [(1, 700), (700, 1), (257, 256), (300, 523)], ids=str)
def test_maps_of_several_tiles_come_back_exactly(shape: tuple[int, int]) -> None:
    y, x = np.indices(shape)
    labels = (np.sin(x / 40) + np.cos(y / 30) > 0.3).astype(np.uint8) + 254 * ((x // 60 + y // 50) % 5 == 0)
    side = Side(labels.astype(np.uint8), (x * y % 97 == 0), (x + y)[::STRIDE, ::STRIDE] % 31 < 20)
    assert equal(unpack_side(pack_side(side), *shape, STRIDE, 255), side)


def test_several_tiles_are_as_described() -> None:
    labels = (np.arange(3 * 300).reshape(3, 300) % 300 // 45).astype(np.uint8)
    side = Side(labels, labels % 2 > 0, np.arange(38)[None] % 7 < 3)
    found = plain_side(pack_side(side), 3, 300, STRIDE, 8)
    assert [np.array_equal(a, b) for a, b in zip(found, side, strict=True)] == [True] * 3


def test_zeros_and_edges_that_are_borders_take_no_bytes() -> None:
    empty = Side(np.zeros((64, 48), np.uint8), np.zeros((64, 48), np.bool_), np.zeros((8, 6), np.bool_))
    assert pack_side(empty) == b""
    labels = np.zeros((64, 48), np.uint8)
    labels[20:, 10:] = 3
    derived = pack_side(Side(labels, borders(labels), np.zeros((8, 6), np.bool_)))
    given_edges = pack_side(Side(labels, borders(labels) & False, np.zeros((8, 6), np.bool_)))
    assert len(derived) < 20 and len(derived) < len(given_edges) < 40


def test_label_maps_of_scenes_take_less_than_half_of_an_optimised_png() -> None:
    scene = render(7, 0)
    png = io.BytesIO()
    Image.fromarray(scene.labels).save(png, "PNG", optimize=True)
    edges = borders(scene.labels) | borders(scene.instances)
    alone = pack_side(Side(scene.labels, borders(scene.labels), np.ones((32, 64), np.bool_)))
    assert len(alone) < 0.5 * len(png.getvalue())
    assert len(pack_side(Side(scene.labels, edges, np.ones((32, 64), np.bool_)))) < 1.3 * len(alone)


def test_of_the_bytes_that_stand_for_maps_the_shortest_are_written() -> None:
    labels = np.random.default_rng(3).integers(0, 3, (9, 8)).astype(np.uint8)
    side = Side(labels, borders(labels), np.ones((2, 1), np.bool_))
    data = pack_side(side)
    for size in range(len(data)):
        above = (int.from_bytes(data[:size]) + 1).to_bytes(size + 1)[-size:] if size else b""
        for shorter in (data[:size], above):
            try:
                other = unpack_side(shorter, 9, 8, STRIDE, 19)
            except StreamError:
                continue
            assert not equal(other, side)


@given(sides(), st.data())
@settings(max_examples=60)
def test_damaged_side_information_is_decoded_or_refused_and_nothing_else(side: Side, data: st.DataObject) -> None:
    height, width = side.labels.shape
    packed = bytearray(pack_side(side) or b"\0")
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(packed[: data.draw(st.integers(0, len(packed)))]) + data.draw(st.binary(max_size=4))
    decoded_or_refused(damaged, height, width, classes_of(side))


@given(st.binary(max_size=80), st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=50)
def test_foreign_bytes_are_decoded_or_refused_and_nothing_else(noise: bytes, height: int, width: int) -> None:
    decoded_or_refused(noise, height, width, 19)
    decoded_or_refused(noise, height, width, 300)


def decoded_or_refused(data: bytes, height: int, width: int, classes: int, version: int = VERSION) -> None:
    try:
        side = unpack_side(data, height, width, STRIDE, classes, version)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert side.labels.shape == side.edges.shape == (height, width)
        assert side.mask.shape == (-(-height // STRIDE), -(-width // STRIDE))


def test_side_information_that_goes_on_behind_its_maps_is_refused() -> None:
    side = Side(LABELS, borders(LABELS), np.ones((1, 1), np.bool_))
    data = pack_side(side)
    with pytest.raises(StreamError, match="longer than its maps"):
        unpack_side(data.ljust(40, b"\1"), 2, 3, STRIDE, 19)


def test_no_data_makes_a_decoder_take_more_memory_than_its_maps() -> None:
    for data in (b"", b"\xff" * 100, bytes(range(256)) * 400):
        tracemalloc.start()
        try:
            unpack_side(data, 300, 200, STRIDE, 19)
        except StreamError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 4_000_000


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
