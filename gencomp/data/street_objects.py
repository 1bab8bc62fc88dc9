"""What stands and moves on a generated street: vehicles, people, trees, poles, signs and lights.

Places are (x, z) in metres: x across the street from its vanishing line, z away from the camera. Label ids are those
of Cityscapes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from cityscapesscripts.helpers.labels import name2label

from gencomp.data.canvas import Camera, Canvas, Colour, Point, ellipse_points

POLE, SIGN, LIGHT = (name2label[name].id for name in ("pole", "traffic sign", "traffic light"))
VEGETATION, STATIC = (name2label[name].id for name in ("vegetation", "static"))
PERSON, RIDER, BICYCLE = (name2label[name].id for name in ("person", "rider", "bicycle"))
GROUND = tuple(name2label[name].id for name in ("road", "sidewalk", "terrain"))
CAR, TRUCK, BUS = (name2label[name].id for name in ("car", "truck", "bus"))

GLASS: Colour = (0.10, 0.13, 0.15)
RUBBER: Colour = (0.035, 0.035, 0.04)


class Place(NamedTuple):
    """A point of the ground, metres."""

    x: float
    z: float


@dataclass(frozen=True)
class Light:
    """How the scene is lit."""

    side: float
    """-1: the sun stands on the left, 1: on the right."""
    sun: float
    """Strength of direct light, 0 (overcast) to 1."""

    def facing(self, x: float) -> float:
        """Light on a vertical surface whose normal's horizontal part is x (-1: it looks to the left)."""
        return 0.84 + self.sun * (0.30 * x * self.side + 0.02)

    @property
    def top(self) -> float:
        return 0.95 + 0.2 * self.sun


def shade(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


class Station(NamedTuple):
    """A corner of a vehicle's outline seen from the side."""

    along: float
    """Metres from the rear end."""
    height: float
    """Metres above the ground."""
    half_width: float
    """Half the width there, metres."""


@dataclass(frozen=True)
class Vehicle:
    """A body between two outlines: `lower` up to the belt line, `cabin` above it with windows."""

    label: int
    length: float
    lower: tuple[Station, ...]
    cabin: tuple[Station, ...]
    wheels: tuple[float, ...]
    """Where the axles are, metres from the rear end."""
    wheel_radius: float


def _saloon() -> Vehicle:
    lower = ((0.0, 0.35, 0.82), (0.0, 0.95, 0.86), (3.1, 0.93, 0.86), (4.15, 0.72, 0.80), (4.25, 0.35, 0.78))
    cabin = ((0.25, 0.95, 0.84), (0.95, 1.42, 0.62), (2.2, 1.44, 0.62), (3.15, 0.93, 0.82))
    return _vehicle(CAR, lower, cabin, (0.75, 3.4), 0.32)


def _hatchback() -> Vehicle:
    lower = ((0.0, 0.35, 0.80), (0.0, 0.92, 0.84), (2.8, 0.95, 0.84), (3.65, 0.75, 0.78), (3.75, 0.35, 0.76))
    cabin = ((0.05, 0.92, 0.82), (0.3, 1.48, 0.64), (1.9, 1.50, 0.64), (2.85, 0.95, 0.80))
    return _vehicle(CAR, lower, cabin, (0.62, 3.05), 0.31)


def _van() -> Vehicle:
    lower = ((0.0, 0.38, 0.92), (0.0, 1.05, 0.95), (3.7, 1.08, 0.95), (4.6, 0.85, 0.88), (4.7, 0.38, 0.86))
    cabin = ((0.02, 1.05, 0.94), (0.1, 1.92, 0.80), (2.9, 1.92, 0.80), (3.8, 1.08, 0.90))
    return _vehicle(CAR, lower, cabin, (0.85, 3.8), 0.34)


def _bus() -> Vehicle:
    lower = ((0.0, 0.35, 1.22), (0.0, 1.25, 1.25), (11.8, 1.25, 1.25), (11.9, 0.35, 1.22))
    cabin = ((0.0, 1.25, 1.25), (0.1, 3.0, 1.20), (11.7, 3.0, 1.20), (11.8, 1.25, 1.25))
    return _vehicle(BUS, lower, cabin, (2.8, 9.0), 0.48)


def _truck() -> Vehicle:
    lower = ((0.0, 0.7, 1.15), (0.0, 3.1, 1.2), (5.6, 3.1, 1.2), (5.6, 0.7, 1.15))
    cabin = ((5.8, 0.6, 1.1), (5.8, 2.5, 1.05), (7.0, 2.4, 1.05), (7.4, 1.3, 1.1), (7.4, 0.6, 1.1))
    return _vehicle(TRUCK, lower, cabin, (1.3, 6.4), 0.46)


def _vehicle(
    label: int,
    lower: Sequence[tuple[float, float, float]],
    cabin: Sequence[tuple[float, float, float]],
    wheels: tuple[float, ...],
    radius: float,
) -> Vehicle:
    stations = [Station(*s) for s in lower], [Station(*s) for s in cabin]
    length = max(s.along for part in stations for s in part)
    return Vehicle(label, length, tuple(stations[0]), tuple(stations[1]), wheels, radius)


VEHICLES = {"saloon": _saloon(), "hatchback": _hatchback(), "van": _van(), "bus": _bus(), "truck": _truck()}


class _Face(Protocol):
    """Paints one flat part of a vehicle; slope as in Canvas.polygon."""

    def __call__(self, points: Sequence[Point], colour: Colour, slope: float = 0.0) -> None: ...


@dataclass(frozen=True)
class _Body:
    """A vehicle at its place; coming vehicles show their front and are mirrored along z."""

    vehicle: Vehicle
    place: Place
    coming: bool
    camera: Camera

    def at(self, along: float, height: float, across: float) -> Point:
        """Pixel of a point of the body; the place is the middle of the end nearest to the camera."""
        distance = self.vehicle.length - along if self.coming else along
        return self.camera.project(self.place.x + across, height, self.place.z + distance)

    def strip(self, a: Station, b: Station) -> list[Point]:
        """The quadrangle between two stations, over the full width."""
        corners = ((a, -1), (a, 1), (b, 1), (b, -1))
        return [self.at(s.along, s.height, sign * s.half_width) for s, sign in corners]

    def flank(self, stations: Sequence[Station], side: int) -> list[Point]:
        return [self.at(s.along, s.height, side * s.half_width) for s in stations]


def vehicle_shadow(canvas: Canvas, camera: Camera, name: str, place: Place, light: Light) -> None:
    """Darken the ground below a vehicle and on the side away from the sun."""
    length = VEHICLES[name].length
    half = VEHICLES[name].lower[0].half_width
    for grow, factor in ((0.35, 0.86), (0.15, 0.78), (0.0, 0.55)):
        reach = 0.9 * light.sun * VEHICLES[name].cabin[1].height * (1 if grow else 0)
        left = place.x - half - grow - (reach if light.side > 0 else 0)
        right = place.x + half + grow + (reach if light.side < 0 else 0)
        near, far = max(place.z - grow, 1.5), place.z + length + grow
        ground = [(left, 0.0, near), (right, 0.0, near), (right, 0.0, far), (left, 0.0, far)]
        canvas.tint(camera.project_all(ground), factor, GROUND)


def paint_vehicle(
    canvas: Canvas, camera: Camera, name: str, place: Place, coming: bool, paint: Colour, light: Light
) -> None:
    """A vehicle of VEHICLES with its near end at `place`, driving away from the camera or coming."""
    vehicle = VEHICLES[name]
    body = _Body(vehicle, place, coming, camera)
    number = canvas.new_object(vehicle.label)
    depth = place.z + vehicle.length / 2

    def face(points: Sequence[Point], colour: Colour, slope: float = 0.0) -> None:
        canvas.polygon(points, colour, vehicle.label, depth, number, slope)

    side = -1 if place.x > 0 else 1  # the flank that the camera sees
    for far_wheel in vehicle.wheels if place.z < 30 else ():
        _wheel(face, body, far_wheel, -side, light)
    _roofs(face, body, paint, light)
    flank_light = light.facing(side)
    face(body.flank(vehicle.lower, side), shade(paint, flank_light), 0.06)
    near, far = vehicle.lower[0], vehicle.lower[-1]
    sill = (near, near._replace(height=near.height + 0.16), far._replace(height=far.height + 0.16), far)
    face(body.flank(sill, side), shade(paint, flank_light * 0.66))
    if vehicle.label == TRUCK:
        face(body.flank(vehicle.cabin, side), shade((0.6, 0.12, 0.1), flank_light))
    else:
        _windows(face, body, side, paint, flank_light)
    for wheel in vehicle.wheels:
        _wheel(face, body, wheel, side, light)
    _near_end(face, body, paint, light)


def _roofs(face: _Face, body: _Body, paint: Colour, light: Light) -> None:
    """Bonnet, roof and the glass in front and behind, from the far end to the near one."""
    vehicle = body.vehicle
    strips = []
    for stations, windowed in ((vehicle.lower, False), (vehicle.cabin, vehicle.label != TRUCK)):
        for a, b in itertools.pairwise(stations):
            steep = abs(b.height - a.height) > 0.5 * abs(b.along - a.along)
            strips.append((a, b, GLASS if steep and windowed else paint, steep))
    strips.sort(key=lambda s: (s[0].along + s[1].along) * (1 if body.coming else -1))
    for a, b, colour, steep in strips:
        face(body.strip(a, b), shade(colour, 0.8 if steep else light.top), 0.05)


def _windows(face: _Face, body: _Body, side: int, paint: Colour, flank_light: float) -> None:
    """The cabin's flank: pillars in the body's colour, glass between them."""
    cabin = body.vehicle.cabin
    face(body.flank(cabin, side), shade(paint, flank_light * 0.95))
    bottom, top = cabin[0].height + 0.04, cabin[1].height - 0.07
    panes = max(2, round(body.vehicle.length / 2.1))
    for k in range(panes):
        low = [_between(cabin[0], cabin[-1], (k + e) / panes, bottom) for e in (0.06, 0.95)]
        high = [_between(cabin[1], cabin[-2], (k + e) / panes, top) for e in (0.06, 0.95)]
        corners = (low[0], high[0], high[1], low[1])
        face(
            [body.at(s.along, s.height, side * (s.half_width + 0.01)) for s in corners],
            shade(GLASS, 0.9 + 0.5 * flank_light),
        )


def _between(a: Station, b: Station, share: float, height: float) -> Station:
    return Station(a.along + share * (b.along - a.along), height, a.half_width + share * (b.half_width - a.half_width))


def _wheel(face: _Face, body: _Body, along: float, side: int, light: Light) -> None:
    radius = body.vehicle.wheel_radius
    across = side * (body.vehicle.lower[0].half_width + 0.02)
    for share, colour in ((1.0, RUBBER), (0.6, shade((0.42, 0.42, 0.44), light.facing(side)))):
        rim = ellipse_points((along, radius), (radius * share, radius * share))
        face([body.at(a, h, across) for a, h in rim], colour)


def _near_end(face: _Face, body: _Body, paint: Colour, light: Light) -> None:
    """The end towards the camera: bumper, lamps, number plate and window."""
    vehicle = body.vehicle
    if body.coming:
        stations, cabin = vehicle.lower[::-1], vehicle.cabin[::-1]
    else:
        stations, cabin = vehicle.lower, vehicle.cabin
    if vehicle.label == TRUCK and body.coming:
        stations = cabin
    low, high = stations[0], stations[1]
    lit = 0.74 + 0.1 * light.sun
    face(body.strip(low, high), shade(paint, lit), 0.08 * light.side)
    tall = high.height - low.height

    def panel(left: float, right: float, bottom: float, top: float, colour: Colour) -> None:
        """A rectangle on the end: left and right in half widths, bottom and top as shares of its height."""
        along = low.along + (-0.01 if not body.coming else 0.01)
        w = min(low.half_width, high.half_width)
        heights = low.height + bottom * tall, low.height + top * tall
        corners = ((left, heights[0]), (right, heights[0]), (right, heights[1]), (left, heights[1]))
        face([body.at(along, h, a * w) for a, h in corners], colour)

    under = [body.at(low.along, h, s * low.half_width * 0.96) for s, h in ((-1, 0.2), (1, 0.2), (1, 0.45), (-1, 0.45))]
    face(under, shade((0.07, 0.07, 0.075), lit))
    if vehicle.label == TRUCK and not body.coming:
        panel(-0.01, 0.01, 0.05, 0.98, shade(paint, 0.45))
    lamp = (0.95, 0.93, 0.85) if body.coming else (0.62, 0.05, 0.04)
    base = 0.55 if vehicle.label == CAR else 0.08
    for sign in (-1, 1):
        edges = sorted((sign * 0.7, sign * 0.98))
        panel(edges[0], edges[1], base, base + (0.28 if vehicle.label == CAR else 0.12), lamp)
    panel(-0.28, 0.28, 0.16, 0.34, (0.80, 0.80, 0.76))
    if body.coming:
        panel(-0.55, 0.55, 0.52, 0.68, (0.05, 0.05, 0.055))
    if vehicle.label == BUS:
        panel(-0.9, 0.9, 1.15, 2.6, GLASS)
        panel(-0.6, 0.6, 2.68, 2.88, (0.85, 0.6, 0.1))
    elif vehicle.label == CAR:
        a, b = cabin[0], cabin[1]
        inset = [_between(a, b, share, a.height + share * (b.height - a.height)) for share in (0.1, 0.88)]
        glass = [(inset[0], -0.88), (inset[0], 0.88), (inset[1], 0.88), (inset[1], -0.88)]
        face([body.at(s.along, s.height, w * s.half_width) for s, w in glass], shade(GLASS, 1.5), 0.25 * light.side)


def paint_person(
    canvas: Canvas, camera: Camera, place: Place, rng: np.random.Generator, light: Light, label: int = PERSON
) -> None:
    """Somebody who walks (label person) or sits on a bicycle (rider)."""
    number = canvas.new_object(label)
    size = 1.5 + 0.35 * rng.random() if label == PERSON else 1.62
    shirt, trousers, hair = _clothes(rng)
    skin = shade((0.78, 0.58, 0.47), 0.45 + 0.6 * rng.random())
    riding = label == RIDER
    lift = 0.28 if riding else 0.0
    stride = (0.05 + 0.09 * rng.random()) * (1 if rng.random() < 0.5 else -1)
    swing = 0.08 + 0.08 * rng.random()
    slope = 0.22 * light.sun * light.side

    def part(points: Sequence[Point], colour: Colour) -> None:
        """A limb; coordinates are shares of the body's size."""
        pixels = [camera.project(place.x + x * size, lift + y * size, place.z) for x, y in points]
        canvas.polygon(pixels, shade(colour, 0.85), label, place.z, number, slope)

    if not riding:
        canvas.tint(_ground_ellipse(camera, place, 0.38, 0.2), 0.62, GROUND)
    foot = 0.12 if riding else 0.0
    for sign in (-1, 1):
        ankle = sign * stride
        part([(sign * 0.09, 0.5), (0.0, 0.5), (ankle - 0.03, 0.04 + foot), (ankle + 0.035, 0.04 + foot)], trousers)
        part(
            [(ankle - 0.035, 0.045 + foot), (ankle + 0.045, 0.045 + foot), (ankle + 0.06, foot), (ankle - 0.04, foot)],
            RUBBER,
        )
        part(
            [(sign * 0.12, 0.8), (sign * 0.085, 0.8), (sign * swing, 0.46), (sign * (swing + 0.05), 0.46)],
            shade(shirt, 0.8),
        )
        part(ellipse_points((sign * (swing + 0.02), 0.45), (0.022, 0.03)), skin)
    part([(-0.1, 0.46), (0.1, 0.46), (0.12, 0.81), (0.06, 0.85), (-0.06, 0.85), (-0.12, 0.81)], shirt)
    part([(-0.03, 0.83), (0.03, 0.83), (0.03, 0.88), (-0.03, 0.88)], skin)
    part(ellipse_points((0.0, 0.925), (0.055, 0.072)), skin)
    part([p for p in ellipse_points((0.0, 0.935), (0.06, 0.072)) if p[1] >= 0.93], hair)


def _clothes(rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    shirts: tuple[Colour, ...] = (
        (0.55, 0.12, 0.1),
        (0.12, 0.2, 0.42),
        (0.75, 0.73, 0.68),
        (0.12, 0.12, 0.13),
        (0.2, 0.36, 0.24),
        (0.62, 0.45, 0.16),
        (0.42, 0.42, 0.46),
        (0.55, 0.28, 0.42),
    )
    trousers: tuple[Colour, ...] = ((0.13, 0.16, 0.26), (0.09, 0.09, 0.1), (0.33, 0.28, 0.22), (0.25, 0.27, 0.3))
    hair: tuple[Colour, ...] = ((0.08, 0.06, 0.05), (0.25, 0.16, 0.09), (0.45, 0.36, 0.22), (0.4, 0.4, 0.4))
    return shirts[rng.integers(len(shirts))], trousers[rng.integers(len(trousers))], hair[rng.integers(len(hair))]


def _ground_ellipse(camera: Camera, place: Place, radius_x: float, radius_z: float) -> list[Point]:
    outline = ellipse_points((place.x, place.z), (radius_x, radius_z))
    return camera.project_all([(x, 0.0, max(z, 1.0)) for x, z in outline])


def paint_cyclist(canvas: Canvas, camera: Camera, place: Place, rng: np.random.Generator, light: Light) -> None:
    """A bicycle seen obliquely with its rider."""
    canvas.tint(_ground_ellipse(camera, place, 0.5, 0.5), 0.65, GROUND)
    number = canvas.new_object(BICYCLE)
    paint = shade((0.5, 0.2, 0.15), 0.4 + rng.random())
    lean = 0.16  # metres that one metre along the bicycle moves across the picture

    def at(along: float, height: float) -> Point:
        return camera.project(place.x + lean * along * 3, height, place.z + along)

    for axle in (0.55, -0.5):
        rim = ellipse_points((axle, 0.34), (0.34, 0.34))
        inner = ellipse_points((axle, 0.34), (0.29, 0.29))
        pixels = [at(a, h) for a, h in rim]
        hole = [at(a, h) for a, h in reversed(inner)]
        canvas.polygon([*pixels, pixels[0], hole[-1], *hole], RUBBER, BICYCLE, place.z, number)
    for (a0, h0), (a1, h1) in (
        ((-0.5, 0.34), (-0.15, 0.85)),
        ((-0.15, 0.85), (0.42, 0.82)),
        ((0.55, 0.34), (0.4, 1.0)),
        ((-0.1, 0.34), (0.42, 0.8)),
        ((-0.5, 0.34), (-0.1, 0.34)),
    ):
        canvas.polygon(
            [at(a0, h0), at(a0 + 0.05, h0 + 0.04), at(a1 + 0.05, h1 + 0.04), at(a1, h1)],
            paint,
            BICYCLE,
            place.z,
            number,
        )
    bar = [(x, h) for x, h in ((-0.28, 1.0), (0.28, 1.0), (0.28, 1.05), (-0.28, 1.05))]
    pixels = [camera.project(place.x + 0.2 + x, h, place.z) for x, h in bar]
    canvas.polygon(pixels, RUBBER, BICYCLE, place.z, number)
    paint_person(canvas, camera, place, rng, light, RIDER)


def paint_tree(
    canvas: Canvas, camera: Camera, place: Place, height: float, green: Colour, rng: np.random.Generator, light: Light
) -> None:
    """A trunk and a crown of overlapping tufts with ragged edges, lit from the sun's side."""
    if light.sun > 0:
        middle = Place(place.x - light.side * height * 0.3, place.z + height * 0.1)
        canvas.tint(_ground_ellipse(camera, middle, height * 0.3, height * 0.3), 1 - 0.3 * light.sun, GROUND)
    trunk = 0.1 + 0.02 * height
    bark = [(-trunk, 0.0), (trunk, 0.0), (trunk * 0.6, height * 0.55), (-trunk * 0.6, height * 0.55)]
    pixels = [camera.project(place.x + x, y, place.z) for x, y in bark]
    canvas.polygon(pixels, (0.19, 0.16, 0.13), VEGETATION, place.z, slope=0.3 * light.side)
    tufts = []
    for _ in range(int(rng.integers(14, 22))):
        dx, dy, r = rng.random() * 2 - 1, rng.random(), 0.5 + 0.5 * rng.random()
        reach = height * 0.30 * (1.1 - 0.7 * dy)
        tufts.append((place.x + dx * reach, height * (0.42 + 0.48 * dy), height * 0.14 * r))
    _paint_tufts(canvas, camera, place.z, tufts, green, rng, light)


def paint_bush(
    canvas: Canvas,
    camera: Camera,
    place: Place,
    width: float,
    height: float,
    green: Colour,
    rng: np.random.Generator,
    light: Light,
) -> None:
    """A hedge's end or a shrub on the ground."""
    tufts = [
        (
            place.x + (rng.random() - 0.5) * width,
            height * (0.3 + 0.5 * rng.random()),
            height * (0.3 + 0.15 * rng.random()),
        )
        for _ in range(9)
    ]
    _paint_tufts(canvas, camera, place.z, tufts, green, rng, light)


def _paint_tufts(
    canvas: Canvas,
    camera: Camera,
    z: float,
    tufts: Sequence[tuple[float, float, float]],
    green: Colour,
    rng: np.random.Generator,
    light: Light,
) -> None:
    discs = [(*camera.project(x, y, z), r * camera.focal / z) for x, y, r in tufts]
    box = canvas.clip(
        min(x - r for x, _, r in discs) - 2,
        min(y - r for _, y, r in discs) - 2,
        max(x + r for x, _, r in discs) + 2,
        max(y + r for _, y, r in discs) + 2,
    )
    if box.empty:
        return
    rows = np.arange(box.top, box.bottom, dtype=np.float32)[:, None]
    columns = np.arange(box.left, box.right, dtype=np.float32)[None, :]
    density = np.full((rows.size, columns.size), -1, np.float32)
    lit = np.zeros_like(density)
    for x, y, r in discs:
        near = canvas.clip(x - 1.4 * r, y - 1.4 * r, x + 1.4 * r, y + 1.4 * r)
        down = slice(max(near.top - box.top, 0), max(near.bottom - box.top, 0))
        over = slice(max(near.left - box.left, 0), max(near.right - box.left, 0))
        u, v = (columns[:, over] - x) / r, (rows[down] - y) / r
        here = 1 - u * u - v * v
        nearer = here > density[down, over]
        np.copyto(density[down, over], here, where=nearer)
        np.copyto(lit[down, over], 0.45 * light.side * u - 0.55 * v, where=nearer)
    scale = 0.35 * z * canvas.noise.shape[0] / camera.focal
    offset = float(rng.integers(512))
    leaves = canvas.texture(columns * scale + offset + 0 * rows, rows * scale + 0 * columns)
    fine = canvas.texture(columns * scale * 2.7 + 0 * rows, rows * scale * 2.7 + offset + 0 * columns)
    ragged = density + 0.55 * leaves + 0.45 * fine
    bright = 0.62 + (0.18 + 0.3 * light.sun) * lit + 0.22 * leaves + 0.3 * fine
    colour = np.asarray(green, np.float32) * np.clip(bright, 0.16, 1.5)[..., None]
    colour[..., 0] += 0.03 * np.clip(lit + fine, 0, 1) * light.sun
    canvas.paint(box, ragged > 0.22, colour, VEGETATION, z)


def paint_lamp_post(canvas: Canvas, camera: Camera, place: Place, height: float, light: Light) -> None:
    """A pole with an arm over the street."""
    arm = 1.3 if place.x < 0 else -1.3
    for bar in (
        [(-0.07, 0.0), (0.07, 0.0), (0.045, height), (-0.045, height)],
        [(0.0, height - 0.08), (0.0, height), (arm, height + 0.25), (arm, height + 0.18)],
        [(arm, height + 0.1), (arm * 1.45, height + 0.16), (arm * 1.45, height + 0.28), (arm, height + 0.3)],
    ):
        _upright(canvas, camera, place, bar, (0.36, 0.37, 0.38), POLE, 0.3 * light.side)


def _upright(
    canvas: Canvas,
    camera: Camera,
    place: Place,
    points: Sequence[Point],
    colour: Colour,
    label: int,
    slope: float = 0.0,
) -> None:
    pixels = [camera.project(place.x + x, y, place.z) for x, y in points]
    canvas.polygon(pixels, colour, label, place.z, slope=slope)


def paint_sign(canvas: Canvas, camera: Camera, place: Place, kind: int, light: Light) -> None:
    """A traffic sign on its pole: 0 no entry, 1 give way, 2 duty (blue), 3 limit, 4 main road, 5 parking."""
    top = 2.5
    pole = [(-0.035, 0.0), (0.035, 0.0), (0.035, top), (-0.035, top)]
    _upright(canvas, camera, place, pole, (0.45, 0.46, 0.47), POLE, 0.2 * light.side)
    lit = 0.78 + 0.2 * light.sun
    red, white, blue = ((0.68, 0.06, 0.07), (0.88, 0.88, 0.87), (0.05, 0.18, 0.55))
    triangle = [(-1.0, 0.75), (1.0, 0.75), (0.0, -0.95)]
    circle = ellipse_points((0, 0), (1, 1))
    diamond = [(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)]
    square = [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
    bar = [(-0.7, -0.16), (0.7, -0.16), (0.7, 0.16), (-0.7, 0.16)]
    arrow = [(-0.12, -0.6), (0.12, -0.6), (0.12, 0.1), (0.4, 0.1), (0.0, 0.65), (-0.4, 0.1), (-0.12, 0.1)]
    layers: tuple[tuple[list[Point], float, Colour], ...] = (
        ((circle, 1.0, red), (bar, 1.0, white)),
        ((triangle, 1.0, red), (triangle, 0.62, white)),
        ((circle, 1.0, blue), (arrow, 1.0, white)),
        ((circle, 1.0, red), (circle, 0.74, white), (bar, 0.5, (0.1, 0.1, 0.1))),
        ((diamond, 1.0, white), (diamond, 0.72, (0.85, 0.62, 0.05))),
        ((square, 1.0, blue), (bar, 0.8, white)),
    )[kind]
    for shape, share, colour in layers:
        points = [(0.36 * share * x, top + 0.36 * share * y) for x, y in shape]
        _upright(canvas, camera, place, points, shade(colour, lit), SIGN)


def paint_traffic_light(canvas: Canvas, camera: Camera, place: Place, lit: int) -> None:
    """A signal on its pole; lit: 0 red, 1 amber, 2 green."""
    _upright(canvas, camera, place, [(-0.06, 0.0), (0.06, 0.0), (0.06, 2.4), (-0.06, 2.4)], (0.3, 0.31, 0.32), POLE)
    _upright(canvas, camera, place, [(-0.2, 2.3), (0.2, 2.3), (0.2, 3.3), (-0.2, 3.3)], (0.04, 0.045, 0.045), LIGHT)
    lamps: tuple[Colour, ...] = ((1.0, 0.16, 0.08), (1.0, 0.65, 0.1), (0.1, 0.95, 0.55))
    for k, colour in enumerate(lamps):
        on = shade(colour, 1.0 if k == lit else 0.13)
        _upright(canvas, camera, place, ellipse_points((0.0, 3.13 - 0.32 * k), (0.115, 0.115)), on, LIGHT)


def paint_bin(canvas: Canvas, camera: Camera, place: Place, colour: Colour, light: Light) -> None:
    """A waste bin on the pavement (label static)."""
    canvas.tint(_ground_ellipse(camera, place, 0.45, 0.35), 0.65, GROUND)
    _upright(
        canvas, camera, place, [(-0.25, 0.0), (0.25, 0.0), (0.3, 0.9), (-0.3, 0.9)], colour, STATIC, 0.2 * light.side
    )
    _upright(
        canvas, camera, place, [(-0.32, 0.9), (0.32, 0.9), (0.26, 1.04), (-0.26, 1.04)], shade(colour, 0.6), STATIC
    )
