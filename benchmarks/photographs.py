"""Made-up photographs, as large and as costly to decode as real ones."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def jpegs(images: int, width: int, height: int) -> Iterator[bytes]:
    """JPEG files (quality 95) with smooth colours and grain."""
    random = np.random.default_rng(0)
    for _ in range(images):
        smooth = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height))
        grain = random.normal(0, 8, (height, width, 3))
        buffer = io.BytesIO()
        Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
        yield buffer.getvalue()


def write_shards(folder: Path, images: int, width: int, height: int) -> None:
    """One training tar of such files, and its manifest."""
    with tarfile.open(folder / "train-000000.tar", "w") as tar:
        for number, data in enumerate(jpegs(images, width, height)):
            _add(tar, f"{number:04d}.jpg", data)
            _add(tar, f"{number:04d}.json", json.dumps({"key": f"{number:04d}"}).encode())
    split = {"samples": images, "shards": [{"name": "train-000000.tar", "samples": images}]}
    (folder / "manifest.json").write_text(json.dumps({"classes": 0, "splits": {"train": split}}))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
