"""A second decoder, in plain integers, written from docs/format.md alone: it shares no code with the codec."""

import hashlib
import json
import struct
import zlib
from collections.abc import Container, Iterator, Sequence
from decimal import Decimal
from functools import cache
from itertools import pairwise
from math import prod
from operator import mul
from typing import Any, NamedTuple

U64 = (1 << 64) - 1
Places = set[tuple[int, int]]
"""Rows and columns of the positions where symbols are coded."""
Rows = list[list[int]]
"""A map, row by row."""


class PlainHeader(NamedTuple):
    version: int
    entropy: int
    channels: int
    width: int
    height: int
    selective: bool
    payload: bytes
    fingerprint: bytes


class PlainPackage(NamedTuple):
    """What a model's package tells of its streams."""

    fingerprint: bytes
    """Of which streams have the first four bytes."""
    static: Rows
    contexts: list[Rows] | None = None
    network: "PlainNetwork | None" = None
    selective: bool = False
    channels: range = range(1, 17)
    """How many of them a stream may have."""
    padding: int = 16
    """P."""
    classes: int = 0

    @property
    def stride(self) -> int:
        """S."""
        return self.padding // 2 if self.selective else self.padding

    def positions(self, side: int) -> int:
        """Of the latent, along a side of so many pixels."""
        padded = -(-side // self.padding) * self.padding
        return max(32, 2 * self.padding, padded) // self.stride


def plain_package(config: bytes, tables: bytes, tensors: bytes) -> PlainPackage:
    """From the bytes of config.json, tables.json and model.safetensors."""
    fields, coded, stored = json.loads(config), json.loads(tables), plain_tensors(tensors)
    channels = fields.get("channels", 4)
    network = {name.removeprefix("context."): one for name, one in stored.items() if name.startswith("context.")}
    found = PlainPackage(
        fingerprint=plain_fingerprint(fields, coded, stored),
        static=coded["static"],
        contexts=coded.get("context"),
        network=PlainNetwork(**{name: one.numbers() for name, one in network.items()}) if network else None,
        selective=fields.get("mode", "gc") == "sc",
        channels=range(1 if fields.get("nested", False) else channels, channels + 1),
        padding=16 if fields.get("light") is not None else 2 ** fields.get("downsamplings", 4),
        classes=fields.get("classes", 0),
    )
    assert {len(row) for row in found.static} == {fields.get("levels", 5)}
    return found


class PlainTensor(NamedTuple):
    """As model.safetensors has it."""

    kind: str
    shape: list[int]
    data: bytes

    def numbers(self) -> Any:
        """Integers of 16 or 32 bits, as nested lists."""
        kind = {"I16": "h", "I32": "i"}[self.kind]
        return plain_nested(struct.unpack(f"<{prod(self.shape)}{kind}", self.data), self.shape)


def plain_nested(numbers: Sequence[int], shape: list[int]) -> Any:
    if len(shape) == 1:
        return list(numbers)
    size = prod(shape[1:])
    return [plain_nested(numbers[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]


def plain_tensors(data: bytes) -> dict[str, PlainTensor]:
    size = int.from_bytes(data[:8], "little")
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    head.pop("__metadata__", None)
    return {
        name: PlainTensor(one["dtype"], one["shape"], body[slice(*one["data_offsets"])]) for name, one in head.items()
    }


def plain_fingerprint(config: object, tables: dict[str, Any], tensors: dict[str, PlainTensor]) -> bytes:
    digest = hashlib.sha256((json.dumps(config, sort_keys=True, separators=(",", ":")) + "\n").encode())
    rows = [*tables["static"], *(row for channel in tables.get("context") or [] for row in channel)]
    for row in rows:
        digest.update(struct.pack(f"<{len(row)}q", *row))
    kinds = {"F16": "float16", "F32": "float32", "I16": "int16", "I32": "int32", "I64": "int64"}
    generator = sorted((name.removeprefix("G."), one) for name, one in tensors.items() if name.startswith("G."))
    network = sorted((name, one) for name, one in tensors.items() if name.startswith("context."))
    for name, one in generator + network:
        digest.update(f"{name} torch.{kinds[one.kind]} {one.shape}\n".encode() + one.data)
    return digest.digest()


class PlainStream(NamedTuple):
    """What is in a stream."""

    symbols: list[int]
    """By channels, rows and columns."""
    side: "PlainSide | None"


def plain_crc(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 * (crc >> 15)) & 0xFFFF
    return crc


def plain_header(stream: bytes) -> PlainHeader:
    assert stream[:2] == b"\x9e\x47"
    assert plain_crc(stream[:11] + stream[13:]) == int.from_bytes(stream[11:13])
    size_word = int.from_bytes(stream[7:11])
    width, height, start = (size_word >> 15 & 0x7FFF) + 1, (size_word & 0x7FFF) + 1, 13
    if size_word >> 30 & 1:
        width += int.from_bytes(stream[13:15]) << 15
        height += int.from_bytes(stream[15:17]) << 15
        start = 17
    flags = stream[2]
    return PlainHeader(
        flags >> 6, flags >> 4 & 3, (flags & 15) + 1, width, height, size_word >> 31 == 1, stream[start:], stream[3:7]
    )


def plain_stream(stream: bytes, package: PlainPackage) -> PlainStream:
    """All that a stream says."""
    header = plain_header(stream)
    assert header.fingerprint == package.fingerprint[:4]
    assert header.selective == package.selective and header.channels in package.channels
    h, w = package.positions(header.height), package.positions(header.width)
    payload, side, coded = header.payload, None, {(i, j) for i in range(h) for j in range(w)}
    if header.selective:
        size, start = plain_varint(payload, 0)
        data, payload = payload[start : start + size], payload[start + size :]
        unpack = plain_side if header.version else plain_side_0
        side = unpack(data, header.height, header.width, package.stride, 8 if package.classes <= 255 else 16)
        coded = {(i, j) for i, row in enumerate(side.mask) for j, bit in enumerate(row) if bit}
    assert header.version == 0 or not payload.endswith(b"\0")
    rows, levels = package.static[: header.channels], len(package.static[0])
    shape = (header.channels, h, w)
    if header.entropy == 2 and package.network is not None:
        return PlainStream(plain_by_network(payload, shape, package.network, coded), side)
    if header.entropy == 2:
        assert package.contexts is not None
        return PlainStream(plain_context(payload, shape, package.contexts, coded), side)
    count = header.channels * len(coded)
    packed = [] if header.entropy else plain_raw(payload, count, levels)
    found = iter(plain_static(payload, len(coded), rows) if header.entropy else packed)
    every = ((c, i, j) for c in range(header.channels) for i in range(h) for j in range(w))
    return PlainStream([next(found) if (i, j) in coded else levels // 2 for _, i, j in every], side)


def plain_decode(stream: bytes, frequencies: Rows) -> list[int]:
    """The symbols of a GC stream by static frequencies, or raw, of a model of the paper's."""
    header = plain_header(stream)
    assert header.channels == len(frequencies)
    return plain_stream(stream, PlainPackage(header.fingerprint, frequencies)).symbols


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
    """The range coder."""

    def __init__(self, payload: bytes) -> None:
        self._words = iter(
            [int.from_bytes(payload[i : i + 4].ljust(4, b"\0"), "big") for i in range(0, len(payload), 4)]
        )
        self.read = 0
        self._lower, self._span, self._point = 0, U64, self._word() << 32 | self._word()

    def symbol(self, row: list[int]) -> int:
        """The next symbol, whose frequencies are `row`."""
        scale = self._span >> 24
        quantile = (self._point - self._lower & U64) // scale
        assert quantile < sum(row), "damage"
        symbol = 0
        while quantile >= sum(row[: symbol + 1]):
            symbol += 1
        self._lower, self._span = self._lower + scale * sum(row[:symbol]) & U64, scale * row[symbol]
        if self._span < 1 << 32:
            self._lower, self._span = self._lower << 32 & U64, self._span << 32
            self._point = self._point << 32 & U64 | self._word()
        return symbol

    def _word(self) -> int:
        self.read += 1
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

    def first(self, c: int) -> list[list[int]]:
        """What each number of h1 takes of the inputs."""
        return [
            [*own[0], *own[1], *(weight for back in before[:c] for part in back for weight in part), *seen]
            for own, before, seen in zip(self.own[c], self.before[c], self.seen[c], strict=True)
        ]

    def frequencies(self, c: int, first: list[list[int]], inputs: list[int]) -> list[int]:
        h1 = [
            min(255, max(0, (bias + sum(map(mul, weights, inputs))) // 8))
            for weights, bias in zip(first, self.b1[c], strict=True)
        ]
        h2 = [
            min(255, max(0, (bias + sum(map(mul, weights, h1))) // 256))
            for weights, bias in zip(self.middle[c], self.b2[c], strict=True)
        ]
        y = [(bias + sum(map(mul, weights, h2))) // 128 for weights, bias in zip(self.last[c], self.b3[c], strict=True)]
        e = [plain_exponential(one - max(y)) for one in y]
        found = [1 + (2**24 - len(y)) * one // sum(e) for one in e]
        found[y.index(max(y))] += 2**24 - sum(found)
        return found


@cache
def plain_exponential(y: int) -> int:
    return int(65536 * (Decimal(y) / 64).exp())


def plain_inputs(c: int, i: int, j: int, a: dict[tuple[int, int, int], int], coded: Places) -> list[int]:
    """a and |a| of the own channel, of each channel before, the nearest first, and where symbols are coded."""
    found: list[int] = []
    for channel in range(c, -1, -1):
        offsets = OWN if channel == c else AROUND
        values = [a.get((channel, i + di, j + dj), 0) for di, dj in offsets]
        found += [*values, *map(abs, values)]
    return found + [int((i + di, j + dj) in coded) for di, dj in SEEN]


def plain_by_network(payload: bytes, shape: tuple[int, int, int], network: PlainNetwork, coded: Places) -> list[int]:
    decoder = PlainRangeDecoder(payload)
    channels, h, w = shape
    middle = len(network.last[0]) // 2
    a: dict[tuple[int, int, int], int] = {}
    first = [network.first(c) for c in range(channels)]
    places = sorted((j + 2 * i + 4 * c, c, i, j) for c in range(channels) for i, j in coded)
    for _, c, i, j in places:
        row = network.frequencies(c, first[c], plain_inputs(c, i, j, a, coded))
        a[c, i, j] = decoder.symbol(row) - middle
    return [a.get((c, i, j), 0) + middle for c in range(channels) for i in range(h) for j in range(w)]


class PlainSide(NamedTuple):
    """Side information, of a picture of H x W pixels."""

    labels: Rows
    edges: Rows
    mask: Rows


NEAR = [(0, -1), (-1, 0), (-1, 1), (-1, -1), (-1, 2), (-2, 0), (0, -2), (-2, 1), (-2, -1), (-1, -2), (-2, 2), (-2, -2)]


class PlainTables:
    """The counts of one kind of decision."""

    def __init__(self, digits: list[int]) -> None:
        self._digits = digits
        self._counts: list[dict[int, list[int]]] = [{} for _ in digits]

    def decide(self, decoder: PlainRangeDecoder, contexts: list[int]) -> list[int]:
        """Decisions that are made together; a context is the number of the last level."""
        met = [[context % 2**digits for digits in self._digits] for context in contexts]
        chances = [self._chance(levels) for levels in met]
        found = [decoder.symbol([chance, 2**24 - chance]) for chance in chances]
        for levels, decision in zip(met, found, strict=True):
            for counts, context in zip(self._counts, levels, strict=True):
                counts.setdefault(context, [0, 0])[decision] += 1
        for level, counts in enumerate(self._counts):
            for context in {levels[level] for levels in met}:
                if sum(counts[context]) > 4095:
                    counts[context] = [(n + 1) // 2 for n in counts[context]]
        return found

    def _chance(self, levels: list[int]) -> int:
        p = 2**23
        for counts, context in zip(self._counts, levels, strict=True):
            n0, n1 = counts.get(context, [0, 0])
            p = (2**24 * n0 + 6 * p) // (n0 + n1 + 6)
        return min(max(p, 1), 2**24 - 1)


class PlainMap:
    """A map that fills up."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.a, self.b = (-(-side // -(-side // 256)) for side in (height, width))
        self.pixels: dict[tuple[int, int], int] = {}

    def steps(self) -> Iterator[list[tuple[int, int]]]:
        """The pixels of each step, in their order."""
        tops, lefts = range(0, self.height, self.a), range(0, self.width, self.b)
        for t in range(self.b + 3 * self.a):
            inside = [(i, t - 3 * i) for i in range(self.a) if 0 <= t - 3 * i < self.b]
            every = [(top + i, left + j, top, left) for top in tops for left in lefts for i, j in inside]
            # a pixel beyond the tile's end lies in another tile or outside the map
            yield [(y, x) for y, x, _, _ in every if y < self.height and x < self.width]

    def near(self, pixel: tuple[int, int], offset: tuple[int, int]) -> int | None:
        """The value there; None: unknown."""
        (y, x), (dy, dx) = pixel, offset
        same = (y + dy) // self.a == y // self.a and (x + dx) // self.b == x // self.b
        return self.pixels.get((y + dy, x + dx)) if same else None

    def rows(self) -> Rows:
        return [[self.pixels[y, x] for x in range(self.width)] for y in range(self.height)]


def plain_bits(decoder: PlainRangeDecoder, height: int, width: int, borders: PlainMap | None = None) -> Rows:
    found, more = PlainMap(height, width), 3 if borders else 0
    tables = PlainTables([more + 4, more + 8, more + 12])
    for step in found.steps():
        contexts = []
        for pixel in step:
            digits = [borders.near(pixel, offset) for offset in ((0, 0), (0, 1), (1, 0))] if borders else []
            digits += [found.near(pixel, offset) for offset in NEAR]
            contexts.append(sum((digit or 0) * 2**k for k, digit in enumerate(digits)))
        found.pixels |= dict(zip(step, tables.decide(decoder, contexts), strict=True))
    return found.rows()


def plain_labels(decoder: PlainRangeDecoder, height: int, width: int, digits: int) -> Rows:
    found, spelling = PlainMap(height, width), PlainTables([digits])
    rounds = [PlainTables([4, 8, 12]) for _ in range(3)]
    for step in found.steps():
        near = {pixel: [found.near(pixel, offset) for offset in NEAR] for pixel in step}
        unlike = {pixel: [*dict.fromkeys(one for one in near[pixel] if one is not None)] for pixel in step}
        fresh: dict[tuple[int, int], int] = {}
        for r, tables in enumerate(rounds):
            taking = [pixel for pixel in step if pixel not in fresh and len(unlike[pixel]) > r]
            candidates = [unlike[pixel][r] for pixel in taking]
            contexts = [
                sum((one != candidate) * 2**k for k, one in enumerate(near[pixel]))
                for pixel, candidate in zip(taking, candidates, strict=True)
            ]
            decisions = tables.decide(decoder, contexts)
            fresh |= {p: c for p, c, no in zip(taking, candidates, decisions, strict=True) if not no}
        left = [pixel for pixel in step if pixel not in fresh]
        spelt = [1] * len(left)
        for _ in range(digits):
            spelt = [2 * number + digit for number, digit in zip(spelt, spelling.decide(decoder, spelt), strict=True)]
        found.pixels |= fresh | {pixel: number - 2**digits for pixel, number in zip(left, spelt, strict=True)}
    return found.rows()


def plain_borders(labels: Rows) -> Rows:
    height, width = len(labels), len(labels[0])

    def differs(y: int, x: int) -> bool:
        around = [(y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)]
        return any(labels[v][u] != labels[y][x] for v, u in around if 0 <= v < height and 0 <= u < width)

    return [[int(differs(y, x)) for x in range(width)] for y in range(height)]


def plain_side(data: bytes, height: int, width: int, stride: int, digits: int) -> PlainSide:
    """Side information of version 1, its labels of 8 or 16 digits."""
    decoder = PlainRangeDecoder(data)
    mask = plain_bits(decoder, -(-height // stride), -(-width // stride))
    labels = plain_labels(decoder, height, width, digits)
    edges = plain_borders(labels)
    if decoder.symbol([2**23, 2**23]):
        drawn = PlainMap(height, width)
        drawn.pixels = {(y, x): bit for y, row in enumerate(edges) for x, bit in enumerate(row)}
        edges = plain_bits(decoder, height, width, drawn)
    assert len(data) <= 4 * decoder.read and not data.endswith(b"\0")
    return PlainSide(labels, edges, mask)


def plain_side_0(data: bytes, height: int, width: int, stride: int, digits: int) -> PlainSide:
    """The same of version 0."""

    def rows(part: bytes, count: int, length: int) -> Rows:
        flat = zlib.decompress(part, -15) if part else bytes(count * length)
        assert len(flat) == count * length
        found = [list(flat[start : start + length]) for start in range(0, len(flat), length)]
        for above, row in pairwise(found):
            row[:] = [a ^ b for a, b in zip(above, row, strict=True)]
        return found

    def bits(part: bytes, count: int, length: int) -> Rows:
        return [[row[i // 8] >> 7 - i % 8 & 1 for i in range(length)] for row in rows(part, count, -(-length // 8))]

    size, start = plain_varint(data, 0)
    mask = bits(data[start : start + size], -(-height // stride), -(-width // stride))
    number, start = plain_varint(data, start + size)
    planes = rows(data[start : start + number // 2], digits // 8 * height, width)
    labels = [
        [int.from_bytes(bytes(planes[y + height * k][x] for k in range(digits // 8))) for x in range(width)]
        for y in range(height)
    ]
    rest = data[start + number // 2 :]
    assert number % 2 or not rest
    return PlainSide(labels, bits(rest, height, width) if number % 2 else plain_borders(labels), mask)


def plain_varint(data: bytes, start: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = data[start] & 127
    while data[start] & 128:
        start += 1
        value = value * 128 + (data[start] & 127)
    return value, start + 1
