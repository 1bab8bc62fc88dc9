"""Symbols to payload and back, bit-exactly on every machine: integer arithmetic only, no network.

| coder | symbols are coded | in the order of |
|---|---|---|
| raw | base L, each in log2(L) bits | channels, rows, columns |
| static | by their channel's frequencies | channels, rows, columns |
| context | as their model's context network expects them, given those around them | waves, see context.py |
| context, without a network | by their channel's frequencies beside their neighbours | channels, antidiagonals, rows |

Without a network, the frequencies beside left neighbour a and upper neighbour b are those of row L a + b of the
channel's table; a neighbour outside the picture or outside SC's mask counts as L // 2. On an antidiagonal no symbol is
another one's neighbour, so a decoder takes it in one step.
"""

from collections.abc import Sequence
from typing import NamedTuple

import constriction
import numpy as np
import numpy.typing as npt

from gencomp.codec.container import Entropy, StreamError, packed_bytes
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.maps import Bits
from gencomp.codec.radix import pack_symbols, unpack_symbols
from gencomp.codec.tables import CONTEXT_MODEL, context_rows, static_models
from gencomp.models.entropy import contexts_of

Symbols = npt.NDArray[np.uint8]
"""Indices of centers, (C, h, w), each below L."""
Frequencies = npt.NDArray[np.int64]
"""Integer frequencies of the centers, (C, L), rows summing to 2**24."""
Contexts = npt.NDArray[np.int64]
"""The same by context, (C, L**2, L), as `contexts_of` numbers them."""

_WORD = 4
"""Bytes per word of the range coder."""
_TAIL = 8
"""Bytes that the range coder's final state spans: the last two words."""
_CARRIED = 32
"""More bytes than those at the end of a raw payload that symbols behind it change: a group's 8 and the state's 9."""


class Coded(NamedTuple):
    """A payload, and the coder that it ended up with."""

    entropy: Entropy
    payload: bytes


class Message(NamedTuple):
    """What the range coder gets of one channel, or of all of them by the context network."""

    symbols: npt.NDArray[np.int32]
    """(n,), in their order."""
    model: constriction.stream.model.Categorical
    """One for all symbols, or CONTEXT_MODEL."""
    rows: npt.NDArray[np.float32] | None
    """(n, L), what CONTEXT_MODEL takes beside each symbol."""


class Sealed(NamedTuple):
    """What the range coder wrote, and the interval that any number of which would have decoded to the same."""

    payload: bytes
    """With whole words."""
    start: int
    """The byte that the interval's 64 bits begin at."""
    lower: int
    """The lowest number within it, modulo 2**64."""
    width: int


def encode(
    symbols: Symbols,
    frequencies: Frequencies,
    contexts: Contexts | None,
    entropy: Entropy,
    positions: Bits | None = None,
    coding: Coding | None = None,
) -> Coded:
    """Code symbols (C, h, w), all of them or those at `positions`; elsewhere they must be L // 2.

    `context` takes the shortest of context, where there are tables for it, static and raw, `static` that of the last
    two, so the bound always holds. `coding`, of the same symbols and positions, takes the place of the tables.
    """
    coded = _everywhere(symbols.shape[1:]) if positions is None else positions
    values, levels = symbols[:, coded].reshape(-1), frequencies.shape[1]
    messages: dict[Entropy, list[Message]] = {}
    if entropy != "raw":
        messages["static"] = _messages(symbols, frequencies, None, coded)
    if entropy == "context" and coding is not None:
        ordered, rows = coding.message(len(symbols))
        messages["context"] = [Message(ordered, CONTEXT_MODEL, rows)]
    elif entropy == "context" and contexts is not None:
        messages["context"] = _messages(symbols, frequencies, contexts, coded)
    sealed: dict[Entropy, Sealed] = {name: _encode_range(ones) for name, ones in messages.items()}
    most = min((len(one.payload) for one in sealed.values()), default=None)
    found = []
    if most is None or _least_raw(values, levels) <= most:
        raw = pack_symbols(values, levels).rstrip(b"\0")
        found.append(Coded("raw", raw))
        most = len(raw) if most is None else min(len(raw), most)
    found += [Coded(name, _shortened(one)) for name, one in sealed.items() if _least(one.payload) <= most]
    return min(found, key=lambda one: len(one.payload))


def least_payloads(
    symbols: Symbols, frequencies: Frequencies, contexts: Contexts | None, entropy: Entropy
) -> list[int]:
    """For the first 1, 2, ..., C channels of symbols (C, h, w), a size in bytes that no payload of them stays below.

    Close to the size that `encode` arrives at, from one pass over all channels. It is no estimate: all zeros cost next
    to nothing, whatever their frequency.
    """
    tables = [None, contexts] if entropy == "context" and contexts is not None else [None]
    everywhere = _everywhere(symbols.shape[1:])
    ranged = [_least_ranged(_messages(symbols, frequencies, table, everywhere)) for table in tables]
    raw = pack_symbols(symbols.reshape(-1), frequencies.shape[1])
    ends = [packed_bytes(count * everywhere.size, frequencies.shape[1]) for count in range(1, len(symbols) + 1)]
    shared = [len(raw[: max(0, end - _CARRIED)].rstrip(b"\0")) for end in ends]
    return [min(sizes) for sizes in zip(shared, *ranged, strict=True)]


def _least_ranged(messages: list[Message]) -> list[int]:
    """The same of the range coder's payloads alone."""
    encoder = constriction.stream.queue.RangeEncoder()
    least = []
    for message in messages:
        _put(encoder, message)
        least.append(_least(_sealed(encoder)))
    return least


def _least_raw(values: npt.NDArray[np.uint8], levels: int) -> int:
    """A length that the raw payload of symbols (n,) does not stay below: zeros at its end are cut, but what the last
    symbol above 0 wrote is not."""
    above = np.flatnonzero(values)
    return max(0, packed_bytes(int(above[-1]), levels) - _CARRIED) if above.size else 0


def _least(sealed: bytes) -> int:
    """A length that `_shortened` does not stay below."""
    kept = sealed[:-_TAIL]
    return min(len(kept.rstrip(b"\0")), len(kept.rstrip(b"\xff")))  # cut, or carried over into there


def decode(
    payload: bytes,
    entropy: Entropy,
    shape: tuple[int, int, int],
    frequencies: Frequencies,
    contexts: Contexts | None = None,
    positions: Bits | None = None,
    model: ContextModel | None = None,
) -> Symbols:
    """The symbols (C, h, w) of `shape`, L // 2 outside `positions`. Raises StreamError for a payload that no encoder
    can have written.

    Damage that the checksum did not catch gives other symbols or a StreamError, nothing else.
    """
    coded = _everywhere(shape[1:]) if positions is None else positions
    levels = frequencies.shape[1]
    count = shape[0] * int(coded.sum())
    room = packed_bytes(count, levels)
    if len(payload) > room:
        raise StreamError(f"damaged stream: a payload of {len(payload)} bytes where at most {room} can be")
    symbols = np.full(shape, levels // 2, np.uint8)
    if entropy == "raw":
        symbols[:, coded] = unpack_symbols(payload.ljust(room, b"\0"), count, levels).reshape(shape[0], -1)
        return symbols
    try:
        if entropy == "static":
            _decode_static(payload, symbols, coded, frequencies)
        elif model is not None:
            model.decode(_decoder(payload), symbols, coded)
        elif contexts is None:
            raise StreamError("this stream is coded by context, and its model has no tables for that")
        else:
            _decode_context(payload, symbols, coded, contexts)
    except AssertionError:  # how constriction reports a number outside its final interval
        raise StreamError("damaged stream: its payload stands for no symbols") from None
    return symbols


def _everywhere(shape: Sequence[int]) -> Bits:
    return np.ones(tuple(shape), np.bool_)


def _messages(symbols: Symbols, frequencies: Frequencies, contexts: Contexts | None, positions: Bits) -> list[Message]:
    """One per channel, coded by context where there are tables for it."""
    if contexts is None:
        models = static_models(frequencies)
        return [Message(s[positions].astype(np.int32), m, None) for s, m in zip(symbols, models, strict=True)]
    levels = frequencies.shape[1]
    found = contexts_of(np.where(positions, symbols, levels // 2), levels)
    i, j, _ = _antidiagonals(positions)
    return [
        Message(channel[i, j].astype(np.int32), CONTEXT_MODEL, rows[context[i, j]])
        for channel, context, rows in zip(symbols, found, context_rows(contexts), strict=True)
    ]


def _antidiagonals(positions: Bits) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the positions, from the upper left corner on, and where a new antidiagonal begins."""
    rows, columns = np.nonzero(positions)
    order = np.argsort(rows + columns, kind="stable")
    rows, columns = rows[order], columns[order]
    return rows, columns, np.flatnonzero(np.diff(rows + columns)) + 1


def _put(encoder: constriction.stream.queue.RangeEncoder, message: Message) -> None:
    if message.rows is None:
        encoder.encode(message.symbols, message.model)
    elif message.symbols.size:
        encoder.encode(message.symbols, message.model, message.rows)


def _encode_range(messages: list[Message]) -> Sealed:
    encoder = constriction.stream.queue.RangeEncoder()
    for message in messages:
        _put(encoder, message)
    words, (lower, width) = encoder.pos()
    return Sealed(_sealed(encoder), words * _WORD, lower, width)


def _sealed(encoder: constriction.stream.queue.RangeEncoder) -> bytes:
    return encoder.get_compressed().astype(">u4").tobytes()


def _shortened(sealed: Sealed) -> bytes:
    """The shortest payload that decodes to the symbols.

    The coder seals with whole words, but any number in its final interval will do: try the ones with fewest bytes,
    which are a prefix of the payload, or one above it.
    """
    payload, end = sealed.payload, sealed.start + _TAIL
    height = (_number(payload, sealed.start, end) - sealed.lower) % (1 << 8 * _TAIL)  # within the interval
    for size in range(max(0, len(payload) - _TAIL), len(payload)):
        prefix, below = payload[:size], height - _number(payload, size, end)
        if below >= 0:
            return prefix.rstrip(b"\0")
        above = int.from_bytes(prefix) + 1
        if below + (1 << 8 * (end - size)) < sealed.width and not above >> 8 * size:
            return above.to_bytes(size).rstrip(b"\0")
    return payload.rstrip(b"\0")


def _number(payload: bytes, start: int, end: int) -> int:
    """Bytes `start` to `end` of a payload that zeros follow."""
    return int.from_bytes(payload[start:end].ljust(end - start, b"\0"))


def _decoder(payload: bytes) -> constriction.stream.queue.RangeDecoder:
    padded = payload + bytes(-len(payload) % _WORD)
    return constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))


def _decode_static(payload: bytes, symbols: Symbols, positions: Bits, frequencies: Frequencies) -> None:
    """Fill in the symbols (C, h, w) at `positions`."""
    decoder = _decoder(payload)
    count = int(positions.sum())
    for channel, model in zip(symbols, static_models(frequencies), strict=True):
        channel[positions] = decoder.decode(model, count)


def _decode_context(payload: bytes, symbols: Symbols, positions: Bits, contexts: Contexts) -> None:
    """The same; symbols elsewhere are L // 2."""
    decoder = _decoder(payload)
    levels = contexts.shape[2]
    rows, columns, borders = _antidiagonals(positions)
    waves = [wave for wave in zip(np.split(rows, borders), np.split(columns, borders), strict=True) if wave[0].size]
    h, w = positions.shape
    for channel, members in zip(symbols, context_rows(contexts), strict=True):
        framed = np.full((h + 1, w + 1), levels // 2, np.intp)
        for i, j in waves:
            context = framed[i + 1, j] * levels + framed[i, j + 1]
            framed[i + 1, j + 1] = decoder.decode(CONTEXT_MODEL, members[context])
        channel[:] = framed[1:, 1:]
