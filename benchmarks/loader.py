"""How fast crops are read from shards: our loader beside a bare loop that only decodes and crops, and beside others.

All read the same JPEG files in one process, an epoch at a time in turn, and give batches of 8 crops, 256 x 256, uint8.
"""

import io
import itertools
import random
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import webdataset as wds
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.clock import hardware, medians
from benchmarks.photographs import write_shards
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say
from gencomp.data.loader import Loader

CROP = 256
BATCH = 8
NEAR_BARE = Bar(">=", 0.85)
"""Of the bare loop's images per second."""
FASTER = Bar(">=", 1.0)


def main() -> int:
    args = arguments("Times the reading of training crops.").parse_args()
    torch.set_num_threads(1)
    say(hardware(torch.device("cpu")))
    images, rounds = (16, 3) if args.quick else (256, 9)
    with tempfile.TemporaryDirectory() as name:
        shards, folder = Path(name) / "shards", Path(name) / "folder"
        for path in (shards, folder):
            path.mkdir()
        write_shards(shards, images, 768, 512)
        with tarfile.open(shards / "train-000000.tar") as tar:
            tar.extractall(folder, filter="data")
        return finish(list(rows(shards, folder, images, rounds)), args.json)


def rows(shards: Path, folder: Path, images: int, rounds: int) -> Iterator[Row]:
    """Images per second of every way to read them."""
    ways = {
        "bare loop": bare(folder, opencv),
        "bare loop, Pillow": bare(folder, pillow),
        "gencomp": ours(shards, images),
        "WebDataset": plain_webdataset(shards),
        "image folder": image_folder(folder),
    }
    times = medians(ways, rounds, torch.device("cpu"))
    speed = {name: images / time * 1e3 for name, time in times.items()}
    bare_row = measured("bare loop", speed["bare loop"], "images/s")
    others = {
        name: compared(name, speed[name], "images/s", bare_row) for name in ways if name not in ("bare loop", "gencomp")
    }
    yield bare_row
    yield from others.values()
    yield compared("gencomp", speed["gencomp"], "images/s", bare_row, NEAR_BARE)
    for name in ("WebDataset", "image folder"):
        row = others[name]
        yield compared(f"gencomp over {name}", speed["gencomp"], "images/s", row, FASTER)


def bare(folder: Path, decode: Callable[[bytes], NDArray[np.uint8]]) -> Callable[[], None]:
    """Decodes each JPEG file, held in memory, and cuts a crop."""
    files = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]

    def epoch() -> None:
        for data in files:
            crop(decode(data))

    return epoch


def opencv(data: bytes) -> NDArray[np.uint8]:
    """Our loader's decoder."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def pillow(data: bytes) -> NDArray[np.uint8]:
    """Most loaders' decoder."""
    return np.asarray(Image.open(io.BytesIO(data)))


def ours(shards: Path, images: int) -> Callable[[], None]:
    """Our loader, an epoch of its endless batches at a time."""
    batches = Loader(shards, "train", BATCH, CROP, seed=0).batches(0)

    def epoch() -> None:
        for _ in itertools.islice(batches, images // BATCH):
            pass

    return epoch


def plain_webdataset(shards: Path) -> Callable[[], None]:
    """The pipeline of WebDataset's own documentation: shuffle, decode, map, batch."""
    dataset = (
        wds.WebDataset([str(path) for path in sorted(shards.glob("*.tar"))], shardshuffle=False)
        .shuffle(1000)
        .decode("rgb8")
        .to_tuple("jpg")
        .map(lambda sample: to_tensor(crop(sample[0])))
        .batched(BATCH)
    )

    def epoch() -> None:
        for _ in dataset:
            pass

    return epoch


class Folder(Dataset[Tensor]):
    """Image files of a folder, read by Pillow."""

    def __init__(self, root: Path) -> None:
        self.paths = sorted(root.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return to_tensor(crop(np.asarray(Image.open(self.paths[index]).convert("RGB"))))


def image_folder(folder: Path) -> Callable[[], None]:
    """A folder of files behind PyTorch's loader."""
    loader = DataLoader(Folder(folder), BATCH, shuffle=True)

    def epoch() -> None:
        for _ in loader:
            pass

    return epoch


def crop(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A square from anywhere, flipped or not."""
    top, left = (random.randrange(side - CROP + 1) for side in image.shape[:2])
    square = image[top : top + CROP, left : left + CROP]
    return square[:, ::-1] if random.random() < 0.5 else square


def to_tensor(square: NDArray[np.uint8]) -> Tensor:
    """(h, w, 3) uint8 -> (3, h, w), uint8 as ours."""
    return torch.from_numpy(square.copy()).permute(2, 0, 1)


if __name__ == "__main__":
    sys.exit(main())
