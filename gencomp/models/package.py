"""A trained model as a folder: model.safetensors, config.json and tables.json. Nothing in it is ever executed."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from gencomp.config import ConfigError, convert
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.entropy import PRECISION


class PackageError(ValueError):
    """A folder that holds no usable model; the message is one line."""


class Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of tables.json."""

    static: list[list[int]]
    """Frequencies of the centers, C rows of L integers, each row summing to 2**24."""


@dataclass(frozen=True)
class Package:
    """A loaded model: what compresses, what decompresses, and what its files are coded with."""

    config: ModelConfig
    compressor: Compressor
    frequencies: NDArray[np.int64]
    """(C, L), at least 1 each, rows summing to 2**24."""
    fingerprint: bytes
    """SHA-256 over decoder tensors, tables and canonical config, 32 bytes; files carry its head."""

    @property
    def encoder(self) -> nn.Module:
        return self.compressor.E

    @property
    def generator(self) -> nn.Module:
        return self.compressor.G


def save_package(folder: Path, config: ModelConfig, compressor: Compressor, frequencies: NDArray[np.int64]) -> None:
    """Write a package, each file atomically; the same model gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(compressor.state_dict().items())}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        (Path(scratch) / "model.safetensors").write_bytes(save(tensors))
        (Path(scratch) / "config.json").write_bytes(_canonical(msgspec.to_builtins(config)))
        (Path(scratch) / "tables.json").write_bytes(_canonical({"static": frequencies.tolist()}))
        for written in Path(scratch).iterdir():
            os.replace(written, folder / written.name)


def load_package(folder: Path) -> Package:
    """The model in `folder`, on the CPU, in evaluation mode.

    Names, shapes, types and sizes are checked before anything is allocated. Raises PackageError.
    """
    try:
        stored = _json(folder / "config.json")
        config = convert(stored, ModelConfig, str(folder / "config.json"))
        tables = convert(_json(folder / "tables.json"), Tables, str(folder / "tables.json"))
        frequencies = _checked(tables, config, folder)
        compressor = _load_compressor(folder / "model.safetensors", config)
    except FileNotFoundError as error:
        raise PackageError(f"{folder} is no model package: {Path(str(error.filename)).name} is missing") from None
    except (ConfigError, OSError) as error:
        raise PackageError(str(error)) from None
    return Package(config, compressor, frequencies, fingerprint(stored, compressor.G, frequencies))


def fingerprint(config: object, generator: nn.Module, frequencies: NDArray[np.int64]) -> bytes:
    """SHA-256 over everything that decoding depends on: canonical config, tables, tensors of G by name.

    `config` is the parsed config.json as it is stored, so that a field added to ModelConfig later, with a default,
    leaves the fingerprints of older packages as they are.
    """
    digest = hashlib.sha256(_canonical(config))
    digest.update(frequencies.astype("<i8").tobytes())
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.digest()


def _load_compressor(path: Path, config: ModelConfig) -> Compressor:
    with torch.device("meta"):
        compressor = Compressor(config)
    compressor.q = type(compressor.q)(config.levels, config.sigma)
    expected = {name: (list(tensor.shape), tensor.dtype) for name, tensor in compressor.state_dict().items()}
    if not path.exists():
        raise FileNotFoundError(2, "missing", str(path))
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if shapes != {name: shape for name, (shape, _) in expected.items()}:
                raise PackageError(f"{path}: its tensors are not those of the network in config.json")
            tensors = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise PackageError(f"{path}: {error}") from None
    wrong = [name for name, tensor in tensors.items() if tensor.dtype != expected[name][1]]
    if wrong:
        raise PackageError(f"{path}: {wrong[0]} is {tensors[wrong[0]].dtype}, not {expected[wrong[0]][1]}")
    compressor.load_state_dict(tensors, assign=True)
    return compressor.eval().requires_grad_(False)


def _checked(tables: Tables, config: ModelConfig, folder: Path) -> NDArray[np.int64]:
    rows = tables.static
    fits = len(rows) == config.channels and all(
        len(row) == config.levels and min(row) >= 1 and sum(row) == 2**PRECISION for row in rows
    )
    if not fits:
        shape = f"C = {config.channels}, L = {config.levels}"
        raise PackageError(f"{folder / 'tables.json'}: the frequencies do not fit {shape}")
    return np.array(rows, dtype=np.int64)


def _json(path: Path) -> object:
    try:
        return msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise PackageError(f"{path}: {error}") from None


def _canonical(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()
