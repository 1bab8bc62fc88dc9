"""Damaged streams, by the hundred thousand: each must be refused in one line or decode to symbols, soon; of selective
compression, to its maps as well.

A mutator with a seed takes real streams (of the shipped models, by every entropy coder, and of selective compression)
and flips, overwrites, inserts, removes, repeats and joins their bytes. Nine of ten mutants get a checksum that fits, so
that the damage reaches the coders. Of those that decode every so-manieth is drawn by G as well, until there are enough
of them; `--drawn-only` ends there, and draws each that decodes. Streams of selective compression are small, lest their
maps take most of the time, and some are of version 0 of the format.
"""

import os
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.rows import Bar, Row, arguments, finish, measured, say
from gencomp.codec.codec import Codec
from gencomp.codec.conformance import read_vectors
from gencomp.codec.container import (
    HEADER_BYTES,
    Parts,
    StreamError,
    checksum,
    join_payload,
    pack,
    parse,
    split_payload,
    varint,
)
from gencomp.codec.side import Side
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.context import ContextNetwork
from gencomp.models.entropy import fit_frequencies
from gencomp.models.light import LightConfig
from gencomp.models.package import load_package, save_package

STREAMS, QUICK_STREAMS = 1_000_000, 20_000
PICTURES, QUICK_PICTURES = 1_000, 40
"""That G draws."""
SPARE = 4
"""Of so many mutants for each picture, one at least decodes."""
REPORTED = 10_000
"""Streams after which a process says how it went so far."""
MAX_PIXELS = 1 << 15
"""The limit that the decoders are given: what asks for more must be refused before anything is allocated."""
RESTAMPED = 0.9
"""Share of the mutants whose checksum fits."""
SELECTIVE = ModelConfig(
    mode="sc",
    classes=3,
    channels=2,
    light=LightConfig(encoder=(8, 8, 8), encoder_blocks=(0, 0, 0), generator=(8, 8, 8), generator_blocks=(0, 0, 0)),
)


class Seed(NamedTuple):
    """A stream to begin with, and the codec of its model."""

    codec: Codec
    stream: bytes


class Outcome(NamedTuple):
    """What became of one mutant."""

    kind: str
    """Either `refused`, `decoded`, `drawn` where it was decoded to a picture too, or what went wrong."""
    seconds: float
    """Of all threads, so that other work on the machine counts for nothing."""


class Share(NamedTuple):
    """What one process found."""

    found: Counter[str]
    longest: float
    """Seconds for a mutant, as in Outcome."""
    grown: float
    """Megabytes by which the most memory that was held has grown since the first mutant."""


def main() -> int:
    parser = arguments("Decodes damaged streams.")
    parser.add_argument(
        "--processes", metavar="N", type=int, default=os.cpu_count(), help="each with its share (cores)"
    )
    parser.add_argument("--drawn-only", action="store_true", help="end once enough pictures are drawn: a few minutes")
    args = parser.parse_args()
    count, pictures = (QUICK_STREAMS, QUICK_PICTURES) if args.quick else (STREAMS, PICTURES)
    processes = args.processes
    if not 1 <= processes <= pictures:
        parser.error(f"give 1 to {pictures} processes, not {processes}")
    work = count // processes, -(-pictures // processes), args.drawn_only
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        shares = [pool.submit(share, seed, *work) for seed in range(processes)]
        return finish(list(rows([one.result() for one in shares], pictures)), args.json)


def share(seed: int, count: int, pictures: int, drawn_only: bool) -> Share:
    """Decode the mutants of one seed, so many of them to a picture; with `drawn_only`, no more than that takes."""
    torch.set_num_threads(1)
    seeds = corpus()
    before = peak_megabytes()
    began, found, longest = time.perf_counter(), Counter[str](), 0.0
    every = 1 if drawn_only else max(1, count // (SPARE * pictures))
    for number, outcome in enumerate(outcomes(mutants(seeds, count, seed), every, pictures), 1):
        found[outcome.kind] += 1
        longest = max(longest, outcome.seconds)
        if drawn_only and found["drawn"] == pictures:
            break
        if number % REPORTED == 0:
            pace, grown = number / (time.perf_counter() - began), peak_megabytes() - before
            say(f"{seed}: {number} streams, {pace:.0f}/s, {dict(found)}, longest {longest:.2f} s, {grown:.0f} MB more")
    return Share(found, longest, peak_megabytes() - before)


def rows(shares: list[Share], pictures: int) -> Iterator[Row]:
    found = sum((one.found for one in shares), Counter[str]())
    wrong = {kind: number for kind, number in found.items() if kind not in ("refused", "decoded", "drawn")}
    yield measured("refused", found["refused"], "streams", Bar(">=", 1))
    yield measured("decoded", found["decoded"] + found["drawn"], "streams", Bar(">=", 1))
    yield measured("of them drawn", found["drawn"], "streams", Bar(">=", pictures))
    yield measured("anything else", sum(wrong.values()), "streams", Bar("<=", 0))._replace(note=", ".join(wrong))
    yield measured("longest", max(one.longest for one in shares), "s", Bar("<=", 1.0))
    yield measured("memory that decoding added", max(one.grown for one in shares), "MB", Bar("<=", 200))


def corpus() -> list[Seed]:
    """Streams by every coder, one model each: the shipped ones and one of selective compression."""
    codecs: dict[str, Codec] = {}
    seeds = []
    for one in read_vectors():
        codec = codecs.setdefault(one.model, Codec.from_reference(one.model))
        seeds.append(Seed(codec, one.data))
    for codec in codecs.values():
        codec.max_pixels = MAX_PIXELS
    return seeds + list(selective())


def selective() -> Iterator[Seed]:
    """Streams of a small random SC model with a context network, by every coder."""
    generator = torch.Generator().manual_seed(1)
    compressor = Compressor(SELECTIVE)
    initialise(compressor, generator)
    network = ContextNetwork(SELECTIVE.channels, SELECTIVE.levels, (8, 4))
    network.initialise(generator)
    frequencies = fit_frequencies(np.tile(np.array([5, 20, 50, 20, 5]), (SELECTIVE.channels, 1)))
    with tempfile.TemporaryDirectory() as folder:
        save_package(Path(folder), SELECTIVE, compressor, frequencies, None, network.weights())
        codec = Codec.from_package(load_package(Path(folder)))
    codec.max_pixels = MAX_PIXELS
    random = np.random.default_rng(1)
    picture = Image.fromarray(random.integers(0, 255, (3, 4, 3), np.uint8)).resize((28, 20))
    labels = np.kron(random.integers(0, 3, (3, 4)), np.ones((8, 8))).astype(np.uint8)[:20, :28]
    edges = np.indices(labels.shape).sum(0) % 7 == 0
    for entropy in ("context", "static", "raw"):
        for preserve, drawn in (("box:8,8,20,16", None), ("all", edges), ("none", None)):
            stream = codec.compress(picture, labels=labels, edges=drawn, preserve=preserve, entropy=entropy)
            yield Seed(codec, stream)
            if entropy == "context":
                yield Seed(codec, as_version_0(stream, codec.decode_side(stream)))


def as_version_0(stream: bytes, side: Side) -> bytes:
    """A stream of selective compression with its maps, and the borders of its labels for edges, as version 0 had
    them."""
    header, payload = parse(stream)
    parts = [deflated(np.packbits(side.mask, axis=1)), deflated(side.labels)]
    sizes = [varint(len(parts[0])), varint(2 * len(parts[1]))]
    data = b"".join(size + part for size, part in zip(sizes, parts, strict=True))
    return pack(replace(header, version=0), join_payload(Parts(data, split_payload(payload).symbols)))


def deflated(rows: npt.NDArray[np.integer]) -> bytes:
    """Rows (H, n) of bytes, each XORed with the one above."""
    filtered = rows.astype(np.uint8)
    filtered[1:] ^= filtered[:-1].copy()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(filtered.tobytes()) + deflate.flush()


def mutants(seeds: list[Seed], count: int, seed: int) -> Iterator[tuple[Seed, bytes]]:
    """So many damaged streams, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        chosen, other = (seeds[index] for index in random.integers(len(seeds), size=2))
        data = bytearray(chosen.stream)
        for _ in range(int(random.geometric(0.5))):
            data = mutate(data, other.stream, random)
        yield chosen, restamped(bytes(data)) if random.random() < RESTAMPED else bytes(data)


def mutate(data: bytearray, other: bytes, random: np.random.Generator) -> bytearray:
    """One change to a stream, mostly behind its first bytes, which tell what it is."""
    first = 3 if random.random() < 0.3 else HEADER_BYTES
    at = int(random.integers(min(first, len(data)), len(data) + 1))
    end = at + int(random.geometric(0.2))
    match int(random.integers(7)):
        case 0 if at < len(data):
            data[at] ^= 1 << int(random.integers(8))
        case 1 if at < len(data):
            data[at] = int(random.integers(256))
        case 2:
            data[at:at] = random.bytes(end - at)
        case 3:
            del data[at:end]
        case 4:
            data[at:end] = bytes([int(random.choice([0, 255]))]) * (end - at)
        case 5:
            data[at:at] = data[at:end]
        case _:
            data[at:] = other[at:]
    return data


def restamped(data: bytes) -> bytes:
    """The same with a checksum that fits."""
    if len(data) < HEADER_BYTES:
        return data
    head, rest = data[: HEADER_BYTES - 2], data[HEADER_BYTES:]
    return head + struct.pack(">H", checksum(head, rest)) + rest


def outcomes(damaged: Iterable[tuple[Seed, bytes]], every: int, pictures: int) -> Iterator[Outcome]:
    """What becomes of each; of those that decode, the every-th ones are drawn, until so many pictures are."""
    decoded = drawn = 0
    for chosen, mutant in damaged:
        one = survive(chosen.codec, mutant, draw=drawn < pictures and (decoded + 1) % every == 0)
        decoded += one.kind in ("decoded", "drawn")
        drawn += one.kind == "drawn"
        yield one


def survive(codec: Codec, data: bytes, *, draw: bool) -> Outcome:
    """Decode a stream to symbols and maps, and with `draw` one that can be decoded to a picture."""
    began = time.process_time()
    try:
        codec.decode_symbols(data)
        if codec.package.config.mode == "sc":
            codec.decode_side(data)
        if draw:
            codec.decompress(data)
        kind = "drawn" if draw else "decoded"
    except StreamError as error:
        kind = "refused" if "\n" not in str(error) else "more than a line"
    except Exception as error:  # whatever it is, it is what this looks for
        kind = f"{type(error).__name__} of {data.hex()}"
    return Outcome(kind, time.process_time() - began)


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
