import io
import itertools
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from gencomp.codec import pixels as pixels_module
from gencomp.codec.pixels import (
    PictureError,
    canonical,
    check_size,
    check_writable,
    encode_picture,
    open_picture,
    read_colour,
    read_picture,
)

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)


def pixels(image: Image.Image) -> np.ndarray:
    canon = canonical(image)
    assert canon.mode == "RGB"
    return np.asarray(canon).astype(int)


def saved(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def png16(values: np.ndarray, colour_type: int) -> io.BytesIO:
    """A 16-bit PNG, which Pillow does not write in colour."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks))


def told(image: Image.Image) -> list[str]:
    """What is said about a picture."""
    lines: list[str] = []
    canonical(image, tell=lines.append)
    return lines


def gamma_profile(space: bytes = b"RGB ", gamma: float = 1.0) -> bytes:
    """A profile of sRGB's primaries, or of grey, whose values are light to the power of 1 / gamma."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"
    tags = {b"wtpt": _xyz(0.9642, 1, 0.8249)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": _xyz(0.4361, 0.2225, 0.0139), b"gXYZ": _xyz(0.3851, 0.7169, 0.0971)}
        tags |= {b"bXYZ": _xyz(0.1431, 0.0606, 0.7141), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    return _profile(b"mntr", space, b"XYZ ", tags)


INKS = {
    (0, 0, 0): (100, 0, 0),
    (1, 0, 0): (60, -20, -30),
    (0, 1, 0): (50, 50, 0),
    (0, 0, 1): (88, 0, 60),
    (0, 1, 1): (48, 50, 35),
    (1, 0, 1): (50, -35, 25),
    (1, 1, 0): (30, 15, -40),
    (1, 1, 1): (25, 0, 0),
}
"""L*, a* and b* of full cyan, magenta and yellow, printed or not, of dull inks; with black over them it is 0, 0, 0."""


def ink_profile() -> bytes:
    """A profile of a printer by INKS: its colours in a table (lut8) of two values of each ink."""
    corners = [INKS[c, m, y] if k == 0 else (0, 0, 0) for c, m, y, k in itertools.product((0, 1), repeat=4)]
    table = bytes(value for L, a, b in corners for value in (round(L * 2.55), a + 128, b + 128))
    identity = struct.pack(">9i", *(65536 * value for value in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    curve = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + 4 * curve + table + 3 * curve
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"A2B0": lut})


def srgb_of(L: float, a: float, b: float) -> np.ndarray:
    """Of a colour under D50, 0 to 255: by way of XYZ, adapted to D65 as Bradford has it."""
    f = (L + 16) / 116 + np.array([a / 500, 0, -b / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1, 0.8249)
    light = [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]] @ xyz
    assert light.min() > -0.01 and light.max() < 1.01, "sRGB does not have it"
    light = light.clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _profile(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    white = struct.pack(">3i", *(round(65536 * value) for value in (0.9642, 1, 0.8249)))
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, device, space, connection)
    return (head + bytes(12) + b"acsp" + bytes(28) + white).ljust(128, b"\0") + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *(round(65536 * value) for value in values))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_rgb_stays_as_it_is() -> None:
    assert np.array_equal(pixels(Image.fromarray(RGB)), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "RGBa", "PA", "CMYK", "YCbCr", "HSV"])
def test_white_of_every_mode_is_white(mode: str) -> None:
    white = Image.new("RGBA", (3, 2), "white")
    image = {"PA": white.convert("P").convert("PA"), "RGBX": Image.new("RGBX", (3, 2), (255, 255, 255, 255))}.get(mode)
    image = image or white.convert("RGB" if mode in ("CMYK", "YCbCr", "HSV", "1", "P") else "RGBA").convert(mode)
    assert image.mode == mode
    assert (pixels(image) >= 254).all()


def test_grey_becomes_three_equal_channels() -> None:
    grey = RGB[..., 0]
    assert np.array_equal(pixels(Image.fromarray(grey)), np.repeat(grey[..., None], 3, -1))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_files_are_scaled_to_8_bits(kind: str) -> None:
    wide = np.array([[0, 128, 129, 257, 32768, 65534, 65535]], np.uint16)
    with Image.open(saved(Image.fromarray(wide), kind)) as image:
        assert image.mode == "I;16"
        assert pixels(image)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]


def test_big_endian_16_bit_grey_is_scaled_alike() -> None:
    wide = np.array([[0, 257, 65535]], ">u2")
    image = Image.frombytes("I;16B", (3, 1), wide.tobytes())
    assert pixels(image)[0, :, 0].tolist() == [0, 1, 255]


def test_32_bit_modes_hold_16_bit_values() -> None:
    wide = RANDOM.integers(0, 256, (4, 6)).astype(np.int32)
    for array in (wide * 257, (wide * 257).astype(np.float32)):
        assert np.array_equal(pixels(Image.fromarray(array))[..., 0], wide)


def test_16_bit_pgm_files_are_scaled() -> None:
    wide = RANDOM.integers(0, 65536, (4, 6)).astype(np.uint16)
    with Image.open(io.BytesIO(b"P5 6 4 65535\n" + wide.astype(">u2").tobytes())) as image:
        assert image.mode == "I"
        assert np.array_equal(pixels(image)[..., 0], np.floor(wide / 257 + 0.5))


def test_floats_up_to_one_are_fractions_of_white() -> None:
    floats = np.array([[0, 0.25, 0.5, 1]], np.float32)
    with Image.open(saved(Image.fromarray(floats), "TIFF")) as image:
        assert image.mode == "F"
        assert pixels(image)[0, :, 0].tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize("value", [-1.0, 65536.0, float("nan"), float("inf")])
def test_floats_that_are_no_grey_values_are_refused(value: float) -> None:
    with pytest.raises(PictureError, match="within 0 to 65535"):
        canonical(Image.fromarray(np.array([[0, value]], np.float32)))


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_16_bit_colour_and_alpha_pngs_are_read(colour_type: int, channels: int) -> None:
    wide = RANDOM.integers(0, 65536, (4, 6, channels))
    opaque = channels in (2, 4)
    if opaque:
        wide[..., -1] = 65535
    with Image.open(png16(wide, colour_type)) as image:
        assert np.abs(pixels(image) - wide[..., : 3 if channels > 2 else 1] / 257).max() <= 1


def test_alpha_is_composited_over_white() -> None:
    rgba = RANDOM.integers(0, 256, (9, 9, 4)).astype(np.uint8)
    rgba[0, 0] = (10, 20, 30, 0)
    rgba[0, 1] = (10, 20, 30, 255)
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(pixels(Image.fromarray(rgba, "RGBA")) - expected).max() <= 1
    assert pixels(Image.fromarray(rgba, "RGBA"))[0, :2].tolist() == [[255, 255, 255], [10, 20, 30]]


def test_grey_with_alpha_is_composited_over_white() -> None:
    image = Image.new("LA", (2, 1), (0, 0))
    image.putpixel((1, 0), (40, 255))
    assert pixels(image)[0].tolist() == [[255, 255, 255], [40, 40, 40]]


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putpixel((1, 0), 1)
    with Image.open(saved(image, "PNG", transparency=0)) as read:
        assert read.mode == "P"
        assert pixels(read)[0].tolist() == [[255, 255, 255], [0, 0, 200]]
    assert pixels(image)[0].tolist() == [[200, 0, 0], [0, 0, 200]]


def test_a_transparent_colour_key_is_white() -> None:
    with Image.open(saved(Image.fromarray(RGB), "PNG", transparency=tuple(RGB[0, 0].tolist()))) as image:
        assert image.mode == "RGB"
        assert pixels(image)[0, 0].tolist() == [255, 255, 255]
        assert pixels(image)[1, 1].tolist() == RGB[1, 1].tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16"])
def test_colours_are_converted_from_their_profile(mode: str) -> None:
    """Half of the light, as a linear profile spells it, is 188 in sRGB."""
    grey = mode in ("L", "LA", "I;16")
    if mode == "I;16":
        image = Image.fromarray(np.full((2, 3), 128 * 257, np.uint16))
    else:
        image = Image.new("RGBA", (3, 2), (128, 128, 128, 255)).convert(mode)
    for space in (b"GRAY", b"RGB ") if grey else (b"RGB ",):
        image.info["icc_profile"] = gamma_profile(space)
        assert np.abs(pixels(image) - 188).max() <= 1
        assert told(image) == []
    del image.info["icc_profile"]
    assert np.abs(pixels(image) - 128).max() <= 1


def test_transparent_colours_are_converted_and_their_background_is_not() -> None:
    image = Image.new("RGBA", (2, 1), (128, 128, 128, 255))
    image.putpixel((1, 0), (128, 128, 128, 0))
    image.info["icc_profile"] = gamma_profile()
    found = np.asarray(canonical(image, background=(128, 10, 0)))
    assert np.abs(found[0, 0].astype(int) - 188).max() <= 1
    assert found[0, 1].tolist() == [128, 10, 0]


def test_the_profile_of_srgb_changes_nothing() -> None:
    image = Image.fromarray(RGB)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(pixels(image), RGB)


@pytest.mark.parametrize(
    ("mode", "profile", "reason"),
    [
        ("RGB", b"no profile", "cannot be read and is ignored"),
        ("RGB", gamma_profile()[:200], "cannot be read and is ignored"),
        ("RGB", gamma_profile(b"GRAY"), "of GRAY, is not for pictures of mode RGB"),
        ("CMYK", gamma_profile(), "of RGB, is not for pictures of mode CMYK"),
    ],
)
def test_a_profile_that_does_not_fit_is_ignored_and_told_of(mode: str, profile: bytes, reason: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    expected = pixels(image)
    image.info["icc_profile"] = profile
    assert np.array_equal(pixels(image), expected)
    (line,) = told(image)
    assert reason in line and "\n" not in line


def test_cmyk_without_a_profile_is_of_ideal_inks() -> None:
    assert pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).tolist() == [[[255, 0, 0]]]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_profile(kind: str) -> None:
    colours = [np.array([c, m, y, k]) * 255 for (c, m, y), k in itertools.product(INKS, (0, 1))]
    image = Image.fromarray(np.stack(colours).astype(np.uint8)[:, None].repeat(16, 0).repeat(16, 1), "CMYK")
    options = {"quality": 100} if kind == "JPEG" else {}
    with Image.open(saved(image, kind, icc_profile=ink_profile(), **options)) as read:
        assert (read.mode, told(read)) == ("CMYK", [])
        found = pixels(read)[8::16, 8]
    expected = [srgb_of(*INKS[c, m, y]) if k == 0 else np.zeros(3) for c, m, y, k in np.array(colours) // 255]
    assert np.abs(found - expected).max() <= 3
    ideal = pixels(image)[8::16, 8]
    assert np.abs(found - ideal).max() > 50


def test_another_background_shows_where_the_picture_does_not() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    found = np.asarray(canonical(image, background=read_colour("#ff8000")))
    assert found[0].tolist() == [[255, 128, 0], [10, 20, 30]]


@pytest.mark.parametrize("text", ["whitish", "#12", ""])
def test_colours_that_there_are_not_are_refused(text: str) -> None:
    assert read_colour("white") == read_colour("#fff") == (255, 255, 255)
    with pytest.raises(PictureError, match="is no colour: give a name such as white"):
        read_colour(text)


def test_without_a_background_transparent_pixels_are_refused_and_opaque_ones_are_not() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 255))
    assert np.asarray(canonical(image, background=None))[0].tolist() == [[10, 20, 30]] * 2
    image.putpixel((1, 0), (10, 20, 30, 254))
    with pytest.raises(PictureError, match="has transparent pixels"):
        canonical(image, background=None)


@pytest.mark.parametrize("mode", ["RGBA", "P", "F", "I", "CMYK", "1"])
def test_pictures_are_converted_in_bands_and_no_border_shows(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (30, 20, 4)).astype(np.uint8), "RGBA")
    image = image.convert("L" if mode in "FI" else "RGB" if mode == "CMYK" else "RGBA").convert(mode)
    whole = pixels(image)
    monkeypatch.setattr(pixels_module, "BAND_PIXELS", 70)
    assert np.array_equal(pixels(image), whole)


def test_what_is_canonical_is_not_copied() -> None:
    image = Image.fromarray(RGB)
    assert canonical(image) is image
    image.info["icc_profile"] = b""
    assert canonical(image) is not image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: np.rot90(RGB.transpose(1, 0, 2), 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    with Image.open(file) as image:
        assert np.array_equal(pixels(image), RGB)
        assert np.array_equal(pixels(canonical(image)), RGB)  # once and for all


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_metadata_is_no_reason_to_refuse() -> None:
    with Image.open(saved(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(3))) as image:
        assert np.array_equal(pixels(image), RGB)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    with Image.open(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)) as image:
        image.seek(2)
        assert (pixels(image) == (255, 0, 0)).all()
        assert told(image) == ["it has more than one frame: only the first is taken"]
    with Image.open(saved(frames[0], kind)) as image:
        assert told(image) == []


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_pictures_without_pixels_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match="is empty"):
        check_size(Image.new("RGB", size), 100)


def test_pictures_above_the_limit_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b""))]
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks))
    with pytest.raises(PictureError, match="over the limit of 100 pixels"):
        open_picture(bomb, max_pixels=100)
    Image.new("1", (10000, 10000)).save(bomb)  # Pillow only warns about this one
    with pytest.raises(PictureError, match="10000 x 10000 pixels is over the limit"):
        open_picture(bomb, max_pixels=100)


@pytest.mark.filterwarnings("ignore")  # Pillow remarks on damaged metadata
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_damaged_files_give_a_picture_or_one_line(position: int, damage: bytes) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        data = bytearray(saved(Image.fromarray(RGB), kind).getvalue())
        start = position % len(data)
        data[start : start + len(damage)] = damage
        try:
            assert read_picture(bytes(data), max_pixels=10_000).mode == "RGB"
        except PictureError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(("name", "content"), [("text.png", b"hello"), ("empty.png", b""), ("half.png", None)])
def test_unreadable_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    whole = saved(Image.fromarray(RANDOM.integers(0, 256, (50, 50, 3)).astype(np.uint8)), "PNG").getvalue()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(PictureError, match=rf"{name}[^\n]+$"):
        open_picture(path, max_pixels=10_000)


@pytest.mark.parametrize(("ending", "kind"), [(".png", "PNG"), (".PNG", "PNG"), (".webp", "WEBP")])
def test_lossless_endings_keep_every_pixel(ending: str, kind: str) -> None:
    with Image.open(io.BytesIO(encode_picture(Image.fromarray(RGB), ending))) as image:
        assert image.format == kind
        assert np.array_equal(np.asarray(image), RGB)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg"])
def test_jpeg_endings_give_jpeg(ending: str) -> None:
    with Image.open(io.BytesIO(encode_picture(Image.new("RGB", (9, 9), (9, 99, 199)), ending))) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - (9, 99, 199)).max() <= 3


@pytest.mark.parametrize("ending", ["", ".gif", ".gnc"])
def test_other_endings_are_refused(ending: str) -> None:
    with pytest.raises(PictureError, match="are written as .png, .jpg or .webp"):
        encode_picture(Image.fromarray(RGB), ending)


@pytest.mark.parametrize(("ending", "longest"), [(".JPG", 65535), (".jpeg", 65535), (".webp", 16383)])
def test_pictures_too_long_for_their_format_are_refused(ending: str, longest: int) -> None:
    check_writable(longest, 1, ending)
    check_writable(1, longest + 1, ".png")
    with pytest.raises(PictureError, match=f"whose sides end at {longest}: write .png"):
        check_writable(1, longest + 1, ending)
