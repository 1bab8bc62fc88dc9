"""A region becomes a mask of the picture's size or one line that says why not."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.regions import FORMS, MaskImage, RegionError, parse_region, read_ids

LABELS = np.array([[0, 1, 2, 255], [3, 1, 0, 0]])
sides = st.integers(1, 20)
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def saved(folder: Path, pixels: NDArray[np.generic], mode: str | None = None) -> Path:
    path = folder / "mask.png"
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


@given(sides, sides)
def test_none_and_all_need_nothing(height: int, width: int) -> None:
    for text, preserved in (("none", False), ("all", True)):
        mask = parse_region(text).mask(height, width)
        assert mask.shape == (height, width) and mask.dtype == np.bool_
        assert (mask == preserved).all()


@given(st.data(), sides, sides)
def test_a_box_holds_its_columns_and_rows_without_the_last(data: st.DataObject, height: int, width: int) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    mask = parse_region(f"box:{left},{top},{right},{bottom}").mask(height, width)
    assert mask.sum() == (right - left) * (bottom - top)
    assert mask[top:bottom, left:right].all()


@given(sides, sides, st.integers(1, 30), st.booleans())
def test_a_box_beyond_the_picture_is_refused(height: int, width: int, beyond: int, across: bool) -> None:
    right, bottom = (width + beyond, height) if across else (width, height + beyond)
    with pytest.raises(RegionError, match=f"not within the picture of {width} x {height} pixels"):
        parse_region(f"box:0,0,{right},{bottom}").mask(height, width)


@pytest.mark.parametrize(
    "text", ["box:", "box:1,2,3", "box:1,2,3,4,5", "box:-1,0,3,3", "box:3,0,3,5", "box:0,5,3,2", "box:0,0,1.5,2"]
)
def test_what_is_no_box_is_refused(text: str) -> None:
    with pytest.raises(RegionError, match="x0 < x1 and y0 < y1"):
        parse_region(text)


@given(st.integers(0, 2**32 - 1), sides, sides, st.sets(st.integers(0, 5), min_size=1))
def test_ids_preserve_their_pixels_and_no_others(seed: int, height: int, width: int, ids: set[int]) -> None:
    labels = np.random.default_rng(seed).integers(0, 6, (height, width)).astype(np.uint8)
    text = ",".join(map(str, ids))
    expected = np.array([[int(id) in ids for id in row] for row in labels])
    assert np.array_equal(parse_region(f"classes:{text}").mask(height, width, labels), expected)
    present = sorted(ids & set(labels.flat))
    if present:
        region = parse_region(f"instances:{','.join(map(str, present))}")
        assert np.array_equal(region.mask(height, width, instances=labels), expected)


def test_a_known_class_that_the_picture_does_not_show_preserves_nothing() -> None:
    assert not parse_region("classes:1").mask(2, 4, np.zeros((2, 4), np.int64)).any()


def test_maps_that_are_missing_or_of_another_size_are_named() -> None:
    with pytest.raises(RegionError, match=r"classes \(1\) needs a label map"):
        parse_region("classes:1").mask(2, 4)
    with pytest.raises(RegionError, match=r"instances \(7,8\) needs an instance map"):
        parse_region("instances:7,8").mask(2, 4, LABELS)
    with pytest.raises(RegionError, match="the label map has 4 x 2 pixels, and the picture 2 x 4"):
        parse_region("classes:1").mask(4, 2, LABELS)
    with pytest.raises(RegionError, match="no instance 9"):
        parse_region("instances:1,9").mask(2, 4, instances=LABELS)


@pytest.mark.parametrize(
    "text", ["", "some", "classes:", "classes:1,,2", "classes:car", "instances:a", "boxes:1,2,3,4", "all:"]
)
def test_what_is_no_region_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(RegionError, match="is no region") as caught:
        parse_region(text)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(st.text() | st.builds("{}:{}".format, st.sampled_from(["box", "classes", "instances"]), st.text()))
def test_any_text_is_a_region_or_one_line(text: str) -> None:
    try:
        mask = parse_region(text).mask(2, 4, LABELS, LABELS)
    except RegionError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert mask.shape == (2, 4) and mask.dtype == np.bool_


@relaxed
@given(st.integers(0, 2**32 - 1), sides, sides, st.sampled_from([None, "1", "RGB", "RGBA", "P", "LA", "I;16"]))
def test_a_mask_image_of_any_mode_preserves_what_is_not_black(
    tmp_path: Path, seed: int, height: int, width: int, mode: str | None
) -> None:
    expected = np.random.default_rng(seed).random((height, width)) < 0.5
    path = saved(tmp_path, expected.astype(np.uint8) * 255, mode)
    assert np.array_equal(parse_region(str(path)).mask(height, width), expected)


def test_the_faintest_value_of_16_bits_counts_and_transparency_does_not(tmp_path: Path) -> None:
    faint = np.array([[0, 1, 65535]], np.uint16)
    assert MaskImage(saved(tmp_path, faint)).mask(1, 3).tolist() == [[False, True, True]]
    glass = np.array([[[0, 0, 0, 255], [0, 0, 1, 0], [0, 0, 0, 0]]], np.uint8)
    assert MaskImage(saved(tmp_path, glass)).mask(1, 3).tolist() == [[False, True, False]]


def test_a_mask_image_of_another_size_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, np.random.default_rng(0).integers(0, 255, (30, 20)).astype(np.uint8))
    with pytest.raises(RegionError, match="has 20 x 30 pixels, and the picture 30 x 20"):
        parse_region(str(path)).mask(20, 30)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RegionError, match="cannot be read as an image"):
        parse_region(str(path)).mask(30, 20)
    path.write_text("no image")
    with pytest.raises(RegionError, match="cannot be read as an image"):
        parse_region(str(path)).mask(30, 20)
    with pytest.raises(RegionError, match=f"no file: give {FORMS}"):
        parse_region(str(tmp_path / "absent.png"))


def test_ids_come_from_single_channels_and_from_the_indices_of_a_palette(tmp_path: Path) -> None:
    ids = np.array([[0, 7, 255]], np.uint8)
    assert read_ids(saved(tmp_path, ids), 1, 3).tolist() == ids.tolist()
    assert read_ids(saved(tmp_path, ids.astype(np.uint16) * 257), 1, 3).tolist() == [[0, 1799, 65535]]
    indexed = Image.fromarray(ids)
    indexed.putpalette([200, 100, 50] * 256)
    indexed.save(tmp_path / "palette.png")
    assert read_ids(tmp_path / "palette.png", 1, 3).tolist() == ids.tolist()
    with pytest.raises(RegionError, match="no single-channel image of ids but RGB"):
        read_ids(saved(tmp_path, ids, "RGB"), 1, 3)
    with pytest.raises(RegionError, match="3 x 1 pixels, and the picture 4 x 1"):
        read_ids(saved(tmp_path, ids), 1, 4)


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", np.uint8), ("L", np.uint8), ("P", np.uint8), ("I;16", np.uint16), ("I", np.int32)]
)
def test_ids_take_no_more_memory_than_the_image(tmp_path: Path, mode: str, kind: type[np.integer]) -> None:
    ids = np.random.default_rng(0).integers(0, 2, (600, 900))
    if mode == "1":
        image = Image.fromarray(ids.astype(np.bool_))
    else:
        image = Image.fromarray(ids.astype(kind)).convert("P" if mode == "P" else None)
    assert image.mode == mode
    image.save(tmp_path / "ids.tif", compression="packbits")
    tracemalloc.start()
    try:
        found = read_ids(tmp_path / "ids.tif", 600, 900)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.dtype == kind
    assert np.array_equal(found > 0, ids > 0)
    assert peak < 3 * found.nbytes  # Pillow's rows, and what they are joined to


def test_ids_of_few_bytes_are_compared_as_the_numbers_that_they_are() -> None:
    labels = np.array([[0, 44, 255]], np.uint8)
    for classes, expected in (("classes:300", [False] * 3), ("classes:44,300", [False, True, False])):
        assert parse_region(classes).mask(1, 3, labels=labels).tolist() == [expected]
    with pytest.raises(RegionError, match="no instance 300"):
        parse_region("instances:300").mask(1, 3, instances=labels)
