"""`raw` payloads: symbols of L values packed base L, in ceil(n log2(L) / 8) bytes and in linear time.

One big integer would be exact and quadratic. Here groups of symbols are absorbed into a state that sheds its low bytes
and carries the rest over: after each group `state` lies in [0, span), and the span, which depends on the number of
symbols alone, stays above 2**64. Rounding the span up is the only waste: under 2**-63 bits per group, less than what
separates n log2(L) / 8 from the next integer for every n and L that a stream can have, so the bound is met exactly.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from gencomp.codec.container import StreamError, packed_bytes

CARRY_BITS = 64
"""The state keeps a span of at least 2**64 values while it sheds whole bytes."""


def pack_symbols(symbols: npt.NDArray[np.uint8], levels: int) -> bytes:
    """Symbols (n,), each below `levels`, in exactly `packed_bytes(n, levels)` bytes."""
    out = bytearray()
    state = 0
    for value, (base, shed) in zip(_grouped(symbols, levels), _schedule(symbols.size, levels), strict=True):
        state = state * base + value
        out += (state & (1 << 8 * shed) - 1).to_bytes(shed, "little")
        state >>= 8 * shed
    return bytes(out + state.to_bytes(packed_bytes(symbols.size, levels) - len(out), "little"))


def unpack_symbols(data: bytes, count: int, levels: int) -> npt.NDArray[np.uint8]:
    """The `count` symbols (count,) of `pack_symbols`. Raises StreamError when `data` stands for none."""
    schedule = list(_schedule(count, levels))
    end = sum(shed for _, shed in schedule)
    state = int.from_bytes(data[end:], "little")
    values = np.zeros(len(schedule), np.uint64)
    for index in range(len(schedule) - 1, -1, -1):
        base, shed = schedule[index]
        state = state << 8 * shed | int.from_bytes(data[end - shed : end], "little")
        state, value = divmod(state, base)
        values[index] = value
        end -= shed
    if state or len(data) != packed_bytes(count, levels):
        raise StreamError("damaged stream: its payload stands for no symbols")
    return _ungrouped(values, count, levels)


def _group_size(levels: int) -> int:
    """How many symbols of `levels` values fit in 63 bits."""
    size = 1
    while levels ** (size + 1) <= 1 << 63:
        size += 1
    return size


def _schedule(count: int, levels: int) -> Iterator[tuple[int, int]]:
    """Per group: the number of its values, and how many bytes the state sheds after it."""
    size = _group_size(levels)
    span = 1
    for start in range(0, count, size):
        base = levels ** min(size, count - start)
        span *= base
        shed = max(0, (span.bit_length() - 1 - CARRY_BITS) // 8)
        span = -(-span >> 8 * shed)
        yield base, shed


def _grouped(symbols: npt.NDArray[np.uint8], levels: int) -> list[int]:
    """The groups' values; the first symbol of a group is its most significant digit."""
    size = _group_size(levels)
    whole = symbols.size - symbols.size % size
    values = _values(symbols[:whole].reshape(-1, size), levels)  # (groups, size)
    return values + _values(symbols[None, whole:], levels) if whole < symbols.size else values


def _values(rows: npt.NDArray[np.uint8], levels: int) -> list[int]:
    """Rows of digits (groups, size) as integers, by Horner's rule."""
    values = np.zeros(len(rows), np.uint64)
    for k in range(rows.shape[1]):
        values = values * np.uint64(levels) + rows[:, k]
    return [int(value) for value in values]


def _ungrouped(values: npt.NDArray[np.uint64], count: int, levels: int) -> npt.NDArray[np.uint8]:
    size = _group_size(levels)
    digits = np.zeros((len(values), size), np.uint8)
    rest = values.copy()
    if last := count % size:
        rest[-1] *= np.uint64(levels ** (size - last))  # the last group's digits move to the front
    for k in range(size - 1, -1, -1):
        digits[:, k] = rest % np.uint64(levels)
        rest //= np.uint64(levels)
    return digits.reshape(-1)[:count]
