"""The recipes keep what they should, as they should."""

import colorsys
import io
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencomp.data.dataset import CleanSelection, PaperSelection, PlainSelection, SelectionConfig
from gencomp.data.failure import Rejected
from gencomp.data.photograph import ORIENTATION
from gencomp.data.selection import Selected, clean_factor, mean_brightness, mean_saturation, select, tiles

Make = Callable[..., bytes]
PAPER = PaperSelection(
    longer_side=40,
    minimum_downscale=1.25,
    minimum_side=8,
    jpeg_quality=95,
    maximum_saturation=0.9,
    maximum_brightness=0.8,
)
CLEAN = CleanSelection(seed=1, shorter_side=20, minimum_downscale=1.25, maximum_saturation=0.9, maximum_brightness=0.8)
PLAIN = PlainSelection(minimum_side=8)
REDUCED = PlainSelection(minimum_side=8, longer_side=40)


def png(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def apply(config: SelectionConfig, data: bytes, extension: str = "png", code: int = 1, key: str = "k") -> Selected:
    return select(config, key, data, extension, code, 10**6)


def reason(config: SelectionConfig, image: Image.Image) -> str:
    with pytest.raises(Rejected) as error:
        apply(config, png(image))
    return error.value.reason


def opened(selected: Selected) -> Image.Image:
    return Image.open(io.BytesIO(selected.data))


def test_paper_reduces_by_bicubic_interpolation_into_jpeg_of_the_stated_quality(make_photo: Make) -> None:
    data = make_photo(1, 61, 93, "PNG")
    selected = apply(PAPER, data)
    expected = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((26, 40), Image.Resampling.BICUBIC).save(expected, "JPEG", quality=95)
    assert selected == Selected(expected.getvalue(), "jpg", (26, 40), (61, 93))


def test_paper_by_area_gives_each_pixel_the_mean_of_what_it_covers(make_photo: Make) -> None:
    data = make_photo(1, 80, 60, "PNG")
    by_area = msgspec.structs.replace(PAPER, interpolation="area")
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(np.uint16)
    means = (pixels[::2, ::2] + pixels[::2, 1::2] + pixels[1::2, ::2] + pixels[1::2, 1::2] + 2) // 4
    expected = io.BytesIO()
    Image.fromarray(means.astype(np.uint8)).save(expected, "JPEG", quality=95)
    assert apply(by_area, data) == Selected(expected.getvalue(), "jpg", (40, 30), (80, 60))
    assert apply(by_area, data).data != apply(PAPER, data).data


def test_an_image_of_unknown_orientation_is_turned_by_what_its_file_says(make_photo: Make) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = make_photo(1, 93, 61, exif=exif)
    turned = select(PAPER, "k", data, "jpg", None, 10**6)
    assert turned == apply(PAPER, data, code=6) and turned.original_size == (61, 93)


def test_paper_keeps_from_a_factor_of_one_and_a_quarter_on(make_photo: Make) -> None:
    assert apply(PAPER, make_photo(1, 50, 30, "PNG")).size == (40, 24)
    for width, height in ((49, 49), (400, 60)):
        assert reason(PAPER, Image.open(io.BytesIO(make_photo(1, width, height, "PNG")))) == "too-small"


@pytest.mark.parametrize("config", [PAPER, CLEAN], ids=["paper", "clean"])
def test_each_reject_has_its_reason(config: SelectionConfig) -> None:
    assert reason(config, Image.new("L", (80, 80), 90)) == "greyscale"
    assert reason(config, Image.new("CMYK", (80, 80)).convert("P")) == "not-rgb"
    assert reason(config, Image.new("RGBA", (80, 80))) == "not-rgb"
    assert reason(config, Image.new("RGB", (80, 80), (200, 10, 0))) == "saturated"
    assert reason(config, Image.new("RGB", (80, 80), (210, 200, 190))) == "bright"
    assert reason(config, Image.new("RGB", (20, 20), (90, 80, 70))) == "too-small"
    assert apply(config, png(Image.new("RGB", (80, 80), (200, 24, 22)))).size[0] <= 64


def test_colours_are_judged_after_the_reduction() -> None:
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 255, 255)
    image = Image.fromarray(stripes)
    assert mean_saturation(image) == 1.0
    assert apply(PAPER, png(image)).size == (40, 40)


def test_saturation_and_brightness_are_those_of_hsv() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (7, 11, 3), np.uint8)
    pixels[0, :3] = [(0, 0, 0), (255, 255, 255), (9, 9, 9)]
    hsv = np.array([colorsys.rgb_to_hsv(*(pixel / 255)) for pixel in pixels.reshape(-1, 3)])
    image = Image.fromarray(pixels)
    assert mean_saturation(image) == pytest.approx(hsv[:, 1].mean(), abs=1e-12)
    assert mean_brightness(image) == pytest.approx(hsv[:, 2].mean(), abs=1e-12)


def test_clean_reduces_by_lanczos_into_png_by_a_factor_of_seed_and_key_alone(make_photo: Make) -> None:
    data = make_photo(1, 93, 61, "PNG")
    factor = clean_factor(CLEAN, "k", (93, 61))
    size = (round(93 * factor), round(61 * factor))
    selected = apply(CLEAN, data)
    expected = Image.open(io.BytesIO(data)).resize(size, Image.Resampling.LANCZOS)
    assert (selected.extension, selected.size) == ("png", size)
    assert np.array_equal(np.asarray(opened(selected)), np.asarray(expected))
    assert apply(CLEAN, data) == selected


def test_clean_factors_fill_the_range_and_change_with_the_seed() -> None:
    factors = [clean_factor(CLEAN, f"key{index}", (200, 100)) for index in range(400)]
    assert min(factors) >= 0.2 and max(factors) <= 0.8
    assert min(factors) < 0.22 and max(factors) > 0.78 and abs(np.mean(factors) - 0.5) < 0.03
    other = CleanSelection(
        seed=2, shorter_side=20, minimum_downscale=1.25, maximum_saturation=0.9, maximum_brightness=0.8
    )
    assert clean_factor(other, "key0", (200, 100)) != factors[0]


@pytest.mark.parametrize(("form", "extension"), [("JPEG", "jpg"), ("PNG", "png")])
def test_none_keeps_the_original_bytes(make_photo: Make, form: str, extension: str) -> None:
    data = make_photo(1, 33, 17, form)
    assert apply(PLAIN, data, extension) == Selected(data, extension, (33, 17), (33, 17))
    assert apply(REDUCED, data, extension).data == data


def test_none_decodes_no_jpeg_that_it_keeps_and_every_one_that_it_changes(make_photo: Make) -> None:
    data = make_photo(1, 93, 61)[:-300]
    assert apply(PLAIN, data, "jpg").data == data
    for how in ({"code": 6}, {"config": PlainSelection(minimum_side=8, longer_side=32)}):
        with pytest.raises(Rejected, match="corrupt"):
            apply(**{"config": PLAIN, "data": data, "extension": "jpg", **how})
    assert reason(PLAIN, Image.open(io.BytesIO(make_photo(1, 33, 7)))) == "too-small"


def test_none_reduces_only_what_is_larger(make_photo: Make) -> None:
    selected = apply(REDUCED, make_photo(1, 93, 61), "jpg")
    assert (selected.extension, selected.size, selected.original_size) == ("png", (40, 26), (93, 61))


def test_none_turns_what_cannot_stay_into_upright_rgb_png(make_photo: Make) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = apply(PLAIN, make_photo(1, 33, 17, "PNG", exif=exif), code=6)
    assert (turned.size, turned.original_size, opened(turned).size) == ((17, 33), (17, 33), (17, 33))
    assert not opened(turned).getexif()
    assert opened(apply(PLAIN, make_photo(1, 33, 17, "WEBP"), "webp")).mode == "RGB"
    assert opened(apply(PLAIN, png(Image.new("L", (9, 9), 77)))).getpixel((4, 4)) == (77, 77, 77)
    clear = Image.new("RGBA", (9, 9), (10, 20, 30, 0))
    assert opened(apply(PLAIN, png(clear))).getpixel((4, 4)) == (255, 255, 255)


def test_none_refuses_the_tiny_and_the_deep() -> None:
    assert reason(PLAIN, Image.new("RGB", (100, 7))) == "too-small"
    assert reason(PLAIN, Image.fromarray(np.zeros((9, 9), np.uint16))) == "not-rgb"


def test_samples_carry_no_profile_or_comment_of_the_original(make_photo: Make) -> None:
    data = make_photo(1, 93, 61, "JPEG", icc_profile=b"profile", comment=b"hello", dpi=(300, 300))
    for config in (PAPER, CLEAN, REDUCED):
        info = opened(apply(config, data, "jpg")).info
        assert not {"icc_profile", "comment"} & info.keys()


@given(st.integers(64, 300), st.integers(64, 300), st.integers(64, 128))
def test_tiles_are_few_nearly_equal_and_make_up_the_image(width: int, height: int, tile: int) -> None:
    config = PlainSelection(minimum_side=8, tile=tile)
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    selected = apply(config, png(Image.fromarray(pixels)))
    found = list(tiles(config, "k", selected))
    assert len(found) == -(-width // tile) * -(-height // tile)
    seen = np.zeros((height, width), np.int64)
    for part in found:
        left, upper, right, lower = part.box
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(part.data))), pixels[upper:lower, left:right])
        assert tile // 2 <= right - left <= tile and tile // 2 <= lower - upper <= tile
        seen[upper:lower, left:right] += 1
    assert (seen == 1).all()
    assert len({part.key for part in found}) == len(found)


def test_an_image_of_one_tile_keeps_its_bytes_and_its_key(make_photo: Make) -> None:
    config = PlainSelection(minimum_side=8, tile=100)
    data = make_photo(1, 100, 93)
    selected = apply(config, data, "jpg")
    assert [part[:3] for part in tiles(config, "k", selected)] == [("k", data, "jpg")]
    assert len(list(tiles(PLAIN, "k", selected))) == 1
