"""Any picture as the codec's canon: 8-bit sRGB, upright, on white or another background."""

import contextlib
import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageColor, UnidentifiedImageError

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Tell = Callable[[str], None]
"""Hears a line about what is not taken over from a picture."""

WHITE: Colour = (255, 255, 255)
BAND_PIXELS = 1 << 22
"""Of large pictures, so many are converted at once."""
PROFILE_STEPS = 17
"""Values per channel by which a profile is compared with sRGB."""
LONGEST_SIDES = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383}
"""What these formats can hold, pixels, by file name ending."""
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

_PROGRAMS = ("EPS",)
"""Formats for which Pillow would start Ghostscript on the file."""


class PictureError(ValueError):
    """A picture that is refused; the message is one line that says why."""


def open_picture(
    path: Path, *, max_pixels: int, why: str = "", background: Colour | None = WHITE, tell: Tell | None = None
) -> Image.Image:
    """The canonical picture in a file. Raises PictureError, which of one above `max_pixels` ends with `why`, and
    OSError when the file cannot be opened."""
    try:
        with path.open("rb") as file:
            return _read(file, max_pixels, why, background, tell)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None


def read_picture(
    data: bytes, *, max_pixels: int, why: str = "", background: Colour | None = WHITE, tell: Tell | None = None
) -> Image.Image:
    """The canonical picture in a file's bytes. Raises PictureError, as `open_picture` does; a size above `max_pixels`
    is never decoded."""
    return _read(io.BytesIO(data), max_pixels, why, background, tell)


def _read(file: BinaryIO, max_pixels: int, why: str, background: Colour | None, tell: Tell | None) -> Image.Image:
    try:
        with Image.open(file) as image:
            check_size(image, max_pixels, why)
            return canonical(image, background=background, tell=tell)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture that can be read") from None
    except Image.DecompressionBombError:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))  # Pillow's own
        raise PictureError(f"the picture is over the limit of {limit} pixels") from None
    except _UNREADABLE as error:
        raise PictureError(_undecodable(error)) from None


def read_colour(text: str) -> Colour:
    """A colour by its name in CSS, or as #rrggbb. Raises PictureError."""
    try:
        red, green, blue, *_ = ImageColor.getrgb(text)
    except ValueError:
        raise PictureError(f"{text!r} is no colour: give a name such as white, or #rrggbb") from None
    return red, green, blue


def check_size(image: Image.Image, max_pixels: int, why: str = "") -> None:
    """Raise PictureError for a picture without pixels, or, ending with `why`, with more than `max_pixels`; decodes
    nothing."""
    width, height = image.size
    if width < 1 or height < 1:
        raise PictureError(f"a picture of {width} x {height} pixels is empty")
    if width * height > max_pixels:
        raise PictureError(f"a picture of {width} x {height} pixels is over the limit of {max_pixels} pixels{why}")


def check_kind(image: Image.Image) -> None:
    """Raise PictureError for a file that Pillow would start a program on; decodes nothing."""
    if image.format in _PROGRAMS:
        raise PictureError(f"{image.format} files are programs for a printer, which are not run: give a picture")


def canonical(image: Image.Image, *, background: Colour | None = WHITE, tell: Tell | None = None) -> Image.Image:
    """A picture of any mode as upright 8-bit RGB of its first frame, without metadata; `image` itself where it is that.

    - Alpha is composited over `background`; None refuses pictures that have transparent pixels.
    - Colours are converted to sRGB from the colour profile, relatively colorimetric with black point compensation. A
      profile that is broken or of another colour space is ignored. Without one, RGB is taken as sRGB and CMYK is
      converted as Pillow does, as inks that are ideal.
    - 16-bit grey is scaled by 1/257, and so is mode `I`. Mode `F` is taken as fractions of white when all its values
      are within [0, 1], else as 16-bit values. Of 16 bits per colour Pillow reads the upper 8: 1/256 too dark at most.

    `tell` hears of frames that are left out and of profiles that are ignored. An animated `image` is left at its first
    frame. Raises PictureError when it cannot be decoded or holds other values.
    """
    try:
        check_kind(image)
        image.seek(0)
        image.load()
        if _is_canonical(image):
            return image
        rgb = _converted(image, background, tell or _unheard)
        orientation = _orientation(image)
        _tell_of_frames(image, tell or _unheard)
    except PictureError:
        raise
    except _UNREADABLE as error:
        raise PictureError(_undecodable(error)) from None
    return rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb


def check_writable(width: int, height: int, ending: str) -> None:
    """Raise PictureError where the format of a file name ending cannot hold a picture of that size."""
    longest = LONGEST_SIDES.get(ending.lower())
    if longest is not None and max(width, height) > longest:
        raise PictureError(
            f"a picture of {width} x {height} pixels does not fit {ending}, whose sides end at {longest}: write .png"
        )


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


def _unheard(line: str) -> None:
    """Nobody listens."""


def _is_canonical(image: Image.Image) -> bool:
    return type(image) is Image.Image and image.mode == "RGB" and not image.info and not image.getexif()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except _UNREADABLE:  # damaged metadata is no reason to refuse the pixels
        return 1


def _tell_of_frames(image: Image.Image, tell: Tell) -> None:
    """MPO is the JPEG of telephones, whose further pictures belong to the first."""
    with contextlib.suppress(*_UNREADABLE):
        if image.format != "MPO" and getattr(image, "is_animated", False):
            tell("it has more than one frame: only the first is taken")


def _converted(image: Image.Image, background: Colour | None, tell: Tell) -> Image.Image:
    """As RGB, not turned yet. In bands, since intermediate forms take several times the picture's memory."""
    srgb = _to_srgb(image, tell)
    fractions = image.mode == "F" and float(np.max(image.getextrema())) <= 1
    rgb = Image.new("RGB", image.size)
    for box in _bands(*image.size):
        rgb.paste(_rgb(image.crop(box), background, 1.0 if fractions else 65535.0, srgb), box)
    return rgb


def _bands(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Left, upper, right and lower ends."""
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(height, top + rows)


def _rgb(image: Image.Image, background: Colour | None, white: float, srgb: "_ToSrgb") -> Image.Image:
    if _is_wide(image):
        return srgb(Image.fromarray(_grey(np.asarray(image), white)))
    if not image.has_transparency_data:
        return srgb(image)
    rgba = image.convert("RGBA")
    alpha, opaque = rgba.getchannel("A"), srgb(rgba.convert("L" if image.mode == "LA" else "RGB"))
    if alpha.getextrema() == (255, 255):
        return opaque
    if background is None:
        raise PictureError("the picture has transparent pixels, which are refused: name a background for it")
    return Image.composite(opaque, Image.new("RGB", image.size, background), alpha)


def _is_wide(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


_ToSrgb = Callable[[Image.Image], Image.Image]
"""An opaque picture, or a band of it, as sRGB."""
_PROFILED = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of a profile -> mode of the pictures that it is for."""


def _to_srgb(image: Image.Image, tell: Tell) -> _ToSrgb:
    """How the colours of a picture become sRGB."""
    data = image.info.get("icc_profile")
    if not data:
        return _as_rgb
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space not in _fitting_spaces(image):
            tell(f"its colour profile, of {space}, is not for pictures of mode {image.mode} and is ignored")
            return _as_rgb
        mode = _PROFILED[space]
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB" and _changes_nothing(transform):
            return _as_rgb
    except (ImageCms.PyCMSError, ImportError, *_UNREADABLE):  # Pillow may have been built without ImageCms
        tell("its colour profile cannot be read and is ignored")
        return _as_rgb
    return lambda band: _transformed(band.convert(mode), transform)


def _fitting_spaces(image: Image.Image) -> tuple[str, ...]:
    if image.mode == "CMYK":
        return ("CMYK",)
    return ("GRAY", "RGB") if image.mode in ("1", "L", "LA") or _is_wide(image) else ("RGB",)


def _as_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    found = ImageCms.applyTransform(image, transform)
    assert found is not None  # which it is where it works in place
    return found


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB but for rounding, whatever its name."""
    steps = np.linspace(0, 255, PROFILE_STEPS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(PROFILE_STEPS, -1, 3)
    found = np.asarray(_transformed(Image.fromarray(colours), transform))
    return bool(np.abs(found.astype(int) - colours).max() <= 1)


def _grey(values: npt.NDArray[np.generic], white: float) -> npt.NDArray[np.uint8]:
    """Grey values (H, W) of more than 8 bits -> 8 bits, rounded to the nearest."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all() or wide.min() < 0 or wide.max() > 65535:
        raise PictureError("its grey values are not all within 0 to 65535")
    return np.floor(wide * (255 / white) + 0.5).astype(np.uint8)
