"""Only whole images pass for images."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from gencomp.data.failure import Rejected
from gencomp.data.photograph import ORIENTATION, Photograph, examine, upright

Make = Callable[..., bytes]


def reason(data: bytes, pixels: int = 10**6) -> str:
    with pytest.raises(Rejected) as error:
        examine(data, pixels)
    return error.value.reason


@pytest.mark.parametrize(
    ("form", "extension"),
    [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif"), ("AVIF", "avif")],
)
def test_whole_images_are_described(make_photo: Make, form: str, extension: str) -> None:
    assert examine(make_photo(1, 33, 17, form), 33 * 17) == Photograph(33, 17, extension, 1)


def test_a_jpeg_with_more_pictures_behind_it_is_its_first(make_photo: Make) -> None:
    first, second = (Image.open(io.BytesIO(make_photo(seed, 33, 17))) for seed in (1, 2))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert examine(file.getvalue(), 10**6) == Photograph(33, 17, "jpg", 1)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_truncated_images_are_corrupt(make_photo: Make, form: str, share: float) -> None:
    data = make_photo(1, 93, 61, form)
    assert reason(data[: int(len(data) * share)]) == "corrupt"


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_other_files_are_no_images(data: bytes) -> None:
    assert reason(data) == "not-an-image"


def test_images_above_the_pixel_limit_are_not_decoded(make_photo: Make) -> None:
    assert reason(make_photo(1, 33, 17), 33 * 17 - 1) == "too-large"
    bomb = bytearray(make_photo(1, 33, 17, "PNG"))
    bomb[16:24] = struct.pack(">II", 50000, 50000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    assert reason(bytes(bomb), 10**12) == "too-large"


@pytest.mark.parametrize("code", range(1, 9))
def test_upright_turns_as_pillow_does(code: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 3, 3), np.uint8))
    exif = Image.Exif()
    exif[ORIENTATION] = code
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    assert examine(file.getvalue(), 15).orientation == code
    expected = ImageOps.exif_transpose(Image.open(file))
    assert np.array_equal(np.asarray(upright(image, code)), np.asarray(expected))
