"""Arrays out of other people's files, without letting the files run anything."""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gencomp.weights.failure import WeightsError

Arrays = dict[str, NDArray[np.float32]]
"""Tensors by name, as a safetensors file holds them."""

ADMITTED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""All that a pickle may name: what numpy writes for an array. Containers, numbers and strings need no names."""


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays in builtin containers; a pickle that names anything else is refused before it is called."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ADMITTED:
            raise WeightsError(f"the pickle asks for {module}.{name}: only numpy arrays are read")
        return ADMITTED[module, name]


class _Module:
    """What stands for any module of a TorchScript file: its attributes, and no code."""


class _ScriptedArrays(pickle.Unpickler):
    """Reads the attributes of a TorchScript module; its code is never looked at."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> object:
        if module.split(".")[0] == "__torch__":
            return _Module
        admitted: dict[tuple[str, str], object] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch", "FloatStorage"): np.float32,
            ("collections", "OrderedDict"): OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
        }
        if (module, name) not in admitted:
            raise WeightsError(f"the TorchScript file asks for {module}.{name}: only float32 tensors are read")
        return admitted[module, name]

    def persistent_load(self, reference: tuple[str, type, str, str, int]) -> NDArray[np.float32]:
        """A storage, by its key in the archive."""
        _, dtype, key, _, count = reference
        storage = np.frombuffer(self.archive.read(f"{self.root}/data/{key}"), "<f4")
        if dtype is not np.float32 or storage.size != count:
            raise WeightsError(f"the TorchScript file's storage {key} is not {count} float32 values")
        return storage


def _tensor(
    storage: NDArray[np.float32], offset: int, shape: Sequence[int], strides: Sequence[int], *rest: object
) -> NDArray[np.float32]:
    """The contiguous tensor at an offset of a storage."""
    plain = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    if offset < 0 or list(strides) != plain:
        raise WeightsError(f"a tensor of the TorchScript file is not contiguous: shape {shape}, strides {strides}")
    return storage[offset : offset + math.prod(shape)].reshape(shape)


def script_arrays(data: bytes) -> Arrays:
    """The float32 tensors of a TorchScript file, by the path of their attribute joined with slashes, in its order.

    Nothing of the file's code is run. Raises WeightsError.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).rpartition("/")[0]
            module = _ScriptedArrays(archive, root).load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged file may fail in any way
        raise WeightsError(f"not a TorchScript file: {error}") from None
    return _attributes(module, "")


def _attributes(value: object, path: str) -> Arrays:
    if isinstance(value, np.ndarray):
        return {path[1:]: value}
    inner = vars(value).items() if isinstance(value, _Module) else ()
    return {name: array for key, part in inner for name, array in _attributes(part, f"{path}/{key}").items()}


def unpickled_arrays(data: bytes) -> Arrays:
    """The float32 arrays of a pickled tree of dicts, by their keys joined with slashes. Raises WeightsError."""
    try:
        tree = _ArraysOnly(io.BytesIO(data)).load()
    except WeightsError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise WeightsError(f"not a pickle of arrays: {error}") from None
    return _flat(tree, "")


def torch_arrays(data: bytes) -> Arrays:
    """The float32 tensors of a torch file that holds a dict of them. Raises WeightsError."""
    import torch

    try:
        tensors = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may fail in any way
        raise WeightsError(f"not a torch file of tensors: {str(error).splitlines()[0]}") from None
    if not isinstance(tensors, dict):
        raise WeightsError("not a torch file of tensors by name")
    return _flat({name: np.asarray(tensor) for name, tensor in tensors.items()}, "")


def _flat(tree: object, path: str) -> Arrays:
    if isinstance(tree, dict):
        return {name: array for key, value in tree.items() for name, array in _flat(value, f"{path}/{key}").items()}
    if isinstance(tree, np.ndarray) and tree.dtype == np.float32:
        return {path[1:]: tree}
    raise WeightsError(f"{path[1:] or 'the file'} is no float32 array")
