"""What selective compression preserves of a picture: nothing, all, a box, classes, instances, or a mask's pixels."""

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.pixels import check_kind

FORMS = "none, all, box:x0,y0,x1,y1, classes:8,11, instances:1,2 or a mask image"
"""What `parse_region` understands, for help texts."""

Mask = NDArray[np.bool_]
"""(H, W), true where preserved."""
Ids = NDArray[np.integer]
"""(H, W), the id of each pixel's class or instance."""

_WHOLE_NUMBER = re.compile("[0-9]{1,18}")


class RegionError(ValueError):
    """A region that does not fit the picture, or that cannot be read; the message is one line."""


class Scene(NamedTuple):
    """The picture that a region is asked for."""

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    labels: Ids | None
    instances: Ids | None


class Region(ABC):
    """What to preserve, whatever the picture."""

    def mask(
        self,
        height: int,
        width: int,
        labels: Ids | None = None,
        instances: Ids | None = None,
    ) -> Mask:
        """The mask of a picture of height x width pixels, (H, W), true where preserved.

        `labels` and `instances` (H, W) are needed by `classes:` and `instances:` alone. Raises RegionError.
        """
        for kind, ids in (("label", labels), ("instance", instances)):
            if ids is not None and ids.shape != (height, width):
                raise RegionError(_other_size(f"the {kind} map", ids.shape[::-1], (width, height)))
        return self._mask(Scene(height, width, labels, instances))

    @abstractmethod
    def _mask(self, scene: Scene) -> Mask: ...


def parse_region(text: str) -> Region:
    """`none`, `all`, `box:x0,y0,x1,y1` in pixels without column x1 and row y1, `classes:` or `instances:` and ids, or
    the path of a mask image. Raises RegionError; the mask image is read when the mask is asked for."""
    kind, colon, rest = text.partition(":")
    values = [value.strip() for value in rest.split(",")]
    match kind, colon:
        case "none" | "all", "":
            return Whole(kind == "all")
        case "box", ":":
            return _box(text, values)
        case "classes" | "instances", ":" if all(map(_WHOLE_NUMBER.fullmatch, values)):
            ids = tuple(map(int, values))
            return Classes(ids) if kind == "classes" else Instances(ids)
        case "classes" | "instances", ":":
            raise RegionError(f"{text!r} is no region: {kind}: needs whole numbers, separated by commas")
        case _ if os.path.isfile(text):  # which takes any text, unlike Path.is_file
            return MaskImage(Path(text))
        case _:
            raise RegionError(f"{text!r} is no region and no file: give {FORMS}")


def read_ids(path: Path, height: int, width: int) -> Ids:
    """A label or instance map from a single-channel image of ids, of a palette image its indices: (H, W), in as many
    bytes as the image has, uint8, uint16 or int32.

    Raises RegionError when it cannot be read, has several channels, or another size than height x width pixels.
    """
    with _opened(path, (width, height)) as image:
        if image.mode not in ("1", "L", "P", "I", "I;16"):
            raise RegionError(f"{str(path)!r} is no single-channel image of ids but {image.mode}")
        ids = np.asarray(image)
    return ids.astype(np.uint8) if ids.dtype == np.bool_ else ids


@dataclass(frozen=True)
class Whole(Region):
    """All of the picture, or nothing."""

    preserved: bool

    def _mask(self, scene: Scene) -> Mask:
        return np.full((scene.height, scene.width), self.preserved)


@dataclass(frozen=True)
class Box(Region):
    """Columns left to right and rows top to bottom, in pixels; the last of each is not within it."""

    left: int
    top: int
    right: int
    bottom: int

    def _mask(self, scene: Scene) -> Mask:
        if self.right > scene.width or self.bottom > scene.height:
            box = f"{self.left},{self.top},{self.right},{self.bottom}"
            raise RegionError(f"box {box} is not within the picture of {scene.width} x {scene.height} pixels")
        mask = np.zeros((scene.height, scene.width), np.bool_)
        mask[self.top : self.bottom, self.left : self.right] = True
        return mask


@dataclass(frozen=True)
class Classes(Region):
    """Every pixel of some classes of a label map; a class that the picture does not show is no error."""

    ids: tuple[int, ...]

    def _mask(self, scene: Scene) -> Mask:
        if scene.labels is None:
            ids = ",".join(map(str, self.ids))
            raise RegionError(f"preserving classes ({ids}) needs a label map, and there is none")
        return np.isin(scene.labels, self.ids)


@dataclass(frozen=True)
class Instances(Region):
    """Every pixel of some instances of an instance map."""

    ids: tuple[int, ...]

    def _mask(self, scene: Scene) -> Mask:
        if scene.instances is None:
            ids = ",".join(map(str, self.ids))
            raise RegionError(f"preserving instances ({ids}) needs an instance map, and there is none")
        for wanted in self.ids:
            if not (scene.instances == wanted).any():
                raise RegionError(f"the instance map has no instance {wanted}")
        return np.isin(scene.instances, self.ids)


@dataclass(frozen=True)
class MaskImage(Region):
    """What is not black in an image of the picture's size; transparency does not count."""

    path: Path

    def _mask(self, scene: Scene) -> Mask:
        with _opened(self.path, (scene.width, scene.height)) as image:
            grey = image.mode in ("1", "L", "F") or image.mode.startswith("I")
            values = np.asarray(image if grey else image.convert("RGB"))
        return np.asarray(values != 0 if values.ndim == 2 else (values != 0).any(2))


def _box(text: str, values: list[str]) -> Box:
    if len(values) == 4 and all(map(_WHOLE_NUMBER.fullmatch, values)):
        left, top, right, bottom = map(int, values)
        if left < right and top < bottom:
            return Box(left, top, right, bottom)
    raise RegionError(f"{text!r} is no box: box:x0,y0,x1,y1 needs whole numbers of pixels, x0 < x1 and y0 < y1")


def _opened(path: Path, size: tuple[int, int]) -> Image.Image:
    """An image of `size` (width, height), decoded; nothing of another size ever is. Raises RegionError."""
    try:
        image = Image.open(path)
        check_kind(image)
        if image.size == size:
            image.load()
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RegionError(f"{str(path)!r} cannot be read as an image ({reason})") from None
    if image.size != size:
        image.close()
        raise RegionError(_other_size(repr(str(path)), image.size, size))
    return image


def _other_size(what: str, size: tuple[int, ...], needed: tuple[int, int]) -> str:
    return f"{what} has {size[0]} x {size[1]} pixels, and the picture {needed[0]} x {needed[1]}"
