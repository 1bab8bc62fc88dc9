"""Shards of made-up photographs, as large and as costly to decode as real ones."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_shards(folder: Path, images: int, width: int, height: int) -> None:
    """One training tar of JPEG files (quality 95) with smooth colours and grain, and its manifest."""
    random = np.random.default_rng(0)
    with tarfile.open(folder / "train-000000.tar", "w") as tar:
        for number in range(images):
            smooth = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((width, height))
            grain = random.normal(0, 8, (height, width, 3))
            buffer = io.BytesIO()
            Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=95)
            _add(tar, f"{number:04d}.jpg", buffer.getvalue())
            _add(tar, f"{number:04d}.json", json.dumps({"key": f"{number:04d}"}).encode())
    split = {"samples": images, "shards": [{"name": "train-000000.tar", "samples": images}]}
    (folder / "manifest.json").write_text(json.dumps({"classes": 0, "splits": {"train": split}}))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
