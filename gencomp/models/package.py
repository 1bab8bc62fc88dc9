"""A trained model as a folder: model.safetensors, config.json and tables.json. Nothing in it is ever executed.

Tensors are stored in single or half precision and always used in single precision. The context network, where there is
one, lies beside them in whole numbers, under names that begin with `context.`.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from gencomp.config import ConfigError, convert
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.context import ContextWeights, network_shapes
from gencomp.models.entropy import MAX_CONTEXT_LEVELS, PRECISION

PRECISIONS = (torch.float32, torch.float16)
"""Of the numbers in model.safetensors."""


NETWORK_PREFIX = "context."
NETWORK_WEIGHTS = ("own", "before", "seen", "middle", "last")
MAX_HIDDEN = 1024
"""Numbers of a context network's hidden layers at most."""
MAX_JSON_BYTES = 1 << 20
"""Of config.json and of tables.json. The largest tables that fit a model take 0.1 MB; parsed, JSON takes up to 25 times
its own size."""


class PackageError(ValueError):
    """A folder that holds no usable model; the message is one line."""


class Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of tables.json."""

    static: list[list[int]]
    """Frequencies of the centers, C rows of L integers, each row summing to 2**24."""
    context: list[list[list[int]]] | None = None
    """The same by neighbours, for each channel L**2 such rows; none: the model's symbols are not coded by context."""


@dataclass(frozen=True)
class Package:
    """A loaded model: what compresses, what decompresses, and what its files are coded with."""

    config: ModelConfig
    compressor: Compressor
    frequencies: NDArray[np.int64]
    """(C, L), at least 1 each, rows summing to 2**24."""
    fingerprint: bytes
    """SHA-256 over decoder tensors as stored, tables and canonical config, 32 bytes; files carry its head."""
    contexts: NDArray[np.int64] | None = None
    """(C, L**2, L) alike, by the left and upper neighbour of a symbol; none where the model has no such tables."""
    network: ContextWeights | None = None
    """The context network, which takes the place of `contexts`; none where the model has none."""

    @property
    def encoder(self) -> nn.Module:
        return self.compressor.E

    @property
    def generator(self) -> nn.Module:
        return self.compressor.G


def save_package(
    folder: Path,
    config: ModelConfig,
    compressor: Compressor,
    frequencies: NDArray[np.int64],
    contexts: NDArray[np.int64] | None = None,
    network: ContextWeights | None = None,
    *,
    half: bool = False,
) -> None:
    """Write a package, each file atomically; the same model gives the same bytes.

    With `half`, numbers are rounded to half precision: half the size, and another model with another fingerprint.
    Raises PackageError for numbers that half precision cannot hold.
    """
    precision = torch.float16 if half else torch.float32
    tensors = {name: _stored(name, tensor, precision) for name, tensor in sorted(compressor.state_dict().items())}
    tensors |= {} if network is None else network_tensors(network)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        (Path(scratch) / "model.safetensors").write_bytes(save(tensors))
        (Path(scratch) / "config.json").write_bytes(_canonical(msgspec.to_builtins(config)))
        tables = {"static": frequencies.tolist()} | ({} if contexts is None else {"context": contexts.tolist()})
        (Path(scratch) / "tables.json").write_bytes(_canonical(tables))
        for written in Path(scratch).iterdir():
            os.replace(written, folder / written.name)


def save_with_encoder(folder: Path, source: Path, encoder: nn.Module) -> None:
    """Write the package in `source` with another E of the same shape, in the precision of its own: whatever decoding
    depends on is copied as it is stored, so both have one fingerprint and read each other's files."""
    tensors = load((source / "model.safetensors").read_bytes())
    for name, tensor in encoder.state_dict().items():
        tensors[f"E.{name}"] = _stored(f"E.{name}", tensor, tensors[f"E.{name}"].dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        (Path(scratch) / "model.safetensors").write_bytes(save(dict(sorted(tensors.items()))))
        for name in ("config.json", "tables.json"):
            shutil.copyfile(source / name, Path(scratch) / name)
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
        frequencies, contexts = _checked(tables, config, folder)
        compressor = _unallocated(config)
        path = folder / "model.safetensors"
        tensors, network = _read_tensors(path, compressor), _read_network(path, config)
    except FileNotFoundError as error:
        raise PackageError(f"{folder} is no model package: {Path(str(error.filename)).name} is missing") from None
    except (ConfigError, OSError) as error:
        raise PackageError(str(error)) from None
    single = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    compressor.load_state_dict(single, assign=True)
    generator = {name.removeprefix("G."): tensor for name, tensor in tensors.items() if name.startswith("G.")}
    return Package(
        config,
        compressor.eval().requires_grad_(False),
        frequencies,
        fingerprint(stored, generator, frequencies, contexts, network),
        contexts,
        network,
    )


def fingerprint(
    config: object,
    generator: Mapping[str, Tensor],
    frequencies: NDArray[np.int64],
    contexts: NDArray[np.int64] | None = None,
    network: ContextWeights | None = None,
) -> bytes:
    """SHA-256 over everything that decoding depends on: canonical config, tables, tensors of G and of the context
    network by name, as stored.

    `config` is the parsed config.json as it is stored, so that a field added to ModelConfig later, with a default,
    leaves the fingerprints of older packages as they are.
    """
    digest = hashlib.sha256(_canonical(config))
    for table in (frequencies, contexts):
        digest.update(b"" if table is None else table.astype("<i8").tobytes())
    whole = {} if network is None else network_tensors(network)
    for name, tensor in (*sorted(generator.items()), *sorted(whole.items())):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.digest()


def network_tensors(network: ContextWeights) -> dict[str, Tensor]:
    """The context network's numbers by the names that packages store them under."""
    weights = {name: getattr(network, name) for name in NETWORK_WEIGHTS}
    biases = {f"b{layer}": bias for layer, bias in enumerate(network.biases, 1)}
    return {f"{NETWORK_PREFIX}{name}": torch.from_numpy(array) for name, array in (weights | biases).items()}


def _stored(name: str, tensor: Tensor, precision: torch.dtype) -> Tensor:
    stored = tensor.detach().to("cpu", precision if tensor.is_floating_point() else tensor.dtype).contiguous()
    if stored.isinf().any() and not tensor.isinf().any():
        raise PackageError(f"{name} reaches {tensor.abs().max().item():g}, which half precision cannot hold")
    return stored


def _unallocated(config: ModelConfig) -> Compressor:
    """The networks without memory for their tensors, to check those of a file against."""
    with torch.device("meta"):
        return Compressor(config)


def _read_tensors(path: Path, compressor: Compressor) -> dict[str, Tensor]:
    """The tensors of a file as it stores them, with the names and shapes of the compressor's, in one precision."""
    if not path.exists():
        raise FileNotFoundError(2, "missing", str(path))
    expected = compressor.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(NETWORK_PREFIX)]  # noqa: SIM118
            shapes = {name: file.get_slice(name).get_shape() for name in names}
            if shapes != {name: list(tensor.shape) for name, tensor in expected.items()}:
                raise PackageError(f"{path}: its tensors are not those of the network in config.json")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise PackageError(f"{path}: {error}") from None
    _check_types(path, tensors, expected)
    return tensors


def _read_network(path: Path, config: ModelConfig) -> ContextWeights | None:
    """The context network in a file, if there is one."""
    with safe_open(path, framework="pt") as file:
        names = {name.removeprefix(NETWORK_PREFIX) for name in file.keys() if name.startswith(NETWORK_PREFIX)}  # noqa: SIM118
        if not names:
            return None
        slices = {name: file.get_slice(NETWORK_PREFIX + name) for name in names}
        found = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
        hidden = [found[name][1][1] if name in found and len(found[name][1]) > 1 else 0 for name in ("b1", "b2")]
        if found != _network_layout(config, hidden[0], hidden[1]) or not 0 < min(hidden) <= max(hidden) <= MAX_HIDDEN:
            raise PackageError(f"{path}: its context network is not one for C = {config.channels}, L = {config.levels}")
        arrays = {name: file.get_tensor(NETWORK_PREFIX + name).numpy() for name in names}
    own, before, seen, middle, last = (arrays[name] for name in NETWORK_WEIGHTS)
    network = ContextWeights(own, before, seen, middle, last, (arrays["b1"], arrays["b2"], arrays["b3"]))
    if not network.is_exact():
        raise PackageError(f"{path}: the sums of its context network reach 2**24, where they are no longer exact")
    return network


def _network_layout(config: ModelConfig, first: int, second: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes of a context network of the model's channels and levels with hidden layers of these sizes."""
    shapes = network_shapes(config.channels, config.levels, (first, second))
    return {name: ("I16" if name in NETWORK_WEIGHTS else "I32", shape) for name, shape in shapes.items()}


def _check_types(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """All numbers in single or all in half precision; integers, such as a count of batches, as they are."""
    for precision in PRECISIONS:
        types = {name: precision if tensor.is_floating_point() else tensor.dtype for name, tensor in expected.items()}
        if types == {name: tensor.dtype for name, tensor in tensors.items()}:
            return
    found = ", ".join(sorted({str(tensor.dtype) for tensor in tensors.values()}))
    raise PackageError(
        f"{path}: its tensors are of {found}, where all must be of torch.float32 or all of torch.float16"
    )


def _checked(tables: Tables, config: ModelConfig, folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    C, L = config.channels, config.levels
    fits = len(tables.static) == C and _are_frequencies(tables.static, L)
    if tables.context is not None:
        by_context = [len(rows) == L**2 and _are_frequencies(rows, L) for rows in tables.context]
        fits = fits and L <= MAX_CONTEXT_LEVELS and len(by_context) == C and all(by_context)
    if not fits:
        raise PackageError(f"{folder / 'tables.json'}: the frequencies do not fit C = {C}, L = {L}")
    contexts = None if tables.context is None else np.array(tables.context, dtype=np.int64)
    return np.array(tables.static, dtype=np.int64), contexts


def _are_frequencies(rows: list[list[int]], levels: int) -> bool:
    return all(len(row) == levels and min(row) >= 1 and sum(row) == 2**PRECISION for row in rows)


def _json(path: Path) -> object:
    """The value in a file, of which no more than MAX_JSON_BYTES are read."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_JSON_BYTES:
            raise PackageError(f"{path}: more than {MAX_JSON_BYTES} bytes, which no model needs")
        data = file.read(MAX_JSON_BYTES)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackageError(f"{path}: {error}") from None
    except RecursionError:
        raise PackageError(f"{path}: it is nested too deeply") from None


def _canonical(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()
