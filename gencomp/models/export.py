"""A model's networks as ONNX files for other runtimes, outside the entropy coder, and io.json, which describes them.

    x -> encoder.onnx -> symbols ... w_hat = centers[symbols] -> generator.onnx -> x_hat

Batch, height and width are dynamic. SC's label encoder F is inside generator.onnx, which takes s itself: nothing else
reads what F gives.
"""

import importlib.util
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.export import Dim

from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.package import Package
from gencomp.models.quantizer import Quantizer

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

NEEDED = ("onnx", "onnxscript")
LARGEST_BYTES = 2**31 - 2**24
"""Of a network's numbers: a file of ONNX is one message of less than 2 GiB."""


class ExportError(RuntimeError):
    """A model that cannot be exported here; the message is one line."""


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of a graph, as io.json describes it."""

    name: str
    type: Literal["float32", "int64", "uint8"]
    shape: tuple[str | int, ...]
    """Of N, numbers, H and W in pixels, h and w in elements of the latent."""
    range: tuple[float, float] | None
    """Smallest and largest value; none: unbounded."""
    meaning: str


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a file and what comes out of it."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """The content of io.json."""

    fingerprint: str
    """Of the model, SHA-256 (hex); streams carry its first four bytes."""
    mode: Literal["gc", "sc"]
    stride: int
    """H and W are multiples of it; pixels."""
    smallest_side: int
    """H and W are at least that; pixels. Pad smaller or odd pictures by replication, as the codec does."""
    latent_stride: int
    """h = H / latent_stride, w = W / latent_stride."""
    channels: int
    """C of the latent."""
    nested: bool
    """Any first channels may be coded."""
    centers: tuple[float, ...]
    """w_hat = centers[symbols]."""
    graphs: dict[str, Graph]
    """By file name."""


class _Traced(NamedTuple):
    """A file to write: its network, whose `forward` takes the graph's inputs by their names."""

    network: nn.Module
    graph: Graph


def export_onnx(package: Package, folder: Path) -> None:
    """Write encoder.onnx, generator.onnx and io.json into `folder`, each file atomically.

    Raises ExportError where the packages that export are not installed, or a network is too large for one file.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f"the export needs {' and '.join(missing)}: pip install 'gencomp[onnx]'")
    config, compressor = package.config, package.compressor
    files = {
        "encoder.onnx": _Traced(_Symbols(compressor), encoder_graph(config)),
        "generator.onnx": _Traced(compressor.G, generator_graph(config)),
    }
    for traced in files.values():
        check_size(traced.network)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for name, traced in files.items():
            (Path(scratch) / name).write_bytes(_exported(traced, config))
        (Path(scratch) / "io.json").write_bytes(_encoded(interface(package)))
        for written in Path(scratch).iterdir():
            os.replace(written, folder / written.name)


def interface(package: Package) -> Interface:
    """What a user of the files of `package` has to know."""
    config = package.config
    return Interface(
        fingerprint=package.fingerprint.hex(),
        mode=config.mode,
        stride=config.stride,
        smallest_side=config.smallest_side,
        latent_stride=config.latent_stride,
        channels=config.channels,
        nested=config.nested,
        centers=tuple(package.compressor.q.centers.tolist()),
        graphs={"encoder.onnx": encoder_graph(config), "generator.onnx": generator_graph(config)},
    )


def encoder_graph(config: ModelConfig) -> Graph:
    """E and q: the picture to the symbols, and to the latent before q."""
    latent = ("N", config.channels, "h", "w")
    x = Port(name="x", type="float32", shape=("N", 3, "H", "W"), range=(-1, 1), meaning="RGB pixels / 127.5 - 1")
    return Graph(
        inputs=(x, _semantics(config)) if config.semantics_to_encoder else (x,),
        outputs=(
            Port(
                name="symbols",
                type="uint8",
                shape=latent,
                range=(0, config.levels - 1),
                meaning="indices of the centers nearest to w",
            ),
            Port(name="w", type="float32", shape=latent, range=None, meaning="the latent before it is quantised"),
        ),
    )


def generator_graph(config: ModelConfig) -> Graph:
    """G: the quantised latent, and what else it starts from, to the picture."""
    last = (config.levels - 1) / 2
    note = {
        "gc": "; of image i, the channels from coded[i] on are ignored and filled in" if config.nested else "",
        "sc": "; 0 where nothing is preserved",
    }[config.mode]
    inputs = [
        Port(
            name="w_hat",
            type="float32",
            shape=("N", config.channels, "h", "w"),
            range=(-last, last),
            meaning=f"centers[symbols]{note}",
        )
    ]
    if config.nested:
        meaning = "how many channels of each image are coded"
        inputs.append(Port(name="coded", type="int64", shape=("N",), range=(1, config.channels), meaning=meaning))
    if config.noise:
        shape = ("N", config.noise, "h", "w")
        meaning = "noise from N(0, 1)" + ("; 0 where something is preserved" if config.mode == "sc" else "")
        inputs.append(Port(name="v", type="float32", shape=shape, range=None, meaning=meaning))
    if config.mode == "sc":
        inputs.append(_semantics(config))
    meaning = "RGB; a pixel is round((x_hat + 1) * 127.5)"
    x_hat = Port(name="x_hat", type="float32", shape=("N", 3, "H", "W"), range=(-1, 1), meaning=meaning)
    return Graph(inputs=tuple(inputs), outputs=(x_hat,))


def check_size(network: nn.Module) -> None:
    """Raise ExportError for a network that does not fit into one file."""
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > LARGEST_BYTES:
        raise ExportError(f"the network's {size} bytes of weights do not fit into an ONNX file, which holds 2 GiB")


class _Symbols(nn.Module):
    """E and q: x (N, 3, H, W) -> (symbols, w), each (N, C, h, w)."""

    def __init__(self, compressor: Compressor) -> None:
        super().__init__()
        self.E, self.q = compressor.E, compressor.q
        self.eval()

    def forward(self, x: Tensor, s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        q: Quantizer = self.q
        w: Tensor = self.E(x) if s is None else self.E(x, s)
        return q.symbols(w).to(torch.uint8), w


def _semantics(config: ModelConfig) -> Port:
    meaning = f"label ids one-hot in {config.classes} channels, and the edges of instances"
    return Port(name="s", type="float32", shape=("N", config.semantics, "H", "W"), range=(0, 1), meaning=meaning)


def _exported(traced: _Traced, config: ModelConfig) -> bytes:
    inputs = traced.graph.inputs
    with _quiet():
        program = torch.onnx.export(
            traced.network,
            kwargs={port.name: _example(port, config) for port in inputs},
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in traced.graph.outputs],
            dynamic_shapes={port.name: _dynamic(port, config) for port in inputs},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return _cleaned(program.model_proto, traced.graph).SerializeToString(deterministic=True)


def _units(config: ModelConfig) -> dict[str, tuple[str, int]]:
    """Each dimension that varies with the picture as so many of the rows or columns that G's coarsest layers have."""
    pixels, elements = config.stride, config.stride // config.latent_stride
    return {"H": ("rows", pixels), "W": ("columns", pixels), "h": ("rows", elements), "w": ("columns", elements)}


def _least(config: ModelConfig) -> int:
    """Rows, and columns, that G's coarsest layers have at least."""
    return -(-config.smallest_side // config.stride)


def _example(port: Port, config: ModelConfig) -> Tensor:
    """What an input is traced with: sizes other than 0, 1, each other and the least, which would be taken as fixed."""
    sides = {"N": 2, "rows": _least(config) + 1, "columns": _least(config) + 2}
    sizes = sides | {name: sides[side] * factor for name, (side, factor) in _units(config).items()}
    shape = [size if isinstance(size, int) else sizes[size] for size in port.shape]
    return torch.ones(shape, dtype=getattr(torch, port.type))


def _dynamic(port: Port, config: ModelConfig) -> dict[int, Dim]:
    """The dimensions of an input that may change, by their place."""
    sides = {"N": Dim("N"), "rows": Dim("rows", min=_least(config)), "columns": Dim("columns", min=_least(config))}
    units = {"N": ("N", 1)} | _units(config)
    found = {}
    for place, size in enumerate(port.shape):
        if isinstance(size, str):
            side, factor = units[size]
            found[place] = sides[side] if factor == 1 else factor * sides[side]
    return found


def _cleaned(model: "ModelProto", graph: Graph) -> "ModelProto":
    """The model without what the exporter notes about our code, dimensions named as in io.json."""
    model.ClearField("metadata_props")
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    for value, port in zip([*model.graph.input, *model.graph.output], graph.inputs + graph.outputs, strict=True):
        _name_dimensions(value, port)
    return model


def _name_dimensions(value: "ValueInfoProto", port: Port) -> None:
    assert value.name == port.name
    for dimension, size in zip(value.type.tensor_type.shape.dim, port.shape, strict=True):
        if isinstance(size, str):
            dimension.dim_param = size


def _encoded(found: Interface) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about its own code and absent packages."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
