"""Streams that must decode to the same symbols for ever, and a decoder of its own that knows only the format.

A change of any byte here is a change of the format: it needs a new format version.
"""

import json
from collections.abc import Container
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import constriction
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.coder import decode, encode
from gencomp.codec.container import Header, pack, parse
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.tables import CONTEXT_MODEL
from gencomp.models.context import ContextWeights
from gencomp.models.entropy import fit_contexts, fit_frequencies
from gencomp.models.package import load_package
from tests.models.context_networks import random_network

GOLDEN = Path(__file__).parent / "golden"
U64 = (1 << 64) - 1
Places = set[tuple[int, int]]
"""Rows and columns of the positions where symbols are coded."""


class Golden(NamedTuple):
    name: str
    stream: bytes
    shape: tuple[int, int, int]
    frequencies: list[list[int]]
    symbols: list[int]


def golden_streams() -> list[Golden]:
    rows = json.loads((GOLDEN / "streams.json").read_text())
    return [
        Golden(row["name"], bytes.fromhex(row["stream"]), tuple(row["shape"]), row["frequencies"], row["symbols"])
        for row in rows
    ]


def plain_decode(stream: bytes, frequencies: list[list[int]], stride: int = 16) -> list[int]:
    """The symbols of a stream, in plain integers, from the description of the format alone."""
    size_word = int.from_bytes(stream[7:11], "big")
    width, height, start = (size_word >> 15 & 0x7FFF) + 1, (size_word & 0x7FFF) + 1, 13
    if size_word >> 30 & 1:
        width += int.from_bytes(stream[13:15], "big") << 15
        height += int.from_bytes(stream[15:17], "big") << 15
        start = 17
    channels, entropy = (stream[2] & 15) + 1, stream[2] >> 4 & 3
    assert channels == len(frequencies)
    positions = max(2, -(-height // stride)) * max(2, -(-width // stride))
    if entropy == 0:
        return plain_raw(stream[start:], channels * positions, len(frequencies[0]))
    return plain_static(stream[start:], positions, frequencies)


def plain_raw(payload: bytes, count: int, levels: int) -> list[int]:
    size = 1
    while levels ** (size + 1) <= 2**63:
        size += 1
    groups = [min(size, count - first) for first in range(0, count, size)]
    span, sheds = 1, []
    for group in groups:
        span *= levels**group
        sheds.append(max(0, (span.bit_length() - 65) // 8))
        span = -(-span // 256 ** sheds[-1])
    rest = list(payload[: sum(sheds)].ljust(sum(sheds), b"\0"))
    state = int.from_bytes(payload[sum(sheds) :], "little")
    symbols: list[int] = []
    for group, shed in zip(reversed(groups), reversed(sheds), strict=True):
        for _ in range(shed):
            state = state * 256 + rest.pop()
        for _ in range(group):
            state, digit = divmod(state, levels)
            symbols.append(digit)
    assert state == 0
    return symbols[::-1]


class PlainRangeDecoder:
    """The range coder of docs/format.md."""

    def __init__(self, payload: bytes) -> None:
        self._words = iter(
            [int.from_bytes(payload[i : i + 4].ljust(4, b"\0"), "big") for i in range(0, len(payload), 4)]
        )
        self._lower, self._span, self._point = 0, U64, self._word() << 32 | self._word()

    def symbol(self, row: list[int]) -> int:
        """The next symbol, whose frequencies are `row`."""
        scale = self._span >> 24
        quantile = (self._point - self._lower & U64) // scale
        symbol = 0
        while quantile >= sum(row[: symbol + 1]):
            symbol += 1
        self._lower, self._span = self._lower + scale * sum(row[:symbol]) & U64, scale * row[symbol]
        if self._span < 1 << 32:
            self._lower, self._span = self._lower << 32 & U64, self._span << 32
            self._point = self._point << 32 & U64 | self._word()
        return symbol

    def _word(self) -> int:
        return next(self._words, 0)


def plain_static(payload: bytes, positions: int, frequencies: list[list[int]]) -> list[int]:
    decoder = PlainRangeDecoder(payload)
    symbols = []
    for row in frequencies:
        for _ in range(positions):
            symbols.append(decoder.symbol(row))
    return symbols


def plain_context(
    payload: bytes, shape: tuple[int, int, int], contexts: list[list[list[int]]], coded: Container[tuple[int, int]]
) -> list[int]:
    decoder = PlainRangeDecoder(payload)
    channels, h, w = shape
    levels = len(contexts[0][0])
    symbols: dict[tuple[int, int, int], int] = {}
    for c in range(channels):
        for i, j in sorted(((i, j) for i in range(h) for j in range(w)), key=lambda at: (sum(at), at)):
            if (i, j) not in coded:
                symbols[c, i, j] = levels // 2
                continue
            left, upper = (symbols.get(at, levels // 2) for at in ((c, i, j - 1), (c, i - 1, j)))
            row = contexts[c][left * levels + upper]
            symbols[c, i, j] = decoder.symbol(row)
    return [symbols[at] for at in sorted(symbols)]


OWN = [(-2, -2), (-2, -1), (-2, 0), (-2, 1), (-2, 2), (-1, -2), (-1, -1), (-1, 0), (-1, 1), (0, -2), (0, -1)]
AROUND = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]
SEEN = [*OWN, (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]


class PlainNetwork(NamedTuple):
    """A context network as nested lists of integers, by the names of the tensors that packages hold."""

    own: list[list[list[list[int]]]]
    before: list[list[list[list[list[int]]]]]
    seen: list[list[list[int]]]
    middle: list[list[list[int]]]
    last: list[list[list[int]]]
    b1: list[list[int]]
    b2: list[list[int]]
    b3: list[list[int]]

    def frequencies(self, c: int, i: int, j: int, a: dict[tuple[int, int, int], int], coded: Places) -> list[int]:
        h1 = []
        for row, bias in enumerate(self.b1[c]):
            total = bias
            for k, (di, dj) in enumerate(OWN):
                value = a.get((c, i + di, j + dj), 0)
                total += self.own[c][row][0][k] * value + self.own[c][row][1][k] * abs(value)
            for back in range(c):
                for k, (di, dj) in enumerate(AROUND):
                    value = a.get((c - 1 - back, i + di, j + dj), 0)
                    weights = self.before[c][row][back]
                    total += weights[0][k] * value + weights[1][k] * abs(value)
            for k, (di, dj) in enumerate(SEEN):
                total += self.seen[c][row][k] * ((i + di, j + dj) in coded)
            h1.append(min(255, max(0, total // 8)))
        h2 = [
            min(255, max(0, (sum(w * h for w, h in zip(weights, h1, strict=True)) + bias) // 256))
            for weights, bias in zip(self.middle[c], self.b2[c], strict=True)
        ]
        y = [
            (sum(w * h for w, h in zip(weights, h2, strict=True)) + bias) // 128
            for weights, bias in zip(self.last[c], self.b3[c], strict=True)
        ]
        e = [int(65536 * (Decimal(one - max(y)) / 64).exp()) for one in y]
        found = [1 + (2**24 - len(y)) * one // sum(e) for one in e]
        found[y.index(max(y))] += 2**24 - sum(found)
        return found


def plain_by_network(payload: bytes, shape: tuple[int, int, int], network: PlainNetwork, coded: Places) -> list[int]:
    decoder = PlainRangeDecoder(payload)
    channels, h, w = shape
    middle = len(network.last[0]) // 2
    a: dict[tuple[int, int, int], int] = {}
    places = sorted((j + 2 * i + 4 * c, c, i, j) for c in range(channels) for i, j in coded)
    for _, c, i, j in places:
        row = network.frequencies(c, i, j, a, coded)
        a[c, i, j] = decoder.symbol(row) - middle
    return [a.get((c, i, j), 0) + middle for c in range(channels) for i in range(h) for j in range(w)]


def plain_network(weights: ContextWeights) -> PlainNetwork:
    names = ("own", "before", "seen", "middle", "last")
    return PlainNetwork(*(getattr(weights, name).tolist() for name in names), *(b.tolist() for b in weights.biases))


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4), st.sampled_from([0.4, 1]))
@settings(max_examples=25)
def test_the_plain_decoder_reads_whatever_a_context_network_codes(
    seed: int, levels: int, channels: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    weights = random_network(channels, levels, seed, (5, 4)).weights()
    h, w = random.integers(1, 9, 2)
    positions = random.random((h, w)) < share
    symbols = np.where(positions, random.integers(0, levels, (channels, h, w)), levels // 2).astype(np.uint8)
    values, rows = Coding(ContextModel(weights), symbols, positions).message(channels)
    encoder = constriction.stream.queue.RangeEncoder()
    if values.size:
        encoder.encode(values, CONTEXT_MODEL, rows)
    coded = {(i, j) for i, j in np.argwhere(positions).tolist()}
    payload = encoder.get_compressed().astype(">u4").tobytes()
    assert plain_by_network(payload, symbols.shape, plain_network(weights), coded) == symbols.reshape(-1).tolist()


@pytest.mark.parametrize("golden", golden_streams(), ids=lambda golden: golden.name)
class TestGoldenStreams:
    def test_the_plain_decoder_finds_the_symbols(self, golden: Golden) -> None:
        assert plain_decode(golden.stream, golden.frequencies) == golden.symbols

    def test_the_codec_finds_the_symbols(self, golden: Golden) -> None:
        header, payload = parse(golden.stream)
        symbols = decode(payload, header.entropy, golden.shape, np.array(golden.frequencies))
        assert symbols.reshape(-1).tolist() == golden.symbols

    def test_the_encoder_writes_the_same_bytes(self, golden: Golden) -> None:
        header, _ = parse(golden.stream)
        symbols = np.array(golden.symbols, np.uint8).reshape(golden.shape)
        entropy, payload = encode(symbols, np.array(golden.frequencies), None, header.entropy)
        assert pack(Header(header.width, header.height, header.channels, entropy, b"\x9c\x1a\x05\xff"), payload) == (
            golden.stream
        )


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 5), st.integers(1, 2_000_000))
def test_the_plain_decoder_reads_whatever_the_encoder_writes(seed: int, levels: int, channels: int, skew: int) -> None:
    random = np.random.default_rng(seed)
    frequencies = fit_frequencies(np.maximum(1, skew * random.random((channels, levels)) ** 8).astype(np.int64))
    shape = (channels, int(random.integers(2, 8)), int(random.integers(2, 8)))
    choices = [random.choice(levels, size=shape[1:], p=row / row.sum()) for row in frequencies]
    symbols = np.stack(choices).astype(np.uint8)
    entropy, payload = encode(symbols, frequencies, None, "static")
    stream = pack(Header(16 * shape[2], 16 * shape[1], channels, entropy, b"abcd"), payload)
    assert plain_decode(stream, frequencies.tolist()) == symbols.reshape(-1).tolist()


def test_the_golden_stream_by_context_has_its_symbols_and_its_bytes() -> None:
    golden = json.loads((GOLDEN / "context.json").read_text())
    stream, shape = bytes.fromhex(golden["stream"]), tuple(golden["shape"])
    frequencies, contexts = np.array(golden["frequencies"]), np.array(golden["contexts"])
    header, payload = parse(stream)
    assert header.entropy == "context"
    everywhere = [(i, j) for i in range(7) for j in range(10)]
    assert plain_context(payload, shape, golden["contexts"], everywhere) == golden["symbols"]
    symbols = decode(payload, "context", shape, frequencies, contexts)
    assert symbols.reshape(-1).tolist() == golden["symbols"]
    assert pack(header, encode(symbols, frequencies, contexts, "context").payload) == stream


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4), st.sampled_from([0.3, 1]))
def test_the_plain_decoder_reads_whatever_is_coded_by_context(
    seed: int, levels: int, channels: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 9, (channels, levels**2, levels))
    counts[:, np.arange(levels**2), np.arange(levels**2) // levels] += 1000  # most symbols are their left neighbours
    frequencies, contexts = fit_frequencies(counts.sum(1)), fit_contexts(counts)
    assert contexts is not None
    h, w = random.integers(8, 16, 2)
    positions = random.random((h, w)) < share
    rows = random.integers(0, levels, (channels, h, 1)).repeat(w, 2)
    symbols = np.where(positions, rows, levels // 2).astype(np.uint8)
    entropy, payload = encode(symbols, frequencies, contexts, "context", positions)
    assume(entropy == "context")  # a few symbols of two levels may be shorter in another way
    coded = {(i, j) for i, j in np.argwhere(positions).tolist()}
    assert plain_context(payload, symbols.shape, contexts.tolist(), coded) == symbols.reshape(-1).tolist()


@pytest.mark.parametrize("channels", range(1, 17))
def test_the_golden_streams_of_a_nested_model_give_the_first_channels(channels: int) -> None:
    """Of a package in half precision, whose fingerprint the streams carry."""
    golden = json.loads((GOLDEN / "nested" / "streams.json").read_text())
    tables = json.loads((GOLDEN / "nested" / "package" / "tables.json").read_text())["static"]
    stream = bytes.fromhex(golden["streams"][channels - 1])
    codec = Codec.from_package(load_package(GOLDEN / "nested" / "package"))
    expected = np.array(golden["symbols"][:channels])
    assert expected.shape == (channels, 7, 10)
    assert plain_decode(stream, tables[:channels]) == expected.reshape(-1).tolist()
    assert np.array_equal(codec.decode_symbols(stream), expected)
    assert codec.decompress(stream).size == (150, 97)


def test_the_golden_picture_decodes_as_it_did() -> None:
    codec = Codec.from_package(load_package(GOLDEN / "package"))
    decoded = np.asarray(codec.decompress((GOLDEN / "scene.gnc").read_bytes())).astype(int)
    with Image.open(GOLDEN / "scene.png") as image:
        expected = np.asarray(image).astype(int)
    assert decoded.shape == expected.shape == (97, 150, 3)
    assert np.abs(decoded - expected).max() <= 1


def test_the_golden_picture_has_the_symbols_that_its_package_and_bytes_say() -> None:
    stream = (GOLDEN / "scene.gnc").read_bytes()
    tables = json.loads((GOLDEN / "package" / "tables.json").read_text())["static"]
    symbols = Codec.from_package(load_package(GOLDEN / "package")).decode_symbols(stream)
    assert symbols.shape == (4, 7, 10)
    assert plain_decode(stream, tables) == symbols.reshape(-1).tolist()
    assert set(symbols.reshape(-1).tolist()) == {0, 1, 2, 3, 4}
