"""The embedded sample, written as the real sets are published: Open Images' bucket and lists, Cityscapes' archives.

The files depend only on the versions of the installed packages.
"""

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.data import photographs, streets
from gencomp.data.archive import write_zip
from gencomp.data.atomic import replacing
from gencomp.data.photographs import CLASSES, PHOTOGRAPHS, Photograph

LIST_COLUMNS = (
    "ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title",
    "OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation",
)  # fmt: skip
MASK_COLUMNS = (
    "MaskPath", "ImageID", "LabelName", "BoxID", "BoxXMin", "BoxXMax", "BoxYMin", "BoxYMax", "PredictedIoU", "Clicks",
)  # fmt: skip
SUBSETS = ("train", "validation")

STREET_SEED = 1
CITIES = (("train", "alderburg", 12), ("train", "birkfeld", 12), ("val", "cedarhof", 6), ("test", "dornheim", 2))
"""Split, city and scenes of the street archives."""

_LICENSE = """\
Generated street scenes in the layout of the Cityscapes archives
================================================================

These pictures and maps were computed by gencomp. They show no real place, hold no pixel of the Cityscapes Dataset and
are not published by its makers. To the extent possible under law they are dedicated to the public domain (CC0 1.0).
"""
_README = """\
{kind}/{split}/{city}/{city}_{sequence}_{frame}_{kind}...

leftImg8bit              colour pictures, 8 bit
gtFine_color             label ids in the palette of Cityscapes
gtFine_labelIds          label ids of Cityscapes, 8 bit
gtFine_instanceIds       label id, or label id * 1000 + number for things that are counted, 16 bit

The maps of the split test are empty, as in Cityscapes.
"""


class _Mask(NamedTuple):
    """A row of a mask table and its file."""

    row: dict[str, str]
    png: bytes


def build(root: Path, layout: Literal["openimages", "cityscapes"]) -> None:
    """Write the sample into the folder `root`: the photographs (openimages) or the street scenes (cityscapes).

    Raises FileNotFoundError, in one line, where a package lacks a photograph.
    """
    if layout == "openimages":
        _build_photographs(root)
    else:
        _build_streets(root)


def image_id(name: str) -> str:
    """The 16 hexadecimal digits that a photograph goes by."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _build_photographs(root: Path) -> None:
    rows, found = [_gone_row()], dict[str, list[_Mask]]((subset, []) for subset in SUBSETS)
    for photograph in PHOTOGRAPHS:
        data = photographs.jpeg(photograph)
        _write(root / photograph.subset / f"{image_id(photograph.name)}.jpg", data)
        rows.append(_list_row(photograph, data))
        found[photograph.subset] += _masks(photograph, data)
    rows.sort(key=lambda row: (row["Subset"], row["ImageID"]))
    _write(root / "image_ids.csv", _table(LIST_COLUMNS, rows))
    annotations = root / "annotations"
    names = sorted((label, name) for name, label in CLASSES.items())
    _write(
        annotations / "class-descriptions-boxable.csv", "".join(f"{label},{name}\n" for label, name in names).encode()
    )
    for subset, masks in found.items():
        masks.sort(key=lambda mask: mask.row["MaskPath"])
        table = _table(MASK_COLUMNS, [mask.row for mask in masks])
        _write(annotations / f"{subset}-annotations-object-segmentation.csv", table)
        for digit in "0123456789abcdef":
            members = [(mask.row["MaskPath"], mask.png) for mask in masks if mask.row["ImageID"][0] == digit]
            write_zip(annotations / f"{subset}-masks-{digit}.zip", members)


def _list_row(photograph: Photograph, data: bytes) -> dict[str, str]:
    credit = photograph.credit
    return {
        "ImageID": image_id(photograph.name),
        "Subset": photograph.subset,
        "OriginalURL": credit.landing,
        "OriginalLandingURL": credit.landing,
        "License": credit.license,
        "AuthorProfileURL": credit.profile,
        "Author": credit.author,
        "Title": photograph.title,
        "OriginalSize": str(len(data)),
        "OriginalMD5": _md5(data),
        "Thumbnail300KURL": "",
        "Rotation": "0.0",
    }


def _gone_row() -> dict[str, str]:
    """An image that the list knows and the bucket lost, as happens to those of Open Images."""
    row = dict.fromkeys(LIST_COLUMNS, "")
    row |= {"ImageID": image_id("gone"), "Subset": "train", "Title": "Gone from the bucket", "Rotation": "0.0"}
    return row | {"OriginalSize": "0", "OriginalMD5": _md5(b"")}


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _masks(photograph: Photograph, data: bytes) -> list[_Mask]:
    """The outlines as Open Images publishes them: a two-colour PNG each, boxes as shares of width and height."""
    with Image.open(io.BytesIO(data)) as image:
        drawn = photographs.masks(photograph, image.size)
    id, masks = image_id(photograph.name), []
    for k, (outline, mask) in enumerate(zip(photograph.outlines, drawn, strict=True)):
        label = CLASSES[outline.name]
        box_id = hashlib.sha256(f"{id} {k}".encode()).hexdigest()[:8]
        x0, x1, y0, y1 = _box(mask)
        row = {
            "MaskPath": f"{id}_{label.replace('/', '')}_{box_id}.png",
            "ImageID": id,
            "LabelName": label,
            "BoxID": box_id,
            "BoxXMin": f"{x0:.6f}",
            "BoxXMax": f"{x1:.6f}",
            "BoxYMin": f"{y0:.6f}",
            "BoxYMax": f"{y1:.6f}",
            "PredictedIoU": "",
            "Clicks": "",
        }
        masks.append(_Mask(row, _png(Image.fromarray(mask))))
    return masks


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the pixels of a mask, as shares of its width and height."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height


def _build_streets(root: Path) -> None:
    images: dict[str, bytes] = {}
    maps: dict[str, bytes] = {}
    number = 0
    for split, city, scenes in CITIES:
        for sequence in range(scenes):
            scene = streets.render(STREET_SEED, number)
            labels, instances = scene.labels, scene.instances
            if split == "test":
                labels, instances = np.zeros_like(labels), np.zeros_like(instances)
            stem = f"{split}/{city}/{city}_{sequence:06}_000019"
            images[f"leftImg8bit/{stem}_leftImg8bit.png"] = _png(Image.fromarray(scene.image))
            maps[f"gtFine/{stem}_gtFine_color.png"] = _png(Image.fromarray(streets.palette(labels)))
            maps[f"gtFine/{stem}_gtFine_instanceIds.png"] = _png(Image.fromarray(instances))
            maps[f"gtFine/{stem}_gtFine_labelIds.png"] = _png(Image.fromarray(labels))
            number += 1
    texts = {"README": _README.encode(), "license.txt": _LICENSE.encode()}
    write_zip(root / "leftImg8bit_trainvaltest.zip", sorted((images | texts).items()))
    write_zip(root / "gtFine_trainvaltest.zip", sorted((maps | texts).items()))


def _png(image: Image.Image) -> bytes:
    coded = io.BytesIO()
    image.save(coded, "PNG")
    return coded.getvalue()


def _table(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)
