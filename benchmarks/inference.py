"""How long encoding and decoding take, beside bare passes through E and G, and how those run in other modes.

The bars compare the codec with the bare networks, in float32 on a CPU with two threads.
"""

import copy
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch import Tensor, nn
from torch.nn.functional import pad

from benchmarks.clock import hardware, medians
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, one_line, say, unmeasured
from gencomp import Codec
from gencomp.models.compressor import ModelConfig
from gencomp.models.export import export_onnx
from gencomp.models.package import Package

SIZES = ((256, 256), (768, 512), (1920, 1080))
"""Width and height."""
QUICK_SIZES = SIZES[:2]
BARRED_SIZE = (768, 512)
WHOLE = Bar("<=", 1.4)
"""Of whole encoding over a bare pass through E, and of whole decoding over one through G."""

SLOW_MS = 5000.0
"""A mode that takes longer is run once."""

Call = Callable[[], object]


class Pass(NamedTuple):
    """A pass through one network, ready to run."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]


def main() -> int:
    parser = arguments("Times encoding and decoding.")
    parser.add_argument("--model", metavar="REF", default="light", help="a model reference; light by default")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (the bars are for 2)")
    parser.add_argument("--rounds", type=int, help="runs of which the median is taken (15, or 5 with --quick)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rounds = args.rounds or (5 if args.quick else 15)
    rows: list[Row] = []
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for name in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            device = torch.device(name)
            codec = Codec.from_reference(args.model, device=name)
            if codec.package.config.mode == "sc":
                parser.error(f"{args.model} compresses selectively, which takes more than a picture")
            say(hardware(device))
            for size in QUICK_SIZES if args.quick else SIZES:
                where = f"{name} {size[0]}x{size[1]}"
                say(where)
                rows += codec_rows(codec, size, where, rounds, barred=args.threads == 2)
                if not args.quick or size == SIZES[0]:
                    rows += mode_rows(codec, size, where, rounds, Path(folder), quick=args.quick)
    return finish(rows, args.json)


def picture(width: int, height: int) -> Image.Image:
    """A photograph: how many channels a limit has room for, and so how much there is to code, is a photograph's."""
    return Image.fromarray(data.coffee()).resize((width, height), Image.Resampling.LANCZOS)


def scaled(image: Image.Image, config: ModelConfig) -> Tensor:
    """What E gets for a picture: (1, 3, H, W) in [-1, 1], padded to the stride."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    below, right = -image.height % config.stride, -image.width % config.stride
    return pad(pixels.contiguous(), (0, right, 0, below), mode="replicate")


def codec_rows(codec: Codec, size: tuple[int, int], where: str, rounds: int, *, barred: bool) -> list[Row]:
    """PIL image to bytes and back at the default rate, beside the bare networks on the same tensors."""
    device = codec.package.compressor.q.centers.device
    image, compressor = picture(*size), codec.package.compressor
    stream = codec.compress(image)
    x = scaled(image, codec.package.config).to(device)
    w_hat = compressor.q.values(torch.from_numpy(codec.decode_symbols(stream)).long()[None].to(device))
    calls: dict[str, Call] = {
        "encode": lambda: codec.compress(image),
        "E": lambda: compressor.E(x),
        "decode": lambda: codec.decompress(stream),
        "G": lambda: compressor.G(w_hat),
    }
    medians(calls, 1, device)  # warms up
    times = medians(calls, rounds, device)
    bar = WHOLE if barred and device.type == "cpu" and size == BARRED_SIZE else None
    rows = []
    for whole, network in (("encode", "E"), ("decode", "G")):
        bare = measured(f"{where}: bare {network}", times[network], "ms")
        rows += [bare, compared(f"{where}: {whole}", times[whole], "ms", bare, bar)]
    return rows


def mode_rows(codec: Codec, size: tuple[int, int], where: str, rounds: int, folder: Path, *, quick: bool) -> list[Row]:
    """E and G on their own, as they are and in other modes, all channels coded."""
    rows = []
    for one in passes(codec, size):
        device = one.inputs[next(iter(one.inputs))].device
        calls: dict[str, Call] = {}
        once: dict[str, float] = {}
        failures: dict[str, str] = {}
        for mode, call in modes(one, folder, codec.package, quick=quick):
            if isinstance(call, str):
                failures[mode] = call
                continue
            try:
                call()  # compiles, and lets libraries choose their kernels
                first = medians({mode: call}, 1, device)[mode]
            except Exception as error:  # whatever a compiler or a kernel says; the row tells
                failures[mode] = f"fails here: {one_line(error)}"
                continue
            if first > SLOW_MS:
                once[mode] = first
            else:
                calls[mode] = call
        times = medians(calls, rounds, device) | once
        eager = measured(f"{where}: {one.name} eager", times.pop("eager"), "ms")
        rows.append(eager)
        for mode, time in times.items():
            row = compared(f"{where}: {one.name} {mode}", time, "ms", eager)
            rows.append(row._replace(note="one run") if mode in once else row)
        rows += [unmeasured(f"{where}: {one.name} {mode}", "ms", reason) for mode, reason in failures.items()]
    return rows


def passes(codec: Codec, size: tuple[int, int]) -> list[Pass]:
    """The passes through E and G for a picture of that size."""
    config, compressor = codec.package.config, codec.package.compressor
    x = scaled(picture(*size), config).to(compressor.q.centers.device)
    inputs = {"w_hat": compressor.q(compressor.E(x))}
    if config.nested:
        inputs["coded"] = torch.full((1,), config.channels, device=x.device)
    if config.noise:
        inputs["v"] = torch.zeros(1, config.noise, *inputs["w_hat"].shape[2:], device=x.device)
    return [Pass("E", compressor.E, {"x": x}), Pass("G", compressor.G, inputs)]


def modes(one: Pass, folder: Path, package: Package, *, quick: bool) -> Iterator[tuple[str, Call | str]]:
    """(mode, what to time, or why there is nothing to time)."""
    network, inputs = one.network, tuple(one.inputs.values())
    device = inputs[0].device.type
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    inputs_last = tuple(t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in inputs)

    def bf16() -> object:  # without channels_last, CPUs that lack bf16 take minutes
        with torch.autocast(device, torch.bfloat16):
            return last(*inputs_last)

    yield "eager", lambda: network(*inputs)
    yield "channels_last", lambda: last(*inputs_last)
    yield "bf16 channels_last", bf16
    if quick:
        yield "compiled", "left out by --quick"
    else:
        compiled = copy.deepcopy(network)
        compiled.compile(dynamic=False)
        yield "compiled", lambda: compiled(*inputs)
    yield "ONNX Runtime", onnx_call(one, folder, package, device)


def onnx_call(one: Pass, folder: Path, package: Package, device: str) -> Call | str:
    """The pass in ONNX Runtime on the same kind of device, the transfers included; the files are made once."""
    try:
        import onnxruntime

        if not (folder / "io.json").exists():
            export_onnx(on_cpu(package), folder)
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {provider}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        file = folder / {"E": "encoder.onnx", "G": "generator.onnx"}[one.name]
        session = onnxruntime.InferenceSession(file, options, providers=[provider])
    except (ImportError, RuntimeError) as error:
        return f"fails here: {one_line(error)}"
    arrays = {name: tensor.cpu().numpy() for name, tensor in one.inputs.items()}
    return lambda: session.run(None, arrays)


def on_cpu(package: Package) -> Package:
    """The package with a copy of its networks on the CPU."""
    return dataclasses.replace(package, compressor=copy.deepcopy(package.compressor).cpu())


if __name__ == "__main__":
    sys.exit(main())
