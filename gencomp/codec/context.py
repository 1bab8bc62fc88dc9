"""The context network at work: frequencies for the range coder, symbol by symbol, from a package's whole numbers.

The network is gencomp/models/context.py's, and so is the arithmetic. Here is the order that symbols are coded in, in
which every symbol comes after all that its frequencies depend on: waves t = j + 2 i + 4 c of column j, row i and
channel c, in each wave channel by channel, and in each channel from the upper rows to the lower. A wave needs nothing
of itself, so a decoder takes it in one step: some w + 2 h + 4 C of them, however many symbols there are.

An encoder knows all symbols and takes a channel in one step.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import constriction
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from gencomp.codec.maps import Bits
from gencomp.codec.tables import CONTEXT_MODEL
from gencomp.models.context import AROUND, EXPONENTIALS, MAX_ACTIVATION, OWN, REACH, SEEN, SHIFTS, ContextWeights
from gencomp.models.entropy import PRECISION

Symbols = npt.NDArray[np.uint8]
"""Indices of centers, (C, h, w), each below L."""
Floats = npt.NDArray[np.float32]
"""Whole numbers below 2**24, which products of float32 matrices keep exact."""
Rows = npt.NDArray[np.int64]
"""Frequencies of the centers, (n, L), each at least 1 and each row summing to 2**24."""

BAND_POSITIONS = 1 << 14
"""An encoder looks at so many positions of a channel at once."""
ROW_STEP, CHANNEL_STEP = 2, 4
"""Waves by which a symbol comes later in the next row, in the next channel."""


class Layers(NamedTuple):
    """A context network as matrices."""

    first: Floats
    """(C, H1, K); its columns meet the own symbols, those of the channels before, both once more for |a|, and where
    symbols are."""
    middle: Floats
    last: Floats
    biases: tuple[Floats, Floats, Floats]
    """Each (C, rows, 1)."""

    def of(self, channels: slice) -> "Layers":
        """Those of some channels."""
        b1, b2, b3 = self.biases
        biases = (b1[channels], b2[channels], b3[channels])
        return Layers(self.first[channels], self.middle[channels], self.last[channels], biases)


class ContextModel:
    """The context network of a package, for its first channels."""

    def __init__(self, weights: ContextWeights) -> None:
        self._weights = weights

    @property
    def channels(self) -> int:
        return self._weights.channels

    @property
    def levels(self) -> int:
        return self._weights.levels

    def first(self, channels: int) -> "ContextModel":
        return ContextModel(self._weights.first(channels))

    @cached_property
    def layers(self) -> Layers:
        w = self._weights
        C, H1 = w.own.shape[:2]
        own = w.own.transpose(2, 0, 1, 3)  # (2, C, H1, offsets)
        before = w.before.transpose(3, 0, 1, 2, 4).reshape(2, C, H1, -1)
        columns = [own[0], before[0], own[1], before[1], w.seen]
        biases = [bias[..., None].astype(np.float32) for bias in w.biases]
        return Layers(
            np.concatenate(columns, 2).astype(np.float32),
            w.middle.astype(np.float32),
            w.last.astype(np.float32),
            (biases[0], biases[1], biases[2]),
        )

    def rows(self, symbols: Symbols, coded: Bits, channel: int) -> Rows:
        """What the coder needs of one channel: frequencies (n, L) of its symbols at `coded` (h, w), row by row.

        Symbols (C, h, w) of that channel and the ones before it; the others are not looked at.
        """
        own, before, most = len(OWN), channel * len(AROUND), (self.channels - 1) * len(AROUND)
        first, middle, last, (b1, b2, b3) = self.layers
        kept = [slice(own + before), slice(own + most, 2 * own + most + before), slice(2 * (own + most), None)]
        columns = np.concatenate([first[channel][:, part] for part in kept], 1)
        layers = Layers(columns, middle[channel], last[channel], (b1[channel], b2[channel], b3[channel]))
        return np.concatenate([frequencies(_logits(layers, band).T) for band in self._bands(symbols, coded, channel)])

    def _bands(self, symbols: Symbols, coded: Bits, channel: int) -> Iterator[Floats]:
        """Inputs (K, n) of the positions where symbols are coded, of so many rows at once that memory is bounded."""
        h, w = coded.shape
        frame = (REACH, REACH)
        a = np.where(coded, symbols[: channel + 1].astype(np.int8) - np.int8(self.levels // 2), np.int8(0))
        a, seen = np.pad(a, ((0, 0), frame, frame)), np.pad(coded, (frame, frame))
        band = max(1, BAND_POSITIONS // w)
        for top in range(0, h, band):
            inside = coded[top : top + band]
            rows = slice(top, top + len(inside) + 2 * REACH)
            yield _inputs(a[:, rows], seen[rows], inside, channel)

    def decode(self, decoder: constriction.stream.queue.RangeDecoder, symbols: Symbols, coded: Bits) -> None:
        """Fill in the symbols (C, h, w) at `coded` (h, w) from the range coder, which holds nothing else."""
        waves = Waves(coded, self.channels)
        for wave in waves:
            logits = _logits(self.layers.of(wave.channels), wave.inputs())  # (channels, L, columns)
            rows = frequencies(logits.transpose(0, 2, 1)[wave.coded])
            wave.values[wave.coded] = decoder.decode(CONTEXT_MODEL, (rows - 1).astype(np.float32)) - self.levels // 2
        for channel, plane in enumerate(symbols):
            plane[:] = waves.symbols(channel, self.levels)


def _inputs(a: npt.NDArray[np.int8], seen: Bits, coded: Bits, channel: int) -> Floats:
    """(K, n), for the positions of `coded` (h, w), from the first channels' a and `seen`, framed by what is around."""
    own = _around(a[channel:], OWN, coded)
    before = _around(a[:channel][::-1], AROUND, coded)
    signed = np.concatenate([own, before])
    return np.concatenate([signed, np.abs(signed), _around(seen[None], SEEN, coded)])


def _around(planes: npt.NDArray[np.generic], offsets: Sequence[tuple[int, int]], coded: Bits) -> Floats:
    """(planes x offsets, n): what framed planes (m, h + 2 REACH, w + 2 REACH) hold at each offset from the positions of
    `coded` (h, w)."""
    rows, columns = (REACH + np.array(axis) for axis in zip(*offsets, strict=True))
    windows = sliding_window_view(planes, coded.shape, (1, 2))[:, rows, columns]  # (m, offsets, h, w)
    found = windows.reshape(-1, coded.size) if coded.all() else windows.reshape(-1, *coded.shape)[:, coded]
    return found.astype(np.float32)


class Coding:
    """What the range coder gets of a latent, computed channel by channel as far as it is asked for."""

    def __init__(self, model: ContextModel, symbols: Symbols, coded: Bits | None = None) -> None:
        """Symbols (C, h, w), coded everywhere or at `coded` (h, w)."""
        self._model = model
        self._coded = np.ones(symbols.shape[1:], np.bool_) if coded is None else coded
        self._symbols = symbols
        self._rows: list[Floats] = []  # frequencies less 1, see static_models
        self._bits = [0.0]

    def bits(self, channels: int) -> float:
        """What the first channels cost; a payload is a few bytes more."""
        self._extend(channels)
        return self._bits[channels]

    def prices(self, channels: int) -> Floats:
        """Bits that each center would cost, of the first channels where all positions are coded, (C, h, w, L)."""
        self._extend(channels)
        rows = np.stack(self._rows[:channels])
        found: Floats = np.float32(PRECISION) - np.log2(rows + np.float32(1))
        return found.reshape(channels, *self._coded.shape, -1)

    def message(self, channels: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Symbols (n,) of the first channels in the order that they are coded in, and what CONTEXT_MODEL takes beside
        them, (n, L)."""
        self._extend(channels)
        order = wave_order(channels, self._coded)
        symbols = self._symbols[:channels][:, self._coded].reshape(-1)[order]
        return symbols.astype(np.int32), np.concatenate(self._rows[:channels])[order]

    def _extend(self, channels: int) -> None:
        for channel in range(len(self._rows), channels):
            rows = self._model.rows(self._symbols, self._coded, channel)
            self._bits.append(self._bits[-1] + bits(rows, self._symbols[channel][self._coded]))
            self._rows.append((rows - 1).astype(np.float32))


def frequencies(y: Floats) -> Rows:
    """Logits (n, L) in whole numbers -> frequencies (n, L)."""
    levels = y.shape[1]
    best = y.argmax(1)[:, None]
    below = np.minimum(np.take_along_axis(y, best, 1) - y, len(EXPONENTIALS) - 1).astype(np.intp)
    e = EXPONENTIALS[below]
    found: Rows = 1 + e * ((1 << PRECISION) - levels) // e.sum(1, keepdims=True)
    missing = (1 << PRECISION) - found.sum(1, keepdims=True)
    np.put_along_axis(found, best, np.take_along_axis(found, best, 1) + missing, 1)
    return found


def bits(rows: Rows, symbols: npt.NDArray[np.integer]) -> float:
    """What symbols (n,) with frequencies (n, L) cost."""
    chosen = np.take_along_axis(rows, symbols[:, None].astype(np.intp), 1)
    return float(PRECISION * len(symbols) - np.log2(chosen).sum())


def wave_order(channels: int, coded: Bits) -> npt.NDArray[np.intp]:
    """In which order symbols are coded: indices into channels x positions, those of `coded` (h, w) row by row."""
    i, j = np.nonzero(coded)
    c = np.arange(channels)[:, None]
    t = (j + ROW_STEP * i + CHANNEL_STEP * c).reshape(-1)
    return np.argsort(t, kind="stable")


def _logits(layers: Layers, inputs: Floats) -> Floats:
    """Inputs (..., K, n) -> y (..., L, n)."""
    b1, b2, b3 = layers.biases
    h1 = _activation(layers.first @ inputs + b1, SHIFTS[0])
    h2 = _activation(layers.middle @ h1 + b2, SHIFTS[1])
    return _shifted(layers.last @ h2 + b3, SHIFTS[2])


def _activation(sums: Floats, shift: int) -> Floats:
    found = _shifted(sums, shift)
    return np.clip(found, 0, MAX_ACTIVATION, out=found)


def _shifted(sums: Floats, shift: int) -> Floats:
    """sums // 2**shift, in place."""
    sums *= np.float32(2.0**-shift)  # exact
    return np.floor(sums, out=sums)


class Wave(NamedTuple):
    """The symbols of one step, as many columns in each channel that has any; m channels."""

    channels: slice
    """Which ones."""
    own: tuple[Floats, ...]
    """Of the symbols in OWN, a by rows of the picture: (m, offsets, columns) each."""
    before: Floats
    """Of the channels before, a: (m, C - 1, 3, 3, columns)."""
    seen: tuple[Floats, ...]
    """Of SEEN, 1 where a symbol is coded, else 0, by rows."""
    coded: Bits
    """(m, columns), where there is a symbol to decode."""
    values: Floats
    """(m, columns), a = index - L // 2, to be filled in."""

    def inputs(self) -> Floats:
        """(m, K, columns)."""
        m, n = self.values.shape
        half = len(OWN) + self.before.shape[1] * len(AROUND)
        found = np.empty((m, 2 * half + len(SEEN), n), np.float32)
        _fill(found[:, : len(OWN)], self.own)
        found[:, len(OWN) : half].reshape(self.before.shape)[:] = self.before
        np.abs(found[:, :half], out=found[:, half : 2 * half])
        _fill(found[:, 2 * half :], self.seen)
        return found


def _fill(target: Floats, parts: tuple[Floats, ...]) -> None:
    start = 0
    for part in parts:
        target[:, start : start + part.shape[1]] = part
        start += part.shape[1]


class Waves:
    """The latent in sheared planes, in which a wave is a row and all that it depends on lies at fixed distances.

    Channel c's symbol of row i and column j is at [c, j + 2 i + 4 c, i + 2 c], so in wave t all channels need columns
    i + 2 c with 0 <= t - 2 (i + 2 c) < w. In small pictures a few of these columns are all, and only some channels
    have any of them.
    """

    def __init__(self, coded: Bits, channels: int) -> None:
        self.h, self.w = coded.shape
        self.channels = channels
        self.steps = self.w + ROW_STEP * (self.h - 1) + CHANNEL_STEP * (channels - 1)
        self.columns = self.h + 2 * (channels - 1)
        self._top, self._left = 6 + CHANNEL_STEP * channels, 2 + 2 * channels
        shape = (self._top + self.steps + REACH + ROW_STEP, self._left + self.columns + 2 * channels)
        self._a = np.zeros((2 * channels - 1, *shape), np.float32)  # behind C - 1 channels that do not exist
        self._mask = np.zeros(shape, np.float32)
        i, j = np.nonzero(coded)
        self._mask[self._top + j + ROW_STEP * i, self._left + i] = 1

    def __iter__(self) -> Iterator[Wave]:
        own = [self._own(dy, [dx for y, dx in OWN if y == dy]) for dy in (-2, -1, 0)]
        seen = [self._seen(dy, [dx for y, dx in SEEN if y == dy]) for dy in (-2, -1, 0, 1)]
        before, values, mask = self._before(), self._own(0, [0])[:, 0], self._seen(0, [0])[:, 0]
        for t in range(self.steps):
            kept = slice(max(0, (t - self.w) // 2 + 1), min(self.columns, t // 2 + 1))
            some = slice(max(0, (kept.start - self.h) // 2 + 1), min(self.channels, (kept.stop + 1) // 2))
            coded = mask[some, t, kept] > 0
            if coded.any():
                yield Wave(
                    some,
                    tuple(view[some, :, t, kept] for view in own),
                    before[some, ..., t, kept],
                    tuple(view[some, :, t, kept] for view in seen),
                    coded,
                    values[some, t, kept],
                )

    def symbols(self, channel: int, levels: int) -> npt.NDArray[np.int32]:
        """Indices (h, w) of one channel, L // 2 where none is coded."""
        i, j = np.indices((self.h, self.w))
        plane = self._a[self.channels - 1 + channel]
        t = self._top + j + ROW_STEP * i + CHANNEL_STEP * channel
        return plane[t, self._left + i + 2 * channel].astype(np.int32) + levels // 2

    def _own(self, dy: int, dx: list[int]) -> Floats:
        """(C, offsets, steps, columns) of symbols in one row of their own channel; `dx` are adjacent, the lowest
        first."""
        plane, row, _ = self._a.strides
        planes = self._a[self.channels - 1 :]
        return self._view(planes, dx[0] + ROW_STEP * dy, dy, (self.channels, len(dx)), (plane, row))

    def _before(self) -> Floats:
        """(C, C - 1, 3, 3, steps, columns)."""
        plane, row, cell = self._a.strides
        C = self.channels
        if C == 1:
            return np.zeros((1, 0, 3, 3, self.steps, self.columns), np.float32)
        strides = (plane, -plane - CHANNEL_STEP * row - 2 * cell, ROW_STEP * row + cell, row)
        start = -1 - ROW_STEP - CHANNEL_STEP, -1 - 2
        return self._view(self._a[C - 2 :], *start, (C, C - 1, 3, 3), strides)

    def _seen(self, dy: int, dx: list[int]) -> Floats:
        """The same as `_own` of where symbols are."""
        row, cell = self._mask.strides
        strides = (-CHANNEL_STEP * row - 2 * cell, row)
        return self._view(self._mask, dx[0] + ROW_STEP * dy, dy, (self.channels, len(dx)), strides)

    def _view(self, array: Floats, dt: int, di: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Floats:
        """Of an array (..., rows, cells), what lies `dt` waves and `di` columns from each place, along axes of its
        own."""
        row, cell = array.strides[-2:]
        start = array[..., self._top + dt :, self._left + di :]
        return as_strided(start, (*shape, self.steps, self.columns), (*strides, row, cell))
