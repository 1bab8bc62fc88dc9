"""What every test runs under: no telemetry, one thread, results kept apart, and small real shards to train on."""

import os

# Before torch is imported: one thread per test process, since as many of those run as there are cores.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["DO_NOT_TRACK"] = "true"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["GENCOMP_WORKERS"] = "1"  # data stages without processes of their own, but where a test wants them

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

settings.register_profile("project", deadline=None)  # a busy machine is no failure
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of results of its own, here and in what tests start: a figure that was kept before proves nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENCOMP_RESULTS", str(tmp_path_factory.getbasetemp() / "results"))
        yield


def _photographs() -> dict[str, NDArray[np.uint8]]:
    from skimage import data

    names = ("astronaut", "chelsea", "coffee", "rocket")
    return {name: np.asarray(Image.fromarray(getattr(data, name)()[..., :3]).resize((96, 80))) for name in names}


def _png(array: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="session")
def photo_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of four photographs, 96 x 80, in two training tars, and the first of them again as `val`.

    Label maps say how bright a pixel is in four steps, edges where that changes along a row.
    """
    folder = tmp_path_factory.mktemp("shards")
    samples = sorted(_photographs().items())
    tars = {"train-000000.tar": samples[:2], "train-000001.tar": samples[2:], "val-000000.tar": samples[:1]}
    for name, members in tars.items():
        with tarfile.open(folder / name, "w") as tar:
            for key, image in members:
                labels = (image.mean(-1) // 64).astype(np.uint8)
                edges = np.diff(labels, axis=1, prepend=labels[:, :1]) != 0
                _add(tar, f"{key}.png", _png(image))
                _add(tar, f"{key}.labels.png", _png(labels))
                _add(tar, f"{key}.edges.png", _png(edges.astype(np.uint8) * 255))
                _add(tar, f"{key}.json", json.dumps({"key": key}).encode())
    splits = {
        split: {
            "samples": sum(len(members) for name, members in tars.items() if name.startswith(split)),
            "shards": [{"name": name, "samples": len(m)} for name, m in tars.items() if name.startswith(split)],
        }
        for split in ("train", "val")
    }
    (folder / "manifest.json").write_text(json.dumps({"dataset": "photographs", "classes": 4, "splits": splits}))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left with one when the others are done."""
    long = ("tests/test_pipeline.py", "tests/flows/test_pipeline.py")
    items.sort(key=lambda item: not item.nodeid.startswith(long))
