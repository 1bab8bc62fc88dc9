"""Label maps, edges and masks to bytes and back, losslessly: adaptive coding by what is around each pixel.

Every pixel is coded in a few decisions of two outcomes. Their chances are whole numbers, learned on the way from how
decisions with the same pixels around them went, so encoder and decoder agree on every machine; no network and no table
is needed. docs/format.md has it step by step.

A map is cut into tiles of at most TILE x TILE pixels, which learn together and see nothing of each other's pixels. In
all of them a step takes the pixels with column + 3 row = 0, 1, 2, ..., so there are at most 4 TILE steps, whatever the
size and shape of the map, and each is done for all its pixels at once.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import constriction
import numpy as np
import numpy.typing as npt

from gencomp.codec.container import StreamError
from gencomp.codec.tables import CONTEXT_MODEL
from gencomp.models.entropy import PRECISION

TILE = 256
"""Pixels along a side of the largest tile."""
SLOPE = 3
"""Steps by which a pixel comes later in the next row."""
NEIGHBOURS = (
    *((0, -1), (-1, 0), (-1, 1), (-1, -1)),
    *((-1, 2), (-2, 0), (0, -2), (-2, 1)),
    *((-2, -1), (-1, -2), (-2, 2), (-2, -2)),
)
"""Rows and columns from a pixel to those around it that come before it, the likeliest to be alike first."""
CANDIDATES = 3
"""Labels around a pixel that are tried, one after the other, before it is spelled out."""
HERE = ((0, 0), (0, 1), (1, 0))
"""Where edges look at the borders of the label map."""
LEVELS = (4, 8, 12)
"""Neighbours that the contexts of each level tell of."""
OUTSIDE = -1
"""What stands in a label map for pixels outside the tile."""
LIMIT = 4095
"""Times that decisions are remembered in one context; beyond them both counts are halved."""
LEANING = 6
"""Imaginary decisions, of the chance in the context before, that are added to those in a context."""
FRAME = 2
"""Pixels around a tile that neighbours reach into."""

Bits = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]
Counts = npt.NDArray[np.int64]
"""Numbers of decisions, or chances of outcome 0 in units of 2**-24."""
Values = npt.NDArray[np.signedinteger]
Ids = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_EVEN = 1 << PRECISION - 1
_WORD = 4


class Coder(Protocol):
    """Where decisions go to, or come from."""

    def decide(self, chances: Counts, known: Bits | None) -> Bits:
        """Decisions (n,), each with its chance (n,) of outcome 0; an encoder must know them."""
        ...


class MapEncoder:
    """Decisions to bytes."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def decide(self, chances: Counts, known: Bits | None) -> Bits:
        assert known is not None
        self._encoder.encode(known.astype(np.int32), CONTEXT_MODEL, _rows(chances))
        return known

    def sealed(self) -> bytes:
        """The shortest bytes that stand for the decisions: the number with most zeros at its end, which are left out,
        within the coder's last interval."""
        words, (lower, span) = self._encoder.pos()
        whole = self._encoder.get_compressed().astype(">u4").tobytes().ljust(_WORD * (words + 2), b"\0")
        inside = int.from_bytes(whole)
        start = inside - ((inside - lower) & (1 << 64) - 1)
        for zeros in range(64, -1, -8):
            number = -(-start >> zeros) << zeros
            if number < start + span:
                break
        return number.to_bytes(len(whole)).rstrip(b"\0")


class MapDecoder:
    """Bytes to decisions."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(-len(data) % _WORD)
        self._decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
        self._encoder = constriction.stream.queue.RangeEncoder()  # which knows how many words were needed
        self._data = data

    def decide(self, chances: Counts, known: Bits | None) -> Bits:
        rows = _rows(chances)
        try:
            found = self._decoder.decode(CONTEXT_MODEL, rows)
        except AssertionError:  # how constriction reports a number outside its final interval
            raise StreamError("damaged stream: its side information stands for no maps") from None
        self._encoder.encode(found, CONTEXT_MODEL, rows)
        return found.astype(np.bool_)

    def close(self) -> None:
        """Once all is decoded: raise StreamError where bytes are left over."""
        words, _ = self._encoder.pos()
        if len(self._data) > _WORD * (words + 2):
            raise StreamError("damaged stream: its side information is longer than its maps")


def code_flag(coder: Coder, known: bool | None) -> bool:
    """One decision whose outcomes are as likely."""
    return bool(coder.decide(np.array([_EVEN]), None if known is None else np.array([known]))[0])


def code_bits(coder: Coder, shape: tuple[int, int], known: Bits | None) -> Bits:
    """A map (H, W) of truth values, to an encoder or from a decoder."""
    return _coded_bits(coder, Plane(shape, 0), None, known)


def code_edges(coder: Coder, borders: Bits, known: Bits | None) -> Bits:
    """The same of edges beside the borders (H, W) of a label map."""
    beside = Plane(borders.shape, 0)
    beside.fill(borders)
    return _coded_bits(coder, Plane(borders.shape, 0), beside, known)


def code_labels(coder: Coder, shape: tuple[int, int], kind: npt.DTypeLike, known: Ids | None) -> Ids:
    """A label map (H, W) of uint8 or uint16, to an encoder or from a decoder."""
    digits = 8 * np.dtype(kind).itemsize
    plane = Plane(shape, OUTSIDE, np.int16 if digits == 8 else np.int32)
    if known is not None:
        plane.fill(known)
    spelling = Chances([1 << digits])
    liking = [Chances([1 << count for count in LEVELS]) for _ in range(CANDIDATES)]
    for places in plane.steps():
        around = plane.at(places, NEIGHBOURS)  # (neighbours, n)
        untried, waiting, alone = around != OUTSIDE, places, [places[:0]]
        for chances in liking:
            some = untried.any(0)
            alone.append(waiting[~some])
            around, untried, waiting = around[:, some], untried[:, some], waiting[some]
            candidate = np.take_along_axis(around, untried.argmax(0)[None], 0)[0]
            different = around != candidate
            truth = None if known is None else plane.values[waiting] != candidate
            missed = chances.code(coder, _number(different), truth)
            plane.values[waiting[~missed]] = candidate[~missed]
            around, untried, waiting = around[:, missed], (untried & different)[:, missed], waiting[missed]
            if not waiting.size:
                break
        left = np.sort(np.concatenate([*alone, waiting]))
        if left.size:
            spelt = None if known is None else plane.values[left]
            plane.values[left] = _spelled(coder, spelling, digits, spelt, len(left))
    found = plane.whole()
    return found.astype(np.uint8) if digits == 8 else found.astype(np.uint16)


class Chances:
    """What was learned of one kind of decision, in contexts of several levels, each finer than the one before."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Contexts of each level, powers of two: a level takes the lowest binary digits of a context's number."""
        self._masks = np.array(sizes)[:, None] - 1
        self._starts = np.cumsum([0, *sizes[:-1]])[:, None]
        self._contexts = sum(sizes)
        self._counts: Counts = np.zeros(2 * self._contexts, np.int64)  # of outcome 0, then of outcome 1

    def code(self, coder: Coder, contexts: Indices, known: Bits | None) -> Bits:
        """Decisions (n,) in contexts (n,), then learned from, all at once."""
        if not contexts.size:
            return np.zeros(0, np.bool_)
        at = (contexts & self._masks) + self._starts  # (levels, n)
        zeros, ones = self._counts[at], self._counts[at + self._contexts]
        chance = np.full(contexts.shape, _EVEN)
        for zero, one in zip(zeros, ones, strict=True):
            chance = ((zero << PRECISION) + LEANING * chance) // (zero + one + LEANING)
        found = coder.decide(np.maximum(1, np.minimum(chance, (1 << PRECISION) - 1)), known)
        self._learn(at, found)
        return found

    def _learn(self, at: Indices, found: Bits) -> None:
        np.add.at(self._counts, at + self._contexts * found, 1)
        many = at[self._counts[at] + self._counts[at + self._contexts] > LIMIT]
        if many.size:
            many = np.unique(many)
            many = np.concatenate([many, many + self._contexts])
            self._counts[many] = self._counts[many] + 1 >> 1


class Plane:
    """A map in tiles, each within a frame of what is outside."""

    def __init__(self, shape: tuple[int, int], outside: int, kind: type[np.signedinteger] = np.int8) -> None:
        """Of `shape` (H, W), its values of a `kind` that also holds what is outside."""
        self._height, self._width = shape
        height, width = (-(-side // -(-side // TILE)) for side in shape)
        self._tile = height, width
        self._rows, self._columns = range(0, self._height, height), range(0, self._width, width)
        self._line = width + FRAME  # to the right of a tile is what is left of its next row
        self._size = (height + 2 * FRAME) * self._line + FRAME
        tiles = len(self._rows) * len(self._columns)
        self.values: Values = np.full(tiles * self._size, outside, kind)
        """(n,), pixels of all tiles and of their frames."""

    def steps(self) -> Iterator[Indices]:
        """The places (n,) in `values` of the pixels of each step, by tiles and rows."""
        height, width = self._tile
        heights = np.repeat([min(height, self._height - top) for top in self._rows], len(self._columns))[:, None]
        widths = np.tile([min(width, self._width - left) for left in self._columns], len(self._rows))[:, None]
        starts = self._size * np.arange(len(heights))[:, None]
        for step in range(width + SLOPE * (height - 1)):
            y = np.arange(max(0, -(-(step - width + 1) // SLOPE)), min(height, step // SLOPE + 1))
            x = step - SLOPE * y
            places = starts + (y + FRAME) * self._line + FRAME + x  # (tiles, rows)
            yield places[(y < heights) & (x < widths)]

    def at(self, places: Indices, offsets: Sequence[tuple[int, int]]) -> Values:
        """Values (offsets, n) at rows and columns from places (n,)."""
        return self.values[places + np.array([dy * self._line + dx for dy, dx in offsets])[:, None]]

    def fill(self, whole: npt.NDArray[np.generic]) -> None:
        """Take over a map (H, W)."""
        for tile, part in self._parts():
            tile[:] = whole[part]

    def whole(self) -> Values:
        """The map (H, W)."""
        found: Values = np.empty((self._height, self._width), self.values.dtype)
        for tile, part in self._parts():
            found[part] = tile
        return found

    def _parts(self) -> Iterator[tuple[Values, tuple[slice, slice]]]:
        """Each tile without its frame, and where it is in the map."""
        height, width = self._tile
        framed = self.values.reshape(-1, self._size)[:, FRAME * self._line : FRAME * self._line + height * self._line]
        places = ((top, left) for top in self._rows for left in self._columns)
        for tile, (top, left) in zip(framed, places, strict=True):
            bottom, right = min(top + height, self._height), min(left + width, self._width)
            inside = tile.reshape(height, self._line)[: bottom - top, FRAME : FRAME + right - left]
            yield inside, (slice(top, bottom), slice(left, right))


def _coded_bits(coder: Coder, plane: Plane, beside: Plane | None, known: Bits | None) -> Bits:
    if known is not None:
        plane.fill(known)
    levels = LEVELS if beside is None else [len(HERE) + count for count in LEVELS]
    chances = Chances([1 << count for count in levels])
    for places in plane.steps():
        around = plane.at(places, NEIGHBOURS)
        if beside is not None:
            around = np.concatenate([beside.at(places, HERE), around])
        truth = None if known is None else plane.values[places] > 0
        plane.values[places] = chances.code(coder, _number(around > 0), truth)
    return plane.whole() > 0


def _spelled(coder: Coder, spelling: "Chances", digits: int, known: Values | None, count: int) -> Indices:
    """Labels (count,), their binary digits one by one, the highest first, each beside those before it."""
    node = np.ones(count, np.intp)
    for place in range(digits - 1, -1, -1):
        truth = None if known is None else (known >> place & 1).astype(np.bool_)
        node = 2 * node + spelling.code(coder, node, truth)
    return node - (1 << digits)


def _number(digits: Bits) -> Indices:
    """Columns (k, n) of binary digits, the lowest first, as numbers (n,)."""
    return (1 << np.arange(len(digits))) @ digits


def _rows(chances: Counts) -> npt.NDArray[np.float32]:
    """What CONTEXT_MODEL takes beside decisions, see static_models."""
    return (np.stack([chances, (1 << PRECISION) - chances], 1) - 1).astype(np.float32)
