"""Symbols to payload and back, bit-exactly on every machine: integer arithmetic only, no network."""

from typing import NamedTuple

import constriction
import numpy as np
import numpy.typing as npt

from gencomp.codec.container import Entropy, StreamError, packed_bytes
from gencomp.codec.radix import pack_symbols, unpack_symbols
from gencomp.codec.tables import static_models

Symbols = npt.NDArray[np.uint8]
"""Indices of centers, (C, h, w), each below L."""
Frequencies = npt.NDArray[np.int64]
"""Integer frequencies of the centers, (C, L), rows summing to 2**24."""

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


def encode(symbols: Symbols, frequencies: Frequencies, entropy: Entropy) -> Coded:
    """Code symbols (C, h, w); `static` falls back to `raw` where that is no larger, so the bound always holds."""
    raw = pack_symbols(symbols.reshape(-1), frequencies.shape[1]).rstrip(b"\0")
    if entropy == "static":
        static = _encode_static(symbols, frequencies)
        if len(static) < len(raw):
            return Coded("static", static)
    return Coded("raw", raw)


def least_payloads(symbols: Symbols, frequencies: Frequencies) -> list[int]:
    """For the first 1, 2, ..., C channels of symbols (C, h, w), a size in bytes that no payload of them stays below.

    Close to the size that `encode` arrives at, from one pass over all channels. It is no estimate: all zeros cost next
    to nothing, whatever their frequency.
    """
    raw = pack_symbols(symbols.reshape(-1), frequencies.shape[1])
    encoder = constriction.stream.queue.RangeEncoder()
    least = []
    for count, (channel, model) in enumerate(zip(symbols, static_models(frequencies), strict=True), 1):
        encoder.encode(channel.reshape(-1).astype(np.int32), model)
        sealed = encoder.get_compressed().astype(">u4").tobytes()[:-_TAIL]
        static = min(len(sealed.rstrip(b"\0")), len(sealed.rstrip(b"\xff")))  # cut there, or carried over into there
        shared = max(0, packed_bytes(count * channel.size, frequencies.shape[1]) - _CARRIED)
        least.append(min(static, len(raw[:shared].rstrip(b"\0"))))
    return least


def decode(payload: bytes, entropy: Entropy, shape: tuple[int, int, int], frequencies: Frequencies) -> Symbols:
    """The symbols (C, h, w) of `shape`. Raises StreamError for a payload that no encoder can have written.

    Damage that the checksum did not catch gives other symbols or a StreamError, nothing else.
    """
    channels, h, w = shape
    count, levels = channels * h * w, frequencies.shape[1]
    room = packed_bytes(count, levels)
    if len(payload) > room:
        raise StreamError(f"damaged stream: a payload of {len(payload)} bytes where at most {room} can be")
    if entropy == "static":
        return _decode_static(payload, shape, frequencies)
    return unpack_symbols(payload.ljust(room, b"\0"), count, levels).reshape(shape)


def _encode_static(symbols: Symbols, frequencies: Frequencies) -> bytes:
    encoder = constriction.stream.queue.RangeEncoder()
    for channel, model in zip(symbols, static_models(frequencies), strict=True):
        encoder.encode(channel.reshape(-1).astype(np.int32), model)
    words = encoder.get_compressed()
    return _shortened(words.astype(">u4").tobytes(), symbols, frequencies)


def _shortened(payload: bytes, symbols: Symbols, frequencies: Frequencies) -> bytes:
    """The shortest payload that decodes to `symbols`.

    The coder seals with whole words, but any number in its final interval will do: try the ones with fewest bytes,
    which are a prefix of `payload`, or one above it.
    """
    for size in range(max(0, len(payload) - _TAIL), len(payload)):
        for candidate in _neighbours(payload[:size]):
            if _decodes_to(symbols, candidate, frequencies):
                return candidate.rstrip(b"\0")
    return payload.rstrip(b"\0")


def _neighbours(prefix: bytes) -> list[bytes]:
    """The prefix, and the prefix plus one unit in its last byte unless that overflows."""
    above = int.from_bytes(prefix) + 1
    return [prefix] if above >> 8 * len(prefix) else [prefix, above.to_bytes(len(prefix))]


def _decodes_to(symbols: Symbols, payload: bytes, frequencies: Frequencies) -> bool:
    try:
        return np.array_equal(_decode_static(payload, symbols.shape, frequencies), symbols)
    except StreamError:
        return False


def _decode_static(payload: bytes, shape: tuple[int, ...], frequencies: Frequencies) -> Symbols:
    padded = payload + bytes(-len(payload) % _WORD)
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))
    symbols = np.empty((shape[0], int(np.prod(shape[1:]))), np.uint8)
    try:
        for row, model in zip(symbols, static_models(frequencies), strict=True):
            row[:] = decoder.decode(model, row.size)
    except AssertionError:  # how constriction reports a number outside its final interval
        raise StreamError("damaged stream: its payload stands for no symbols") from None
    return symbols.reshape(shape)
