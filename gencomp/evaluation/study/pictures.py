"""What a study is made from: a table of decoded pictures, and how to get it from the pipeline's outputs.

The table is `pictures.csv` with at least the columns of COLUMNS, one row per decoded picture; `picture` and `original`
are paths of picture files, relative to the table's folder.
"""

import csv
import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.container import MAX_PIXELS
from gencomp.codec.pixels import PictureError, read_picture
from gencomp.evaluation.classical import CODECS, file_name
from gencomp.evaluation.held_out import HeldOutImage, folder_images, held_out_images
from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.study.failure import StudyError

TABLE = "pictures.csv"
COLUMNS = ("key", "codec", "setting", "bytes", "picture", "original")


class Decoded(NamedTuple):
    """One decoded picture."""

    key: str
    """Of the picture that was coded."""
    codec: str
    """Name of the codec or of the model's variant."""
    setting: str
    """The point of the codec's ladder."""
    size: int
    """Bytes of the file it was decoded from."""
    picture: Path
    original: Path


def read_table(place: Path) -> list[Decoded]:
    """The rows of a `pictures.csv`, or of the one in a folder. Raises StudyError, which names the file and the line."""
    path = place / TABLE if place.is_dir() else place
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise StudyError(f"{path}: no column {missing[0]}; it needs {','.join(COLUMNS)}")
            rows = [_decoded(cells, path, reader.line_num) for cells in reader]
    except FileNotFoundError:
        raise StudyError(f"{path}: no such table; `gencomp study collect` makes one") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not a table ({error})") from None
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        if row[:3] in seen:
            raise StudyError(f"{path}: {row.key} by {row.codec} at {row.setting} stands there twice")
        seen.add(row[:3])
    return rows


def collect(
    models: Sequence[Path], anchors: Path | None, originals: Path, split: str, codecs: Sequence[str], output: Path
) -> int:
    """Write a table, and its pictures beside it, from the pipeline's outputs; how many decoded pictures it has.

    `models`: folders `evaluation/<variant>`; `anchors`: a folder `anchors/<dataset>`, of which `codecs` are taken, all
    where none is named; `originals`: the shards they were evaluated on, of which `split`, or a folder of pictures.
    Raises StudyError and HeldOutError.
    """
    with whole_folder(output) as folder:
        written = [_write(folder, *entry) for entry in _entries(models, anchors, codecs)]
        if not written:
            raise StudyError("there is no decoded picture: name evaluations or anchors that hold some")
        needed = {row[0] for row in written}
        found = set()
        for image in _originals(originals, split):
            if image.key in needed:
                found.add(image.key)
                _save(folder / _original(image.key), image.pixels)
        if needed - found:
            raise StudyError(f"{originals}: there is no original of {min(needed - found)}")
        with (folder / TABLE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(written)
    return len(written)


def load(path: Path) -> NDArray[np.uint8]:
    """A picture's pixels, (H, W, 3) in sRGB. Raises StudyError."""
    try:
        return np.asarray(read_picture(path.read_bytes(), max_pixels=MAX_PIXELS))
    except (OSError, PictureError) as error:
        raise StudyError(f"{path}: not a readable picture ({error})") from None


def _decoded(cells: dict[str, str], path: Path, line: int) -> Decoded:
    size = cells["bytes"] or ""
    if None in cells.values() or not size.isdecimal() or int(size) < 1:
        raise StudyError(f"{path}, line {line}: `bytes` must be a whole number from 1 on, not {size!r}")
    picture, original = (path.parent / cells[name] for name in ("picture", "original"))
    return Decoded(cells["key"], cells["codec"], cells["setting"], int(size), picture, original)


def _entries(
    models: Sequence[Path], anchors: Path | None, codecs: Sequence[str]
) -> Iterator[tuple[dict[str, str], NDArray[np.uint8]]]:
    """The rows of the pipeline's tables with what was decoded."""
    for folder in models:
        for cells in _images(folder):
            yield cells, load(folder / "decoded" / f"{cells['key']}.png")
    if anchors is not None:
        rows = [cells for cells in _images(anchors) if not codecs or cells["codec"] in codecs]
        if absent := set(codecs) - {cells["codec"] for cells in rows}:
            raise StudyError(f"{anchors}: no files of {min(absent)}")
        with tarfile.open(anchors / "files.tar") as archive:
            stored = {member.name: member for member in archive}
            for cells in rows:
                yield cells, _anchor(archive, stored, cells, anchors)


def _images(folder: Path) -> list[dict[str, str]]:
    """`images.csv` of a stage, by the names of its columns, whichever others there are."""
    path = folder / "images.csv"
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if missing := {"key", "codec", "setting", "bytes"} - set(reader.fieldnames or ()):
                raise StudyError(f"{path}: no column {min(missing)}")
            return list(reader)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such table; name a folder that the pipeline wrote") from None


def _anchor(
    archive: tarfile.TarFile, stored: Mapping[str, tarfile.TarInfo], cells: dict[str, str], folder: Path
) -> NDArray[np.uint8]:
    """What became of a picture: the PNG beside its file, or else what Pillow makes of the file."""
    if cells["codec"] not in CODECS:
        raise StudyError(f"{folder}: {cells['codec']} is not among the codecs: {', '.join(CODECS)}")
    name = file_name(cells["key"], cells["codec"], cells["setting"])
    for member, decode in ((f"{name}.png", CODECS["jpeg"].decode), (name, CODECS[cells["codec"]].decode)):
        file = archive.extractfile(stored[member]) if member in stored else None
        if file is not None:
            return np.asarray(decode(file.read()))
    raise StudyError(f"{folder / 'files.tar'}: no file {name}")


def _write(folder: Path, cells: dict[str, str], pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """One row of the table, its picture being written."""
    key, codec, setting = (cells[name] for name in ("key", "codec", "setting"))
    place = f"decoded/{key}.{codec}-{setting}.png"
    _save(folder / place, pixels)
    return key, codec, setting, cells["bytes"], place, _original(key)


def _original(key: str) -> str:
    return f"originals/{key}.png"


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def _originals(place: Path, split: str) -> Iterator[HeldOutImage]:
    return held_out_images(place, split) if (place / "manifest.json").is_file() else folder_images(place)
