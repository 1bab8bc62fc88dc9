"""What symbols cost in bytes and milliseconds by each entropy coder, and whole pictures beside JPEG, WebP and AVIF.

Symbols are those of a nested model's first eight channels. Beside each payload stands what its model says that the
symbols cost (-log2 of their frequencies, which is constriction's own bound but for a word or two), beside each file the
bound ceil(dim log2 L / 8) + header. Classical codecs write their smallest files. The symbols are coded by one thread
of torch's and numpy's, pictures by two.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

import numpy as np
import torch
from PIL import Image

from benchmarks.clock import hardware, medians, one_thread
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured
from gencomp.codec.codec import Codec
from gencomp.codec.coder import Coded, decode, encode
from gencomp.codec.container import Entropy, describe, packed_bytes
from gencomp.codec.context import Coding, ContextModel, Symbols
from gencomp.evaluation.classical import CODECS

CHANNELS = 8
CLASSICAL = {"jpeg": 1, "webp": 0, "avif": 0}
"""The setting with the smallest files of each."""
NEAR = Bar("<=", 1.01)
"""Of what the model says that the symbols cost, less five bytes."""
WITHIN = Bar("<=", 0.0)
"""Bytes of any file above its bound."""
SOON = Bar("<=", 40.0)
"""Milliseconds for the symbols of 768 x 512."""
CPU = torch.device("cpu")

Call = Callable[[], object]


def main() -> int:
    parser = arguments("Measures the entropy coders of a model, and its files beside classical ones.")
    parser.add_argument("--model", metavar="REF", default="light", help="a nested model (default: light)")
    parser.add_argument("--pictures", type=Path, default=Path("../shared/kodak"), help="a folder of pictures")
    args = parser.parse_args()
    paths = sorted(path for path in args.pictures.rglob("*") if path.suffix.lower() in (".png", ".jpg"))
    images = [Image.open(path).convert("RGB") for path in (paths[::8] if args.quick else paths)] or [made()]
    codec = Codec.from_reference(args.model)
    say(f"{len(images)} pictures, {args.model}, {hardware(CPU)}")
    rounds = 3 if args.quick else 9
    latents = [codec.symbols(image)[:CHANNELS] for image in images]
    rows = [*payloads(codec, latents), *bounds(codec, images, latents), *coding_times(codec, latents[0], rounds)]
    torch.set_num_threads(2)
    return finish([*rows, *files(codec, images), *picture_times(codec, images[0], rounds)], args.json)


def made() -> Image.Image:
    """A picture for who has none, 768 x 512."""
    noise = np.random.default_rng(1).integers(0, 255, (32, 48, 3), np.uint8)
    return Image.fromarray(noise).resize((768, 512), Image.Resampling.BICUBIC)


def payloads(codec: Codec, latents: list[Symbols]) -> Iterator[Row]:
    """Mean bytes of the symbols by each coder, beside those of `static` and beside what its own model says."""
    frequencies, model = codec.package.frequencies[:CHANNELS], _model(codec)
    sizes = {
        name: fmean([len(_encoded(codec, latent, name, model).payload) for latent in latents])
        for name in get_args(Entropy)
    }
    static = measured("symbols: static", sizes["static"], "bytes")
    shares = np.log2(frequencies / frequencies.sum(1, keepdims=True))
    said = {
        "static": fmean([-sum(float(shares[c][latent[c]].sum()) for c in range(CHANNELS)) / 8 for latent in latents])
    }
    if model is not None:
        said["context"] = fmean([Coding(model, latent).bits(CHANNELS) / 8 for latent in latents])
    yield static
    yield from (compared(f"symbols: {name}", sizes[name], "bytes", static) for name in ("context", "raw"))
    for name, there in said.items():
        bound = measured(f"symbols: {name}, by its model", there, "bytes")
        yield bound
        yield compared(f"symbols: {name}, less 5 bytes", sizes[name] - 5, "bytes", bound, NEAR)


def bounds(codec: Codec, images: list[Image.Image], latents: list[Symbols]) -> Iterator[Row]:
    """The most bytes of a file above ceil(dim log2 L / 8) + header, over every coder and a few rates."""
    levels, most = codec.package.config.levels, codec.package.config.channels
    for name in get_args(Entropy):
        above = []
        for image, latent in zip(images, latents, strict=True):
            for channels in {1, min(CHANNELS, most), most}:
                data = codec.compress(image, channels=channels, entropy=name)
                bound = describe(data).header_bytes + packed_bytes(channels * latent[0].size, levels)
                above.append(len(data) - bound)
        yield measured(f"files: {name}, most above the bound", max(above), "bytes", WITHIN)


def coding_times(
    codec: Codec, symbols: Symbols, rounds: int, coders: Sequence[Entropy] = get_args(Entropy)
) -> Iterator[Row]:
    """Milliseconds of the symbols alone, (CHANNELS, h, w), by one thread."""
    frequencies, model = codec.package.frequencies[:CHANNELS], _model(codec)
    for name in coders:
        coded = _encoded(codec, symbols, name, model)
        own = model if coded.entropy == "context" else None
        decoding = functools.partial(decode, coded.payload, coded.entropy, symbols.shape, frequencies, model=own)
        calls: dict[str, Call] = {
            "coding": functools.partial(_encoded, codec, symbols, name, model),
            "decoding": decoding,
        }
        with one_thread():
            milliseconds = medians(calls, rounds, CPU)
        for what, found in milliseconds.items():
            yield measured(f"{name}: {what} 768 x 512 at C = {CHANNELS}", found, "ms", SOON)


def files(codec: Codec, images: list[Image.Image]) -> Iterator[Row]:
    """Mean bytes of whole files: the model's at the default rate, and the smallest of the classical codecs."""
    own = measured("file: gencomp", fmean([len(codec.compress(image)) for image in images]), "bytes")
    yield own
    for name, setting in CLASSICAL.items():
        if (reason := CODECS[name].missing()) is not None:
            yield unmeasured(f"file: {name}, its smallest", "bytes", reason)
            continue
        size = fmean([len(CODECS[name].encode(image, setting)) for image in images])
        yield compared(f"file: {name}, its smallest", size, "bytes", own)


def picture_times(codec: Codec, image: Image.Image, rounds: int) -> Iterator[Row]:
    """Milliseconds from a picture to a file and back, in turn with the classical codecs."""
    data = codec.compress(image)
    encoding: dict[str, Call] = {"gencomp": functools.partial(codec.compress, image)}
    decoding: dict[str, Call] = {"gencomp": functools.partial(codec.decompress, data)}
    for name, setting in CLASSICAL.items():
        if CODECS[name].missing() is None:
            encoding[name] = functools.partial(CODECS[name].encode, image, setting)
            decoding[name] = functools.partial(CODECS[name].decode, CODECS[name].encode(image, setting))
    for what, calls in (("encode", encoding), ("decode", decoding)):
        found = medians(calls, rounds, CPU)
        own = measured(f"{what}: gencomp", found.pop("gencomp"), "ms")
        yield own
        yield from (compared(f"{what}: {name}", value, "ms", own) for name, value in found.items())


def _encoded(codec: Codec, symbols: Symbols, entropy: Entropy, model: ContextModel | None) -> Coded:
    frequencies = codec.package.frequencies[:CHANNELS]
    coding = Coding(model, symbols) if model and entropy == "context" else None
    return encode(symbols, frequencies, None, entropy, None, coding)


def _model(codec: Codec) -> ContextModel | None:
    network = codec.package.network
    return None if network is None else ContextModel(network).first(CHANNELS)


if __name__ == "__main__":
    sys.exit(main())
