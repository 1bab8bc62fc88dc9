"""Generated street scenes with exact label and instance maps, in the terms of Cityscapes.

A scene is a pure function of (seed, number). The street runs along the camera's view: a road with pavements, a row of
houses, walls and gardens on either side, and traffic on it. Everything is painted from far to near at twice the final
size; the picture is the mean of 2 x 2 pixels, the labels are exact at the final size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from cityscapesscripts.helpers.labels import labels as label_table
from cityscapesscripts.helpers.labels import name2label
from numpy.typing import NDArray

from gencomp.data import street_objects as objects
from gencomp.data.canvas import Box, Camera, Canvas, Colour, Floats, mix, noise_table, soft
from gencomp.data.street_objects import Light, Place

Thing = tuple[float, Callable[[], None]]
"""A distance and what paints the thing that stands there."""

HEIGHT, WIDTH = 256, 512
_SCALE = 2
_FAR = 150.0  # metres at which the street ends
_HOUSE_DEPTH = 12.0  # metres from a facade to the back

ROAD, SIDEWALK, TERRAIN, SKY = (name2label[name].id for name in ("road", "sidewalk", "terrain", "sky"))
BUILDING, WALL, FENCE = (name2label[name].id for name in ("building", "wall", "fence"))
VEGETATION, EGO = (name2label[name].id for name in ("vegetation", "ego vehicle"))

_PLASTER: tuple[Colour, ...] = (
    (0.66, 0.60, 0.49),
    (0.70, 0.67, 0.62),
    (0.55, 0.45, 0.37),
    (0.62, 0.53, 0.36),
    (0.50, 0.50, 0.50),
    (0.46, 0.30, 0.24),
    (0.60, 0.48, 0.43),
    (0.42, 0.45, 0.47),
    (0.64, 0.64, 0.56),
)
_PAINTS: tuple[Colour, ...] = (
    (0.62, 0.63, 0.65),
    (0.08, 0.08, 0.09),
    (0.30, 0.31, 0.33),
    (0.72, 0.72, 0.71),
    (0.45, 0.07, 0.06),
    (0.09, 0.15, 0.34),
    (0.18, 0.26, 0.22),
    (0.55, 0.50, 0.42),
    (0.13, 0.13, 0.15),
    (0.42, 0.44, 0.47),
)
_GREENS: tuple[Colour, ...] = ((0.24, 0.32, 0.12), (0.30, 0.34, 0.13), (0.20, 0.29, 0.14), (0.33, 0.37, 0.15))


@dataclass(frozen=True)
class Scene:
    """A finished scene."""

    image: NDArray[np.uint8]
    """(256, 512, 3) RGB."""
    labels: NDArray[np.uint8]
    """(256, 512) Cityscapes label ids."""
    instances: NDArray[np.uint16]
    """(256, 512): the label id, or id * 1000 + n for the n-th object of a class that is counted."""


@dataclass(frozen=True)
class Street:
    """The measures of a street, metres; x = 0 is the camera, which drives in the right lane."""

    centre: float
    """Where the middle of the road is."""
    half_road: float
    """From the middle to the kerb."""
    pavement: float
    """Width of a pavement."""
    parking: bool
    """Whether cars park along both kerbs."""
    crossing: float | None
    """Distance to a zebra crossing."""

    def kerb(self, side: int) -> float:
        return self.centre + side * self.half_road

    def front(self, side: int) -> float:
        """Where the houses begin."""
        return self.kerb(side) + side * self.pavement


@dataclass(frozen=True)
class Plot:
    """A stretch of one side of the street with a house, or a garden behind a wall or a fence."""

    label: int
    near: float
    far: float
    height: float
    colour: Colour
    shop: bool
    green: Colour


def render(seed: int, number: int) -> Scene:
    """Scene `number` of the series `seed`."""
    rng = np.random.default_rng([seed, number])
    light = Light(side=-1.0 if rng.random() < 0.5 else 1.0, sun=(0.0, 0.55, 1.0, 0.85)[rng.integers(4)])
    camera = Camera(
        focal=450.0 * _SCALE * (0.9 + 0.2 * rng.random()),
        height=1.35 + 0.2 * rng.random(),
        vanishing_x=WIDTH * _SCALE * (0.45 + 0.1 * rng.random()),
        horizon=HEIGHT * _SCALE * (0.40 + 0.05 * rng.random()),
    )
    parking = bool(rng.random() < 0.75)
    street = Street(
        centre=-1.7,
        half_road=5.5 if parking else 3.6,
        pavement=2.2 + 1.6 * rng.random(),
        parking=parking,
        crossing=float(9 + 12 * rng.random()) if number % 3 == 0 else None,
    )
    canvas = Canvas(HEIGHT * _SCALE, WIDTH * _SCALE, noise_table(rng))
    plots = {side: _plan_side(rng) for side in (-1, 1)}
    _paint_sky(canvas, camera, rng, light)
    _paint_backdrop(canvas, camera, rng, light)
    _paint_ground(canvas, camera, street, plots, rng, light)
    for side in (-1, 1):
        for plot in reversed(plots[side]):
            _paint_plot(canvas, camera, street.front(side), side, plot, rng, light)
    _paint_traffic(canvas, camera, street, number, rng, light)
    _add_haze(canvas, light, 260.0 + 500.0 * rng.random())
    _paint_ego(canvas)
    return _develop(canvas, rng)


def _plan_side(rng: np.random.Generator) -> list[Plot]:
    """Plots from the camera to the end of the street."""
    plots, near = [], 3.0
    while near < _FAR:
        far = near + 9 + 12 * rng.random()
        kind = rng.random()
        label = BUILDING if kind < 0.72 else WALL if kind < 0.84 else FENCE
        height = 3.3 * rng.integers(2, 6) + 1.2 if label == BUILDING else 1.0 + 1.0 * rng.random()
        colour = _PLASTER[rng.integers(len(_PLASTER))]
        plots.append(Plot(label, near, far, float(height), colour, bool(rng.random() < 0.4), _GREENS[rng.integers(4)]))
        near = far
    return plots


def _rows(canvas: Canvas, top: int = 0, bottom: int | None = None) -> Floats:
    return np.arange(top, canvas.height if bottom is None else bottom, dtype=np.float32)[:, None] + np.float32(0.5)


def _columns(canvas: Canvas, left: int = 0, right: int | None = None) -> Floats:
    return np.arange(left, canvas.width if right is None else right, dtype=np.float32)[None, :] + np.float32(0.5)


def _paint_sky(canvas: Canvas, camera: Camera, rng: np.random.Generator, light: Light) -> None:
    bottom = int(camera.horizon) + 4
    rows, columns = _rows(canvas, 0, bottom), _columns(canvas)
    up = np.clip((camera.horizon - rows) / camera.horizon, 0, 1)
    zenith, low = (np.asarray(c, np.float32) for c in ((0.38, 0.55, 0.78), (0.80, 0.85, 0.89)))
    if light.sun == 0:
        zenith, low = (np.asarray(c, np.float32) for c in ((0.70, 0.73, 0.76), (0.86, 0.87, 0.87)))
    sky = mix(np.broadcast_to(low, (bottom, canvas.width, 3)), np.broadcast_to(zenith, (3,)), up + 0 * columns)
    reach = 1.0 / (0.12 + 0.9 * up)
    u, v = (columns - camera.vanishing_x) * reach * 0.16 + 200.0 * rng.random(), reach * 60.0 + 0 * columns
    cover = canvas.texture_smooth(u, v) + 0.5 * canvas.texture_smooth(u * 3, v * 3)
    share = np.clip(cover * 1.6 + rng.random() - 0.4, 0, 1) * (0.85 if light.sun else 0.3)
    grey = np.clip(0.95 - 0.13 * canvas.texture_smooth(u + 9, v + 14), 0, 1)
    sky = mix(sky, np.stack([grey, grey, grey * 1.01], -1), np.asarray(share, np.float32))
    glow = 1 + 0.10 * light.sun * light.side * (columns / canvas.width - 0.5) * 2
    canvas.paint(
        Box(0, bottom, 0, canvas.width), np.ones((bottom, canvas.width), bool), sky * glow[..., None], SKY, 1e6
    )


def _paint_backdrop(canvas: Canvas, camera: Camera, rng: np.random.Generator, light: Light) -> None:
    """Houses or trees across the end of the street."""
    columns = _columns(canvas)
    for label, distance in ((VEGETATION, 240.0), (BUILDING, 190.0)):
        metres = (columns - camera.vanishing_x) * distance / camera.focal
        if label == VEGETATION:
            height = (
                11.0
                + 5.0 * canvas.texture_smooth(metres * 1.1 + 900, 0 * metres)
                + 2 * canvas.texture(metres * 9 + 900, 0 * metres)
            )
            colour = np.asarray(_GREENS[rng.integers(4)], np.float32)
        else:
            steps = np.asarray(rng.integers(0, 6, 40), np.float32)[(metres / 13.0).astype(np.int64) % 40]
            height = np.where(steps > 1, 3.2 * steps, 0)
            colour = np.asarray(_PLASTER[rng.integers(len(_PLASTER))], np.float32) * 0.8
        top = camera.horizon - camera.focal * (height - camera.height) / distance
        box = Box(max(int(top.min()), 0), int(camera.horizon) + 12, 0, canvas.width)
        rows = _rows(canvas, box.top, box.bottom)
        mask = rows >= top
        tone = 0.85 + 0.15 * light.sun + 0.35 * canvas.texture(columns * 1.5 + 0 * rows, rows * 1.5 + 0 * columns)
        if label == BUILDING:
            storey = (camera.height - (rows - camera.horizon) * distance / camera.focal) / 3.2
            window = soft(storey % 1, 0.35, 0.8, 0.3) * soft((metres / 2.4) % 1, 0.25, 0.75, 0.3)
            tone = (0.9 + 0.1 * light.sun) * (1 - 0.5 * window)
        canvas.paint(box, mask, colour * tone[..., None], label, distance)


def _paint_ground(
    canvas: Canvas, camera: Camera, street: Street, plots: dict[int, list[Plot]], rng: np.random.Generator, light: Light
) -> None:
    """Road with markings, kerbs, pavements and the grass beyond, with the shadow of the houses on the sun's side."""
    top = int(camera.horizon) + 2
    rows, columns = _rows(canvas, top), _columns(canvas)
    z = camera.focal * camera.height / (rows - camera.horizon) + 0 * columns  # (h, w)
    x = (columns - camera.vanishing_x) * z / camera.focal
    box = canvas.clip(0, top, canvas.width, canvas.height)
    fade = np.clip(14 / z, 0, 1)
    across, pixel_x = x - street.centre, z / camera.focal
    pixel_z = z * z / (camera.focal * camera.height)
    lit = _ground_light(street, plots[int(light.side)], x, z, light)

    coarse, fine = canvas.texture_smooth(x * 14 + 77, z * 5), canvas.texture(x * 90, z * 60)
    on_road = np.abs(across) <= street.half_road
    asphalt = 0.36 + 0.07 * rng.random() + 0.035 * coarse + 0.05 * fade * fine
    asphalt -= 0.025 * soft(np.abs(np.abs(across) - street.half_road * 0.32), 0.3, 1.1, 0.4)
    patch = rng.random(), rng.random()
    asphalt -= (
        0.05
        * soft(across, 0.6 + patch[0], 2.0 + 1.5 * patch[0], pixel_x)
        * soft(z, 7 + 9 * patch[1], 11 + 16 * patch[1], pixel_z)
    )
    road: Floats = asphalt[..., None] * np.asarray((1.0, 1.0, 1.02), np.float32)
    road = mix(
        road,
        (0.80, 0.80, 0.78),
        _markings(street, across, z, pixel_x, pixel_z) * (0.8 + 0.3 * np.clip(coarse, -1, 0.5)),
    )
    canvas.paint(box, on_road, road * lit[..., None], ROAD, z)

    beyond = np.abs(across) - street.half_road  # metres from the kerb outwards
    paved = (beyond > 0) & (beyond <= street.pavement + 0.3)
    seams = np.clip(
        soft((beyond / 0.6) % 1, 0.0, 0.05, pixel_x / 0.6) + soft((z / 0.6) % 1, 0.0, 0.06, pixel_z / 0.6), 0, 1
    )
    slabs = 0.50 + 0.05 * rng.random() + 0.05 * coarse + 0.04 * fade * fine - 0.09 * seams * fade
    stone: Floats = slabs[..., None] * np.asarray((1.02, 0.99, 0.94), np.float32)
    stone = mix(stone, (0.62, 0.61, 0.58), soft(beyond, 0.0, 0.22, pixel_x))
    stone = mix(stone, (0.24, 0.24, 0.24), soft(beyond, -0.05, 0.05, pixel_x))
    canvas.paint(box, paved, stone * lit[..., None], SIDEWALK, z)

    blades = canvas.texture(x * 60, z * 25)
    grass = (0.8 + 0.25 * coarse + 0.3 * fade * blades)[..., None] * np.asarray((0.27, 0.35, 0.13), np.float32)
    canvas.paint(box, beyond > street.pavement + 0.3, grass * lit[..., None], TERRAIN, z)


def _markings(street: Street, across: Floats, z: Floats, pixel_x: Floats, pixel_z: Floats) -> Floats:
    """Share of white paint: the middle line, the parking lanes' edges, the zebra crossing with its stop line."""
    white = soft(across, -0.07, 0.07, pixel_x) * soft((z / 9) % 1, 0.0, 0.4, pixel_z / 9)
    if street.parking:
        white = np.maximum(white, soft(np.abs(across), street.half_road - 2.15, street.half_road - 2.03, pixel_x))
    else:
        white = np.maximum(white, soft(np.abs(across), street.half_road - 0.35, street.half_road - 0.23, pixel_x))
    if street.crossing is not None:
        inside = soft(z, street.crossing, street.crossing + 3.0, pixel_z)
        bars = soft((across / 1.0) % 1, 0.0, 0.5, pixel_x)
        stop = soft(z, street.crossing - 1.6, street.crossing - 1.2, pixel_z) * soft(across, 0.1, 3.4, pixel_x)
        white = np.maximum(white * (1 - inside), np.maximum(inside * bars, stop))
    return np.asarray(white, np.float32)


def _ground_light(street: Street, sunny_side: list[Plot], x: Floats, z: Floats, light: Light) -> Floats:
    """Light on the ground: less in the shadow that the row of houses on the sun's side throws."""
    heights = np.zeros(400, np.float32)  # per half metre
    for plot in sunny_side:
        heights[int(plot.near * 2) : int(plot.far * 2)] = plot.height
    side = int(light.side)
    from_front = np.clip(side * (street.front(side) - x), 0, None)
    height = heights[np.clip((z + 0.5 * from_front) * 2, 0, 399).astype(np.int64)]
    shadow = np.clip((height * 0.55 - from_front) / 0.5 + 0.5, 0, 1)
    return np.asarray((0.84 + 0.22 * light.sun) * (1 - 0.40 * light.sun * shadow), np.float32)


def _paint_plot(
    canvas: Canvas, camera: Camera, front: float, side: int, plot: Plot, rng: np.random.Generator, light: Light
) -> None:
    if plot.label == BUILDING:
        _paint_gable(canvas, camera, front, side, plot, light)
        _paint_row(canvas, camera, front, side, plot, rng, light)
        return
    for _ in range(4):
        z = plot.near + (plot.far - plot.near) * rng.random()
        place = Place(front + side * (1.5 + 7 * rng.random()), z)
        if rng.random() < 0.7:
            objects.paint_tree(canvas, camera, place, 4.5 + 5 * rng.random(), plot.green, rng, light)
        else:
            objects.paint_bush(canvas, camera, place, 2.5, 1.8, plot.green, rng, light)
    _paint_row(canvas, camera, front, side, plot, rng, light)


def _paint_gable(canvas: Canvas, camera: Camera, front: float, side: int, plot: Plot, light: Light) -> None:
    """The end wall that looks towards the camera, with its roof."""
    back = front + side * _HOUSE_DEPTH
    ridge = (front + back) / 2
    outline = [(front, 0.0), (back, 0.0), (back, plot.height), (ridge, plot.height + 2.6), (front, plot.height)]
    pixels = [camera.project(x, y, plot.near) for x, y in outline]
    tone = 0.80 + 0.05 * light.sun
    canvas.polygon(pixels, objects.shade(plot.colour, tone), BUILDING, plot.near)


def _paint_row(
    canvas: Canvas, camera: Camera, front: float, side: int, plot: Plot, rng: np.random.Generator, light: Light
) -> None:
    """The plane along the pavement: a facade, a wall or a fence."""
    roof = 1.6 if plot.label == BUILDING else 0.0
    corners = [camera.project(front, y, z) for y in (0.0, plot.height + roof) for z in (max(plot.near, 1.0), plot.far)]
    columns_of, rows_of = zip(*corners, strict=True)
    box = canvas.clip(min(columns_of), min(rows_of), max(columns_of), max(rows_of))
    if box.empty:
        return
    columns, rows = _columns(canvas, box.left, box.right), _rows(canvas, box.top, box.bottom)
    offset = np.where(np.abs(columns - camera.vanishing_x) < 1, side, columns - camera.vanishing_x)
    z = camera.focal * front / offset  # (1, w)
    y = camera.height - (rows - camera.horizon) * z / camera.focal  # (h, w)
    z = z + 0 * rows
    mask = (z >= plot.near) & (z < plot.far) & (y >= 0) & (y <= plot.height)
    pixel_z, pixel_y = z * z / (camera.focal * abs(front)), z / camera.focal
    lit = light.facing(-side)
    if plot.label == BUILDING:
        colour = _facade(canvas, plot, y, z - plot.near, pixel_y, pixel_z, rng)
        eaves = (z >= plot.near) & (z < plot.far) & (y > plot.height) & (y <= plot.height + roof)
        tiles = np.asarray((0.30, 0.19, 0.15), np.float32) * (1 + 0.25 * canvas.texture(z * 9, y * 40))[..., None]
        canvas.paint(box, eaves, tiles * lit, BUILDING, z)
    elif plot.label == WALL:
        stain = 0.85 + 0.14 * canvas.texture_smooth(z * 12, y * 12) + 0.1 * canvas.texture(z * 60, y * 60)
        joints = soft((y / 0.25) % 1, 0.0, 0.12, pixel_y / 0.25)
        colour = np.asarray(plot.colour, np.float32) * (stain - 0.15 * joints)[..., None]
    else:
        bars = soft((z / 0.28) % 1, 0.0, 0.45, pixel_z / 0.28) > 0.35
        rails = (y % (plot.height - 0.25)) < 0.14
        mask &= bars | rails
        colour = np.asarray((0.25, 0.24, 0.22), np.float32) * (1 + 0.1 * canvas.texture(z * 50, y * 50))[..., None]
    canvas.paint(box, mask, colour * lit, plot.label, z)


def _facade(
    canvas: Canvas, plot: Plot, y: Floats, along: Floats, pixel_y: Floats, pixel_z: Floats, rng: np.random.Generator
) -> Floats:
    """Colour of a house's front: plaster, rows of windows with frames and sills, a plinth or a shop, the cornice."""
    pitch, storey = 2.3 + 1.4 * rng.random(), 3.3
    streaks = (
        canvas.texture_smooth(along * 20 + 50 * rng.random(), y * 3) * 0.09 + canvas.texture(along * 60, y * 60) * 0.05
    )
    plaster = np.asarray(plot.colour, np.float32) * (1 + streaks)[..., None]
    floor, column = np.floor(y / storey), np.floor(along / pitch)
    v, u = y - floor * storey, along - column * pitch
    half = pitch * (0.2 + 0.12 * rng.random())
    frame = soft(u, pitch / 2 - half - 0.12, pitch / 2 + half + 0.12, pixel_z) * soft(v, 0.85, 2.75, pixel_y)
    pane = soft(u, pitch / 2 - half, pitch / 2 + half, pixel_z) * soft(v, 0.95, 2.62, pixel_y)
    bar = soft(u, pitch / 2 - 0.05, pitch / 2 + 0.05, pixel_z) * pane
    sill = soft(u, pitch / 2 - half - 0.2, pitch / 2 + half + 0.2, pixel_z) * soft(v, 0.72, 0.86, pixel_y)
    moods = np.asarray(rng.random((16, 16)), np.float32)[floor.astype(np.int64) % 16, column.astype(np.int64) % 16]
    glass = np.clip(0.10 + 0.32 * moods * moods + 0.10 * (v - 1.5) / 1.5, 0.05, 0.6)[..., None] * np.asarray(
        (0.92, 1.0, 1.1), np.float32
    )
    curtain = soft(v, 1.6 + 0.8 * moods, 2.62, pixel_y) * (moods > 0.55)
    glass = mix(glass, (0.62, 0.60, 0.55), np.asarray(curtain * 0.8, np.float32))
    upper = y >= (storey if plot.shop else 0)
    wall = mix(plaster, (0.78, 0.77, 0.73), frame * upper * 0.8)
    wall = mix(wall, glass, (pane - bar * 0.8) * upper)
    wall = mix(wall, (0.70, 0.69, 0.66), sill * upper * 0.7)
    if plot.shop:
        inside = (
            np.asarray((0.15, 0.15, 0.16), np.float32)
            * (1 + 1.4 * np.clip(canvas.texture_smooth(along * 25, y * 25), 0, 1))[..., None]
        )
        window = soft(along % 3.6, 0.3, 3.3, pixel_z) * soft(y, 0.45, 2.5, pixel_y)
        sign = soft(y, 2.6, 3.15, pixel_y)
        tint = tuple(float(c) for c in 0.15 + 0.55 * rng.random(3))
        wall = mix(mix(wall, inside, window), (tint[0], tint[1], tint[2]), sign)
    else:
        wall = mix(wall, objects.shade(plot.colour, 0.6), soft(y, -1.0, 0.6, pixel_y) * 0.8)
    wall = mix(wall, objects.shade(plot.colour, 1.15), soft(y, plot.height - 0.45, plot.height + 1, pixel_y))
    return mix(wall, objects.shade(plot.colour, 0.62), soft(y, plot.height - 0.6, plot.height - 0.45, pixel_y))


def _paint_traffic(
    canvas: Canvas, camera: Camera, street: Street, number: int, rng: np.random.Generator, light: Light
) -> None:
    """Everything that stands on the ground, shadows first, then from far to near."""
    vehicles = _plan_vehicles(street, number, rng)
    for name, place, _, _ in vehicles:
        objects.vehicle_shadow(canvas, camera, name, place, light)
    things: list[Thing] = [
        (place.z, partial(objects.paint_vehicle, canvas, camera, name, place, coming, paint, light))
        for name, place, coming, paint in vehicles
    ]
    things += _plan_furniture(canvas, camera, street, rng, light)
    things += _plan_people(canvas, camera, street, number, rng, light)
    for _, paint_thing in sorted(things, key=lambda thing: -thing[0]):
        paint_thing()


def _plan_vehicles(street: Street, number: int, rng: np.random.Generator) -> list[tuple[str, Place, bool, Colour]]:
    """Vehicles as (kind, place of the near end, comes towards the camera, paint)."""
    kinds = ("saloon", "hatchback", "hatchback", "van")

    def any_paint() -> Colour:
        return _PAINTS[rng.integers(len(_PAINTS))]

    vehicles = []
    for side in (-1, 1) if street.parking else ():
        z = 5.0 + 5 * rng.random()
        while z < 60:
            if rng.random() < 0.68:
                x = street.kerb(side) - side * (1.02 + 0.12 * rng.random())
                vehicles.append((kinds[rng.integers(4)], Place(x, z), side < 0, any_paint()))
            z += 5.6 + 2.5 * rng.random()
    ahead = 11 + 16 * rng.random()
    large = "bus" if number % 4 == 1 else "truck" if number % 4 == 3 else None
    while ahead < 90:
        kind = large if large is not None and number % 8 < 4 else kinds[rng.integers(4)]
        vehicles.append((kind, Place(0.25 * (rng.random() - 0.5), ahead), False, any_paint()))
        large = None if number % 8 < 4 else large
        ahead += 20 + 25 * rng.random()
    coming = 13 + 20 * rng.random()
    while coming < 90:
        kind = large if large is not None else kinds[rng.integers(4)]
        vehicles.append((kind, Place(2 * street.centre + 0.1, coming), True, any_paint()))
        large = None
        coming += 18 + 22 * rng.random()
    return vehicles


def _plan_furniture(
    canvas: Canvas, camera: Camera, street: Street, rng: np.random.Generator, light: Light
) -> list[Thing]:
    """Trees, lamp posts, signs, signals and bins along the kerbs, each with its distance."""
    things: list[Thing] = []
    green = _GREENS[rng.integers(4)]
    for side in (-1, 1):
        kerb = street.kerb(side) + side * 0.45
        planted = rng.random() < 0.6
        z = 8 + 8 * rng.random()
        while planted and z < 100:
            place, height = Place(kerb + side * 0.3, z), 5.0 + 3.0 * rng.random()
            things.append((z, partial(objects.paint_tree, canvas, camera, place, height, green, rng, light)))
            z += 8 + 7 * rng.random()
        z = 10 + 14 * rng.random()
        while z < 100:
            things.append((z, partial(objects.paint_lamp_post, canvas, camera, Place(kerb, z), 6.8, light)))
            z += 26 + 6 * rng.random()
        for _ in range(int(rng.integers(1, 4))):
            post, kind = Place(kerb, 7 + 28 * rng.random()), int(rng.integers(6))
            things.append((post.z, partial(objects.paint_sign, canvas, camera, post, kind, light)))
        bin_place = Place(kerb + side * 0.4, 9 + 20 * rng.random())
        colour = ((0.12, 0.22, 0.15), (0.42, 0.2, 0.06), (0.3, 0.3, 0.31))[rng.integers(3)]
        things.append((bin_place.z, partial(objects.paint_bin, canvas, camera, bin_place, colour, light)))
        if street.crossing is not None:
            signal, lit = Place(kerb, street.crossing - 1.0), int(rng.integers(3))
            things.append((signal.z, partial(objects.paint_traffic_light, canvas, camera, signal, lit)))
    return things


def _plan_people(
    canvas: Canvas, camera: Camera, street: Street, number: int, rng: np.random.Generator, light: Light
) -> list[Thing]:
    """People on the pavements and on the crossing, and a cyclist in every other scene, each with its distance."""
    places = []
    for side in (-1, 1):
        for _ in range(int(rng.integers(2, 6))):
            x = street.kerb(side) + side * (0.7 + (street.pavement - 1.0) * rng.random())
            places.append(Place(x, 8 + 34 * rng.random() * (0.3 + 0.7 * rng.random())))
    if street.crossing is not None:
        for _ in range(int(rng.integers(1, 4))):
            places.append(Place(street.centre + 5.5 * (rng.random() - 0.5), street.crossing + 0.5 + 2 * rng.random()))
    things: list[Thing] = [
        (place.z, partial(objects.paint_person, canvas, camera, place, rng, light)) for place in places
    ]
    if number % 2 == 0:
        rider = Place(1.25, 9.0 + 6 * rng.random())
        things.append((rider.z, partial(objects.paint_cyclist, canvas, camera, rider, rng, light)))
    return things


def _add_haze(canvas: Canvas, light: Light, reach: float) -> None:
    """Air light: half of what is seen at the distance `reach` (metres) is haze."""
    share = np.where(canvas.label == SKY, 0, canvas.depth / (canvas.depth + reach))
    veil = (0.80, 0.84, 0.88) if light.sun else (0.83, 0.84, 0.84)
    canvas.rgb = mix(canvas.rgb, veil, np.asarray(share, np.float32))


def _paint_ego(canvas: Canvas) -> None:
    """The bonnet of the car that carries the camera."""
    box = Box(canvas.height - 13 * _SCALE, canvas.height, 0, canvas.width)
    rows, columns = _rows(canvas, box.top), _columns(canvas)
    u = (columns - canvas.width / 2) / (canvas.width * 0.62)
    edge = canvas.height - 13.0 * _SCALE * np.clip(1 - u * u, 0, 1)
    inside = np.clip((rows - edge) / (16.0 * _SCALE), 0, 1)
    tone = 0.10 + 0.22 * (1 - inside) * (1 - inside) + 0.02 * canvas.grain[box.slices]
    colour = tone[..., None] * np.asarray((0.95, 1.0, 1.06), np.float32)
    canvas.paint(box, rows >= edge, colour, EGO, 1.0)


def _develop(canvas: Canvas, rng: np.random.Generator) -> Scene:
    """The final picture with the lens' falloff and the sensor's noise, and the maps."""
    rgb = canvas.rgb
    mean = (rgb[0::2, 0::2] + rgb[1::2, 0::2] + rgb[0::2, 1::2] + rgb[1::2, 1::2]) * np.float32(0.25)
    y = (np.arange(HEIGHT, dtype=np.float32)[:, None] - HEIGHT / 2) / HEIGHT
    x = (np.arange(WIDTH, dtype=np.float32)[None, :] - WIDTH / 2) / WIDTH
    falloff = 1 - 0.22 * (x * x + y * y)
    gains = np.asarray(0.97 + 0.06 * rng.random(3), np.float32) * np.float32(1.0 + 0.14 * rng.random())
    mean = np.clip(mean, 0, 1.25) * falloff[..., None] * gains
    noise = rng.integers(-3, 4, mean.shape) + rng.integers(-3, 4, mean.shape)
    image = np.clip(np.floor(mean * 255 + noise * 0.45 + 0.5), 0, 255).astype(np.uint8)
    labels, number = canvas.label[1::2, 1::2].copy(), canvas.number[1::2, 1::2].copy()
    return Scene(image, labels, _instances(labels, number, canvas.objects))


def _instances(labels: NDArray[np.uint8], number: NDArray[np.uint16], kinds: list[int]) -> NDArray[np.uint16]:
    """Cityscapes' instance ids: id * 1000 + n, n counted per class over the objects that can be seen."""
    instances = labels.astype(np.uint16)
    counts: dict[int, int] = {}
    for seen in np.unique(number):
        if seen == 0:
            continue
        kind = kinds[int(seen) - 1]
        instances[number == seen] = kind * 1000 + counts.get(kind, 0)
        counts[kind] = counts.get(kind, 0) + 1
    return instances


def palette(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cityscapes' colours of label ids: (h, w) to (h, w, 4) RGBA."""
    table = np.zeros((256, 4), np.uint8)
    for label in label_table:
        if label.id >= 0:
            table[label.id] = (*label.color, 255)
    return table[labels]
