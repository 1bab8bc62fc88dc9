"""Any picture as the codec's canon: 8-bit RGB, upright, on white."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what sets the picture upright."""

_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error),
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise on files that are damaged or not pictures at all."""


class PictureError(ValueError):
    """A picture that is refused; the message is one line that says why."""


def open_picture(path: Path, *, max_pixels: int) -> Image.Image:
    """The canonical picture in a file. Raises PictureError, and OSError when the file cannot be read at all."""
    data = path.read_bytes()
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # `max_pixels` is the limit here, and damaged metadata is no matter
            return read_picture(data, max_pixels=max_pixels)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None


def read_picture(data: bytes, *, max_pixels: int) -> Image.Image:
    """The canonical picture in a file's bytes. Raises PictureError; a size above `max_pixels` is never decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            check_size(image, max_pixels)
            return canonical(image)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture that can be read") from None
    except Image.DecompressionBombError:
        raise PictureError(f"the picture is over the limit of {max_pixels} pixels") from None
    except _UNREADABLE as error:
        raise PictureError(_undecodable(error)) from None


def check_size(image: Image.Image, max_pixels: int) -> None:
    """Raise PictureError for a picture without pixels or with more than `max_pixels`; decodes nothing."""
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"a picture of {width} x {height} pixels is empty")
    if width * height > max_pixels:
        raise PictureError(f"a picture of {width} x {height} pixels is over the limit of {max_pixels} pixels")


def canonical(image: Image.Image) -> Image.Image:
    """A picture of any mode as upright 8-bit RGB of its first frame, its alpha composited over white.

    16-bit grey is scaled by 1/257, and so is mode `I`. Mode `F` is taken as fractions of white when all its values
    are within [0, 1], else as 16-bit values. An animated `image` is left at its first frame.
    Raises PictureError when it cannot be decoded or holds other values.
    """
    try:
        image.seek(0)
        image.load()
        rgb = _rgb(_upright(image))
        return Image.fromarray(np.asarray(rgb))  # without metadata: its orientation must not be applied again
    except PictureError:
        raise
    except _UNREADABLE as error:
        raise PictureError(_undecodable(error)) from None


def encode_picture(image: Image.Image, ending: str) -> bytes:
    """An RGB picture as a PNG, JPEG (quality 95, full colour resolution) or lossless WebP file, by file name ending.

    Raises PictureError for another ending.
    """
    buffer = io.BytesIO()
    match ending.lower():
        case ".png":
            image.save(buffer, "PNG")
        case ".jpg" | ".jpeg":
            image.save(buffer, "JPEG", quality=95, subsampling=0)
        case ".webp":
            image.save(buffer, "WEBP", lossless=True)
        case _:
            raise PictureError(f"pictures are written as .png, .jpg or .webp, not as {ending or 'a name without one'}")
    return buffer.getvalue()


def _undecodable(error: Exception) -> str:
    return f"the picture cannot be decoded ({' '.join(str(error).split()) or type(error).__name__})"


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except _UNREADABLE:  # damaged metadata is no reason to refuse the pixels
        orientation = 1
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey(np.asarray(image))).convert("RGB")
    return _over_white(image) if image.has_transparency_data else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _grey(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Grey values (H, W) of more than 8 bits -> 8 bits, rounded to the nearest."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all() or wide.min() < 0 or wide.max() > 65535:
        raise PictureError("its grey values are not all within 0 to 65535")
    white = 1.0 if values.dtype.kind == "f" and wide.max() <= 1 else 65535.0
    return np.floor(wide * (255 / white) + 0.5).astype(np.uint8)
