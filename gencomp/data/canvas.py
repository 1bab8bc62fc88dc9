"""A picture in perspective: colour, label, object number and depth of every pixel, painted from far to near.

Only sums, products, quotients, roots and table look-ups touch the arrays, so that the same numbers come out on every
processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.floating]
Colour = tuple[float, float, float]
Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle of pixels, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def empty(self) -> bool:
        return self.top >= self.bottom or self.left >= self.right

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along Z; X to the right and Y up from the ground, in metres."""

    focal: float
    """Focal length, pixels."""
    height: float
    """Height above the ground, metres."""
    vanishing_x: float
    """Column in which lines along the street meet, pixels."""
    horizon: float
    """Row of the horizon, pixels."""

    def project(self, x: float, y: float, z: float) -> Point:
        """Column and row of a point in front of the camera (z > 0)."""
        return self.vanishing_x + self.focal * x / z, self.horizon + self.focal * (self.height - y) / z

    def project_all(self, points: Sequence[tuple[float, float, float]]) -> list[Point]:
        return [self.project(*point) for point in points]


def soft(values: Floats, low: float | Floats, high: float | Floats, width: float | Floats) -> Floats:
    """1 where low < values < high, 0 elsewhere, with edges as wide as a pixel's footprint (same unit as values)."""
    rise = np.clip((values - low) / width + 0.5, 0, 1)
    fall = np.clip((high - values) / width + 0.5, 0, 1)
    return np.asarray(rise * fall, np.float32)


def mix(a: Floats, b: Floats | Colour, share: Floats) -> Floats:
    """a (h, w, 3) where share (h, w) is 0, b where it is 1."""
    mixed: Floats = np.asarray(b, np.float32) - a
    mixed *= share[..., None]
    mixed += a
    return mixed


def noise_table(rng: np.random.Generator, size: int = 512) -> Floats:
    """(size, size) cloudy noise within [-1, 1] that repeats without a seam.

    It is the sum of random grids of 4, 8, ... cells, each 0.62 times as strong as the one before.
    """
    table = np.zeros((size, size), np.float64)
    strength = 1.0
    for cells in (4, 8, 16, 32, 64, 128):
        grid = Image.fromarray(np.pad(rng.random((cells, cells), np.float32) * 2 - 1, 2, mode="wrap"))
        smooth = grid.resize((size, size), Image.Resampling.BICUBIC, box=(2, 2, cells + 2, cells + 2))
        table += strength * np.asarray(smooth, np.float64)
        strength *= 0.62
    return np.asarray(np.clip(table / 1.4, -1, 1), np.float32)


@dataclass
class Canvas:
    """(height, width) arrays that painting fills; `objects` numbers the things that are counted one by one."""

    height: int
    width: int
    noise: Floats
    """(512, 512) noise within [-1, 1], looked up by texture coordinates."""
    rgb: Floats = field(init=False)
    """(height, width, 3) light, 0 to 1."""
    label: NDArray[np.uint8] = field(init=False)
    """Cityscapes label ids."""
    number: NDArray[np.uint16] = field(init=False)
    """Number of the object, 0 for none."""
    depth: Floats = field(init=False)
    """Distance along Z, metres."""
    grain: Floats = field(init=False)
    """(height, width): the noise laid over the picture."""
    objects: list[int] = field(init=False)
    """Label id of object 1, 2, ..."""

    def __post_init__(self) -> None:
        shape = (self.height, self.width)
        self.rgb = np.zeros((*shape, 3), np.float32)
        self.label = np.zeros(shape, np.uint8)
        self.number = np.zeros(shape, np.uint16)
        self.depth = np.full(shape, 1e6, np.float32)
        rows, columns = (np.arange(n) % self.noise.shape[0] for n in shape)
        self.grain = self.noise[np.ix_(rows, columns)]
        self.objects = []

    def new_object(self, label: int) -> int:
        self.objects.append(label)
        return len(self.objects)

    def clip(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The part of a rectangle that lies in the picture; bounds may be far outside."""
        x0, x1 = (int(min(max(x, -1), self.width + 1)) for x in (left, right + 1))
        y0, y1 = (int(min(max(y, -1), self.height + 1)) for y in (top, bottom + 1))
        return Box(max(y0, 0), min(y1, self.height), max(x0, 0), min(x1, self.width))

    def texture(self, u: Floats, v: Floats) -> Floats:
        """Noise at texture coordinates, one cell per unit, repeated endlessly."""
        last = self.noise.shape[0] - 1
        row, column = np.floor(v).astype(np.int32) & last, np.floor(u).astype(np.int32) & last
        return np.asarray(np.take(self.noise.ravel(), row * (last + 1) + column), np.float32)

    def texture_smooth(self, u: Floats, v: Floats) -> Floats:
        """As `texture`, but linear between the cells: for noise that is looked at from near."""
        size = self.noise.shape[0]
        u0, v0 = np.floor(u), np.floor(v)
        du, dv = u - u0, v - v0
        column, row = u0.astype(np.int32) & (size - 1), v0.astype(np.int32) & (size - 1)
        right, below = (column + 1) & (size - 1), ((row + 1) & (size - 1)) * size
        row, flat = row * size, self.noise.ravel()
        upper = np.take(flat, row + column) * (1 - du) + np.take(flat, row + right) * du
        lower = np.take(flat, below + column) * (1 - du) + np.take(flat, below + right) * du
        return np.asarray(upper * (1 - dv) + lower * dv, np.float32)

    def paint(
        self,
        box: Box,
        mask: NDArray[np.bool_],
        colour: Floats | Colour,
        label: int,
        depth: float | Floats,
        number: int = 0,
    ) -> None:
        """Cover the pixels of `box` where mask (h, w) holds; colour is one or (h, w, 3)."""
        np.copyto(self.rgb[box.slices], np.asarray(colour, np.float32), where=mask[..., None])
        np.copyto(self.depth[box.slices], np.asarray(depth, np.float32), where=mask)
        np.copyto(self.label[box.slices], label, where=mask, casting="unsafe")
        np.copyto(self.number[box.slices], number, where=mask, casting="unsafe")

    def polygon_mask(self, points: Sequence[Point]) -> tuple[Box, NDArray[np.bool_]]:
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        box = self.clip(min(xs), min(ys), max(xs), max(ys))
        if box.empty:
            return box, np.zeros((0, 0), bool)
        image = Image.new("L", (box.right - box.left, box.bottom - box.top))
        moved = [(min(max(x - box.left, -4e3), 4e3), min(max(y - box.top, -4e3), 4e3)) for x, y in points]
        ImageDraw.Draw(image).polygon(moved, fill=1)
        return box, np.asarray(image, bool)

    def polygon(
        self, points: Sequence[Point], colour: Colour, label: int, depth: float, number: int = 0, slope: float = 0.0
    ) -> None:
        """A flat shape; slope brightens it to the right (positive) or to the left, by that share at its edge."""
        box, mask = self.polygon_mask(points)
        if box.empty:
            return
        if mask.size < 200:  # too small for light to vary on it
            self.paint(box, mask, colour, label, depth, number)
            return
        ramp = np.linspace(1 - slope, 1 + slope, box.right - box.left, dtype=np.float32)
        light = ramp * (1 + 0.05 * self.grain[box.slices])  # (h, w)
        self.paint(box, mask, np.asarray(colour, np.float32) * light[..., None], label, depth, number)

    def ellipse(
        self, centre: Point, radii: Point, colour: Colour, label: int, depth: float, number: int = 0, slope: float = 0.0
    ) -> None:
        """An ellipse with axes along the picture's."""
        self.polygon(ellipse_points(centre, radii), colour, label, depth, number, slope)

    def tint(self, points: Sequence[Point], factor: float, labels: Sequence[int]) -> None:
        """Multiply the light inside a polygon (a shadow) on the pixels of some labels."""
        box, mask = self.polygon_mask(points)
        if box.empty:
            return
        shaded = mask & np.isin(self.label[box.slices], labels)
        self.rgb[box.slices][shaded] *= np.float32(factor)


# Sixteen directions of a circle: sine and cosine of k * 22.5 degrees by quarter symmetry.
_QUARTER = (0.0, 0.3826834, 0.7071068, 0.9238795, 1.0)
_SINE = [*_QUARTER, *_QUARTER[3:0:-1], *(-s for s in _QUARTER), *(-s for s in _QUARTER[3:0:-1])]


def ellipse_points(centre: Point, radii: Point) -> list[Point]:
    """Sixteen corners on an ellipse."""
    return [(centre[0] + radii[0] * _SINE[(k + 4) % 16], centre[1] + radii[1] * _SINE[k]) for k in range(16)]
