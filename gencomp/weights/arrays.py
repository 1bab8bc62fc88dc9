"""Arrays out of other people's files, without letting the files run anything."""

import io
import pickle

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
