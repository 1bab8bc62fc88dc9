"""Which images become training samples, and in what form: the recipes `paper`, `clean` and `none`."""

import functools
import hashlib
import io
import itertools
import math
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data.dataset import CleanSelection, PaperSelection, PlainSelection, SelectionConfig
from gencomp.data.failure import Rejected
from gencomp.data.photograph import decode, orientation, undecoded, upright

GREYSCALE = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"})
"""Pillow's modes without colour."""
DEEP = frozenset({"I", "I;16", "I;16B", "I;16L", "F"})
"""Pillow's modes with more than 8 bits."""

Size = tuple[int, int]
Pixels = NDArray[np.uint8]
"""(H, W, 3), RGB."""


class Selected(NamedTuple):
    """An image that became a sample: upright RGB in a file."""

    data: bytes
    extension: str
    size: Size
    """Width and height, pixels."""
    original_size: Size
    """The same of the upright original."""


class Tile(NamedTuple):
    """A sample: a selected image, or a part of it."""

    key: str
    data: bytes
    extension: str
    box: tuple[int, int, int, int]
    """Left, upper, right and lower border within the selected image, pixels."""


def select(config: SelectionConfig, key: str, data: bytes, extension: str, code: int | None, pixels: int) -> Selected:
    """Apply a recipe to an image file of at most `pixels` pixels; `code` is the EXIF orientation that turns it upright,
    None for what the file says. A JPEG that recipe `none` keeps as it is is not decoded.

    Raises Rejected with one of REFUSALS, or as `examine` does.
    """
    if isinstance(config, PlainSelection) and extension == "jpg" and (kept := _untouched(config, data, code, pixels)):
        return kept
    stored = decode(data, pixels)
    code = orientation(stored) if code is None else code
    image = upright(stored, code)
    match config:
        case PaperSelection():
            return _paper(config, image)
        case CleanSelection():
            return _clean(config, image, key)
        case PlainSelection():
            as_is = extension in ("jpg", "png") and stored.mode == "RGB" and code == orientation(stored) == 1
            return _plain(config, image, Selected(data, extension, image.size, image.size) if as_is else None)


def tiles(config: SelectionConfig, key: str, selected: Selected) -> Iterator[Tile]:
    """The samples that a selected image becomes, row by row; of several, the keys end in row and column."""
    width, height = selected.size
    side = config.tile if isinstance(config, PlainSelection) and config.tile else max(width, height)
    columns, rows = math.ceil(width / side), math.ceil(height / side)
    if columns * rows == 1:
        yield Tile(key, selected.data, selected.extension, (0, 0, width, height))
        return
    image = Image.open(io.BytesIO(selected.data))
    for i, j in itertools.product(range(rows), range(columns)):
        left, right = (width * step // columns for step in (j, j + 1))
        upper, lower = (height * step // rows for step in (i, i + 1))
        box = (left, upper, right, lower)
        yield Tile(f"{key}-{i}-{j}", _encoded(image.crop(box), "PNG"), "png", box)


def clean_factor(config: CleanSelection, key: str, size: Size) -> float:
    """The factor by which recipe `clean` scales an image: uniform between what leaves the least shorter side and
    1 / minimum_downscale, drawn from (seed, key) alone. Raises Rejected when the first is the larger one."""
    strongest, weakest = config.shorter_side / min(size), 1 / config.minimum_downscale
    if strongest > weakest:
        raise Rejected("too-small")
    draw = hashlib.sha256(f"{config.seed}:{key}".encode()).digest()
    return strongest + (weakest - strongest) * int.from_bytes(draw[:6]) / 2**48


def mean_saturation(image: Image.Image | Pixels) -> float:
    """Mean of HSV's S over the pixels of an RGB image, in [0, 1]."""
    red, green, blue = _channels(image)
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float(((high - low) / np.maximum(high, 1)).mean())


def mean_brightness(image: Image.Image | Pixels) -> float:
    """Mean of HSV's V over the pixels of an RGB image, in [0, 1]."""
    red, green, blue = _channels(image)
    return float(np.maximum(np.maximum(red, green), blue).mean() / 255)


def _channels(image: Image.Image | Pixels) -> Pixels:
    """(3, H, W): reducing the last of three axes, which has three elements, takes twenty times as long."""
    return np.moveaxis(np.asarray(image), 2, 0)


def _paper(config: PaperSelection, image: Image.Image) -> Selected:
    longer = max(image.size)
    if longer < config.minimum_downscale * config.longer_side:
        raise Rejected("too-small")
    size = _scaled(image.size, config.longer_side / longer)
    if min(size) < config.minimum_side:
        raise Rejected("too-small")
    _check_mode(image)
    if config.interpolation == "area":
        data = _averaged(config, np.asarray(image), size)
    else:
        reduced = image.resize(size, Image.Resampling.BICUBIC)
        _check_colours(reduced, config.maximum_saturation, config.maximum_brightness)
        data = _encoded(reduced, "JPEG", quality=config.jpeg_quality)
    return Selected(data, "jpg", size, image.size)


def _averaged(config: PaperSelection, pixels: Pixels, size: Size) -> bytes:
    """A JPEG file of the means of covered pixels. All by OpenCV: handing pixels to Pillow and back takes half as long
    as coding them."""
    cv2 = _opencv()
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _check_colours(reduced, config.maximum_saturation, config.maximum_brightness)
    quality = (cv2.IMWRITE_JPEG_QUALITY, config.jpeg_quality)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(reduced, cv2.COLOR_RGB2BGR), quality)
    return bytes(data)


@functools.cache
def _opencv() -> ModuleType:
    import cv2  # most recipes do without

    cv2.setNumThreads(1)  # images are reduced side by side
    return cv2


def _clean(config: CleanSelection, image: Image.Image, key: str) -> Selected:
    size = _scaled(image.size, clean_factor(config, key, image.size))
    _check_mode(image)
    reduced = image.resize(size, Image.Resampling.LANCZOS)
    _check_colours(reduced, config.maximum_saturation, config.maximum_brightness)
    return Selected(_encoded(reduced, "PNG"), "png", size, image.size)


def _untouched(config: PlainSelection, data: bytes, code: int | None, pixels: int) -> Selected | None:
    """A JPEG file that recipe `none` takes as it is, None where it does not. Whoever stored it has decoded it."""
    image = undecoded(data, pixels)
    fits = min(image.size) >= config.minimum_side and max(image.size) <= (config.longer_side or math.inf)
    plain = image.mode == "RGB" and orientation(image) == 1 and code in (1, None)
    return Selected(data, "jpg", image.size, image.size) if fits and plain else None


def _plain(config: PlainSelection, image: Image.Image, as_is: Selected | None) -> Selected:
    longer = max(image.size)
    reduce = config.longer_side is not None and longer > config.longer_side
    size = _scaled(image.size, config.longer_side / longer) if reduce and config.longer_side else image.size
    if min(size) < config.minimum_side:
        raise Rejected("too-small")
    if as_is and not reduce:
        return as_is
    colour = _to_rgb(image)
    pixels = colour.resize(size, Image.Resampling.LANCZOS) if reduce else colour
    return Selected(_encoded(pixels, "PNG"), "png", size, image.size)


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _check_mode(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise Rejected("greyscale" if image.mode in GREYSCALE else "not-rgb", image.mode)


def _check_colours(image: Image.Image | Pixels, maximum_saturation: float, maximum_brightness: float) -> None:
    # No mean is above 1, and finding it out takes half as long as decoding the image.
    if maximum_saturation < 1 and mean_saturation(image) > maximum_saturation:
        raise Rejected("saturated")
    if maximum_brightness < 1 and mean_brightness(image) > maximum_brightness:
        raise Rejected("bright")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in DEEP:
        raise Rejected("not-rgb", image.mode)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    """The pixels alone: no profile, comment or resolution of the original."""
    file, bare = io.BytesIO(), image.copy()  # the original's info stays with it
    bare.info.clear()
    bare.save(file, form, **options)
    return file.getvalue()
