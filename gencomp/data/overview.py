"""What training shards hold: counts, sizes, classes, and a contact sheet to look at."""

import io
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.failure import DataError
from gencomp.data.manifest import ClassTable, LabelClass, ShardManifest, ShardSidecar
from gencomp.data.places import Place, within

THUMBNAIL = 192
"""Longer side of a picture on the contact sheet, pixels."""
GAP = 6
"""Around each picture, pixels."""
OVERLAY = 0.6
"""Weight of a class's colour over its picture."""
UNLABELLED = (0, 0, 0)
_GOLDEN_ANGLE = 137.508


class ClassShare(NamedTuple):
    """A class of the label maps."""

    name: str
    pixels: int
    images: int
    """Label maps that have the class."""


class Overview(NamedTuple):
    """What the shards of a dataset hold."""

    manifest: ShardManifest
    formats: Counter[str]
    """Samples by the ending of their image."""
    licenses: Counter[str]
    widths: tuple[int, int, int]
    """The least, the median and the most, pixels."""
    heights: tuple[int, int, int]
    classes: list[ClassShare]
    """Of the label maps, the largest first; an id beyond the classes is `unlabelled`. Empty without maps."""
    sheet: Image.Image
    """Pictures spread evenly over the samples; below those with a label map the same in the colours of its classes."""

    def png(self) -> bytes:
        """The sheet as a PNG file."""
        file = io.BytesIO()
        self.sheet.save(file, "PNG")
        return file.getvalue()


def overview(shards: Place, pictures: int) -> Overview:
    """Read all shards of a folder, local or not; `pictures` is how many the sheet has at most.

    Class names are those of `classes.json` in `data/semantics/<dataset>`, where that lies beside. Raises DataError.
    """
    if isinstance(shards, Path) and not (shards / "manifest.json").is_file():
        raise DataError(f"{shards}: no manifest.json; name a folder that the shard stage made")
    known = manifest.read(within(shards, "manifest.json"), ShardManifest)
    colours = _Colours(known.classes, _class_table(shards, known.dataset))
    total = sum(split.samples for split in known.splits.values())
    shown = {round(step) for step in np.linspace(0, total - 1, min(pictures, total))} if total else set()
    formats, licenses, counts, images = Counter[str](), Counter[str](), Counter[int](), Counter[int]()
    sizes: list[tuple[int, int]] = []
    tiles: list[Image.Image] = []
    for index, files in enumerate(_samples(shards, known)):
        sidecar = msgspec.json.decode(files.pop("json"), type=ShardSidecar)
        labels = np.asarray(Image.open(io.BytesIO(files["labels.png"]))) if "labels.png" in files else None
        ending = next(name for name in files if not name.endswith((".png", ".json")) or name == "png")
        formats[ending] += 1
        licenses[sidecar.license or "not stated"] += 1
        sizes.append((sidecar.width, sidecar.height))
        if labels is not None:
            ids, found = np.unique(labels, return_counts=True)
            counts.update(dict(zip(ids.tolist(), found.tolist(), strict=True)))
            images.update(ids.tolist())
        if index in shown:
            tiles.append(_tile(files[ending], labels, colours))
    classes = [ClassShare(colours.name(id), pixels, images[id]) for id, pixels in counts.most_common()]
    widths, heights = (_spread([size[axis] for size in sizes]) for axis in (0, 1))
    return Overview(known, formats, licenses, widths, heights, classes, _sheet(tiles))


def _spread(lengths: list[int]) -> tuple[int, int, int]:
    return (min(lengths), round(statistics.median(lengths)), max(lengths)) if lengths else (0, 0, 0)


def _samples(shards: Place, known: ShardManifest) -> Iterator[dict[str, bytes]]:
    for split in known.splits.values():
        for shard in split.shards:
            yield from (files for _, files in read_samples(within(shards, shard.name)))


def _class_table(shards: Place, dataset: str) -> Path | None:
    """Where the class table of local shards lies, if it does."""
    if not isinstance(shards, Path):
        return None
    table = shards.absolute().parent.parent / "semantics" / dataset / "classes.json"
    return table if table.is_file() else None


class _Colours:
    """Names and colours of the label ids: those of the class table, and where it has none ones that differ."""

    def __init__(self, classes: int, table: Path | None) -> None:
        known = manifest.read(table, ClassTable).classes if table else []
        self._classes = {label.id: label for label in known} or {
            id: LabelClass(id=id, name=f"class {id}") for id in range(classes)
        }
        self._drawn = {id: label.color or _colour(id) for id, label in self._classes.items()}

    def name(self, id: int) -> str:
        return self._classes[id].name if id in self._classes else "unlabelled"

    def drawn(self, labels: NDArray[np.integer]) -> NDArray[np.uint8]:
        """(H, W) ids -> (H, W, 3)."""
        ids, where = np.unique(labels, return_inverse=True)
        table = np.array([self._drawn.get(id, UNLABELLED) for id in ids.tolist()], np.uint8)
        return table[where.reshape(labels.shape)]


def _colour(id: int) -> tuple[int, int, int]:
    hue = round(255 * (id * _GOLDEN_ANGLE % 360) / 360)
    red, green, blue = np.asarray(Image.new("HSV", (1, 1), (hue, 190, 230)).convert("RGB"))[0, 0].tolist()
    return red, green, blue


def _tile(data: bytes, labels: NDArray[np.integer] | None, colours: _Colours) -> Image.Image:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    views = [image]
    if labels is not None:
        views.append(Image.blend(image, Image.fromarray(colours.drawn(labels)), OVERLAY))
    for view in views:
        view.thumbnail((THUMBNAIL, THUMBNAIL))
    tile = Image.new("RGB", (image.width, image.height * len(views)), "white")
    for row, view in enumerate(views):
        tile.paste(view, (0, row * image.height))
    return tile


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    """The pictures in rows, from left to right, as nearly square as can be."""
    if not tiles:
        return Image.new("RGB", (1, 1), "white")
    width, height = (max(sizes) + GAP for sizes in zip(*(tile.size for tile in tiles), strict=True))
    columns = max(1, round((len(tiles) * height / width) ** 0.5))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet.paste(tile, (column * width + GAP, row * height + GAP))
    return sheet
