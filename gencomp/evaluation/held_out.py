"""The pictures that a model is evaluated on: the held-out split of the training shards, or a folder."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence, Set
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.codec.container import MAX_PIXELS, Entropy
from gencomp.codec.pixels import PictureError, read_picture
from gencomp.codec.side import label_type, unlabelled
from gencomp.evaluation.rates import ChosenMetric

SUFFIXES = frozenset({"avif", "bmp", "jpeg", "jpg", "png", "tif", "tiff", "webp"})
LABELS, EDGES = "labels.png", "edges.png"
"""How the names of label maps and of maps of instance edges go on behind the key of their picture, in shards."""


class HeldOutError(ValueError):
    """Pictures that cannot be evaluated on; the message is one line that says what to do."""


class HeldOutImage(NamedTuple):
    """One picture."""

    key: str
    """Name, unique in its set, of letters, digits, `_` and `-`."""
    pixels: NDArray[np.uint8]
    """(H, W, 3), RGB."""


class HeldOutSample(NamedTuple):
    """One picture, and what its shard knows of it."""

    image: HeldOutImage
    labels: NDArray[np.integer] | None = None
    """(H, W), class ids; None where there is no label map."""
    edges: NDArray[np.bool_] | None = None
    """(H, W), true on the borders of instances; None where there is no map of them."""


class Recogniser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A segmentation network that looks at decoded pictures, for mIoU against a dataset's label maps."""

    file: str
    """Local path: what the authors of ESPNet publish (.pth), or a description (.json), as `load_network` takes them."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of that file, or of the network that the description names; another one is refused, and a new one makes
    the evaluation again."""
    classes: tuple[str, ...] = ()
    """Names of the dataset's label ids 0, 1, ..., as the network's classes are called; none: the network's own."""


class EvaluationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which pictures are evaluated, and how models code them."""

    split: Literal["train", "val", "test"]
    """Split of the shards that is held out from training."""
    images: str | None
    """A folder of pictures to evaluate on instead of the split; null for the split."""
    entropy: Entropy
    """Entropy coding of the models' files."""
    max_bpp: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Largest rate of a file of a nested model, bits per pixel; none: the codec's default."""
    preserve: str = "all"
    """What models of selective compression preserve: none, all, box:x0,y0,x1,y1, classes: ids, or a mask image."""
    metrics: tuple[ChosenMetric, ...] = ("psnr", "ms_ssim")
    """What is measured; PSNR always, and the learned ones need `gencomp weights fetch`. `kid` brings FID with it."""
    segmentation: dict[str, Recogniser] = {}
    """By dataset, the network that mIoU is measured by."""


def evaluation_images(config: EvaluationConfig, shards: Path) -> Iterator[HeldOutImage]:
    """The pictures that `config` names, one at a time; `shards` is the dataset's shard folder. Raises HeldOutError."""
    return held_out_images(shards, config.split) if config.images is None else folder_images(Path(config.images))


def evaluation_samples(config: EvaluationConfig, shards: Path) -> Iterator[HeldOutSample]:
    """The same pictures, with their label maps and edges where they come from shards. Raises HeldOutError."""
    if config.images is None:
        return held_out_samples(shards, config.split)
    return map(HeldOutSample, folder_images(Path(config.images)))


def held_out_images(shards: Path, split: str) -> Iterator[HeldOutImage]:
    """The pictures of one split of a shard folder, one at a time, in the manifest's order. Raises HeldOutError."""
    for shard in _shard_names(shards, split):
        for stored in _stored(shards / shard, SUFFIXES):
            yield from _pictures(stored)


def held_out_samples(shards: Path, split: str) -> Iterator[HeldOutSample]:
    """The samples of one split of a shard folder, one at a time, in the manifest's order. Raises HeldOutError.

    In a dataset with label maps, a picture without one is unlabelled everywhere, as in training.
    """
    names = _shard_names(shards, split)
    classes = int(json.loads((shards / "manifest.json").read_text()).get("classes", 0))
    for shard in names:
        for stored in _stored(shards / shard, SUFFIXES | {LABELS, EDGES}):
            labels, edges = (_ids(stored, suffix) for suffix in (LABELS, EDGES))
            for image in _pictures(stored):
                if labels is None and classes:
                    labels = np.full(image.pixels.shape[:2], unlabelled(classes), label_type(classes))
                yield HeldOutSample(image, labels, None if edges is None else edges > 0)


def folder_images(folder: Path) -> Iterator[HeldOutImage]:
    """The pictures of a folder, one at a time, sorted by name. Raises HeldOutError."""
    return file_images(picture_files(folder))


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name, at least one; hidden files, folders and pipes are passed over. Raises
    HeldOutError."""
    if not folder.is_dir():
        raise HeldOutError(f"{folder}: no such folder of pictures")
    files = (path for path in folder.iterdir() if path.is_file() or not path.exists())  # a link to nothing fails
    named = (path for path in files if not path.name.startswith("."))
    paths = sorted(path for path in named if path.suffix.lower().lstrip(".") in SUFFIXES)
    if not paths:
        raise HeldOutError(f"{folder}: no pictures ({', '.join(sorted(SUFFIXES))})")
    return paths


def file_images(paths: Sequence[Path]) -> Iterator[HeldOutImage]:
    """Pictures in files, one at a time, each with its name as key. Raises HeldOutError, for rival names at once."""
    seen: dict[str, Path] = {}
    for path in paths:
        key = picture_key(path)
        if key in seen:
            raise HeldOutError(f"{path} and {seen[key].name} would share the key {key}; rename one of them")
        seen[key] = path
    return (HeldOutImage(key, _decode(path.read_bytes(), str(path))) for key, path in seen.items())


def picture_key(path: Path) -> str:
    """What a picture in a file is called: the file's name, of letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", path.stem)


def update_digest(result: "hashlib._Hash", image: HeldOutImage) -> None:
    """Add key, size and pixels of one picture to a digest of the evaluation."""
    height, width, _ = image.pixels.shape
    result.update(f"{image.key} {width}x{height}\n".encode())
    result.update(image.pixels.tobytes())


def _shard_names(shards: Path, split: str) -> list[str]:
    path = shards / "manifest.json"
    try:
        splits = json.loads(path.read_text())["splits"]
    except FileNotFoundError:
        raise HeldOutError(f"{path}: no such file; run the shard stage first") from None
    if not splits.get(split, {}).get("samples"):
        raise HeldOutError(f"{path}: split `{split}` holds no pictures; splits here: {', '.join(sorted(splits))}")
    return [shard["name"] for shard in splits[split]["shards"]]


class _Stored(NamedTuple):
    key: str
    where: str
    """The shard."""
    files: dict[str, bytes]
    """By what their names go on with behind the key."""


def _stored(shard: Path, suffixes: Set[str]) -> Iterator[_Stored]:
    """The samples of a shard with their files of some suffixes; files of one sample follow each other."""
    with tarfile.open(shard) as archive:
        for key, members in groupby(archive, lambda member: member.name.partition(".")[0]):
            files: dict[str, bytes] = {}
            for member in members:
                suffix = member.name.partition(".")[2]
                file = archive.extractfile(member) if suffix in suffixes else None
                if file is not None:
                    files[suffix] = file.read()
            yield _Stored(key, str(shard), files)


def _pictures(stored: _Stored) -> Iterator[HeldOutImage]:
    """The picture of a sample; none where it holds none."""
    for suffix, data in stored.files.items():
        if suffix in SUFFIXES:
            yield HeldOutImage(stored.key, _decode(data, f"{stored.where}: {stored.key}.{suffix}"))


def _ids(stored: _Stored, suffix: str) -> NDArray[np.integer] | None:
    """A single-channel map of a sample, where it has one."""
    data = stored.files.get(suffix)
    if data is None:
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise HeldOutError(f"{stored.where}: {stored.key}.{suffix}: not a readable map ({error})") from None


def _decode(data: bytes, where: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(read_picture(data, max_pixels=MAX_PIXELS))
    except PictureError as error:
        raise HeldOutError(f"{where}: not a readable picture ({error})") from None
