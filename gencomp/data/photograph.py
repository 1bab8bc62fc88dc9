"""Is this a photograph, all of it? And which way is up?"""

import io
import warnings
from typing import NamedTuple

from PIL import Image

from gencomp.data.failure import Rejected

FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "AVIF": "avif"}
"""Accepted formats by Pillow's name, and their extension. MPO is a JPEG with more pictures behind the first."""
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif"})
"""File names that claim to be photographs, lower case."""
ORIENTATION = 0x0112
"""EXIF tag."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"BM")
_BRANDS = (b"ftypavif", b"ftypavis")
"""Of AVIF, behind four bytes of length."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Photograph(NamedTuple):
    """An image that decodes to its end: stored size in pixels, file extension, EXIF orientation 1..8."""

    width: int
    height: int
    extension: str
    orientation: int


def examine(data: bytes, maximum_pixels: int) -> Photograph:
    """Decode an image file to its end.

    Raises Rejected: `not-an-image`, `corrupt` (starts like an image, or ends too early), `too-large`.
    """
    # A JPEG's bits are read to the last; of its pixels, every eighth in each direction shows as well that they can be.
    # Of its colours, the brightness does.
    image, size = _decoded(data, maximum_pixels, reduction=8, mode="L")
    return Photograph(*size, FORMATS[image.format or ""], orientation(image))


def undecoded(data: bytes, maximum_pixels: int) -> Image.Image:
    """The image of which no more than its header is read yet. Raises Rejected as `examine` does."""
    return _decoded(data, maximum_pixels, reduction=0)[0]


def decode(data: bytes, maximum_pixels: int) -> Image.Image:
    """The decoded image. Raises Rejected as `examine` does."""
    return _decoded(data, maximum_pixels, reduction=1)[0]


def decode_reduced(data: bytes, maximum_pixels: int, least: int) -> Image.Image:
    """The decoded image, of a JPEG an eighth, a quarter or a half of it whose longer side has `least` pixels or more.
    Raises Rejected as `examine` does."""
    return _decoded(data, maximum_pixels, reduction=8, least=least)[0]


def _decoded(
    data: bytes, maximum_pixels: int, reduction: int, least: int = 1, mode: str | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """The image, a JPEG reduced while it is decoded to a longer side of `least` pixels or more, perhaps in another
    mode, and its full size. A reduction of 0 decodes nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name != "MPO"])
            if image.width * image.height > maximum_pixels:
                raise Rejected("too-large", f"{image.width} x {image.height}")
            size = image.size
            if not reduction:
                return image, size
            width, height = (max(1, side // reduction, -(-side * least // max(size))) for side in size)
            image.draft(mode, (width, height))
            image.load()
    except Rejected:
        raise
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise Rejected("too-large") from None
    except Exception as error:  # decoders of damaged files raise whatever comes to hand
        claimed = data.startswith(_MAGIC) or data[4:12] in _BRANDS
        raise Rejected("corrupt" if claimed else "not-an-image", str(error)) from None
    return image, size


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an image, 1 (upright) where it has none or a senseless one."""
    try:
        code = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data says nothing about the pixels
        return 1
    return code if code in _TURNS else 1


def upright(image: Image.Image, code: int) -> Image.Image:
    """The image turned by its EXIF orientation code 1..8."""
    return image.transpose(_TURNS[code]) if code in _TURNS else image
