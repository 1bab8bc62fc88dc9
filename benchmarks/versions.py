"""Hashes of what must be the same bytes everywhere, to compare two machines or two releases of torch or numpy:

    python -m benchmarks.versions > here.txt             # in one environment
    python -m benchmarks.versions --against here.txt     # in the other; exit code 1 where anything differs

For each shipped vector, the symbols that it decodes to and the streams of these symbols, by each coder that is asked
for; no network takes part in them. And what `compress` makes of a picture by each shipped model at two rates: there E
runs in float32, so a latent very near to a border between two symbols may fall on the other side elsewhere. All of it
is done with one thread and with two, which must agree.
"""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from benchmarks.rows import say
from gencomp.codec.codec import Codec
from gencomp.codec.coder import encode
from gencomp.codec.conformance import read_vectors
from gencomp.codec.container import Entropy, pack, parse
from gencomp.codec.context import Coding, ContextModel
from gencomp.references import shipped

THREADS = (1, 2)
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Of the environment, which torch and numpy read when they are imported."""
RATES = (0.0363, 0.15)
"""Bits per pixel."""
WIDTH, HEIGHT = 257, 193


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints hashes of what must be the same bytes everywhere.")
    parser.add_argument("--against", metavar="FILE", type=Path, help="what this printed elsewhere")
    args = parser.parse_args()
    say(", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "constriction")))
    one, two = (computed(threads) for threads in THREADS)
    before = args.against.read_text().splitlines() if args.against else one
    print("\n".join(one))
    differing = [*compared(one, two, "with two threads"), *compared(one, before, "elsewhere")]
    for line in differing:
        say(line)
    say(f"{len(one)} hashes, {len(differing)} differences")
    return 1 if differing else 0


def computed(threads: int) -> list[str]:
    """The lines, by a process with so many threads."""
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(lines).result()


def compared(here: list[str], there: list[str], where: str) -> Iterator[str]:
    """What differs, a line each."""
    ours, theirs = ({line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in found} for found in (here, there))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name)} here, {theirs.get(name)} {where}"


def lines() -> list[str]:
    """A hash, a space and what it is of."""
    codecs = {folder.name: Codec.from_reference(folder.name) for folder in shipped()}
    found = [line for one in read_vectors() for line in of_vector(codecs[one.model], one.model, one.data)]
    return [*found, *(line for name, codec in codecs.items() for line in of_picture(codec, name))]


def of_vector(codec: Codec, model: str, data: bytes) -> Iterator[str]:
    """Its symbols, and the streams of them by each coder that is asked for."""
    header, symbols = parse(data).header, codec.decode_symbols(data)
    name = f"{model}, version {header.version}, {header.width} x {header.height}, C = {header.channels}"
    name = f"{name}, {header.entropy}"
    yield f"{digest(symbols.tobytes())} {name}: symbols"
    package, count = codec.package, header.channels
    contexts = None if package.contexts is None else package.contexts[:count]
    for entropy in get_args(Entropy):
        coding = None if package.network is None else Coding(ContextModel(package.network), symbols)
        coded = encode(symbols, package.frequencies[:count], contexts, entropy, None, coding)
        stream = pack(replace(header, entropy=coded.entropy, version=1), coded.payload)
        yield f"{digest(stream)} {name}: {entropy} stream"


def of_picture(codec: Codec, model: str) -> Iterator[str]:
    for rate in RATES:
        yield f"{digest(codec.compress(picture(), max_bpp=rate))} {model}: a picture within {rate} bpp"


def picture() -> Image.Image:
    """Stripes that cross, in whole numbers: the same whatever drew it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [abs((a * x + b * y) % 510 - 255) for a, b in ((3, 1), (1, 4), (7, -2))]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
