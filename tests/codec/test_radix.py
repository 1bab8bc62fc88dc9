import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.codec.container import StreamError, packed_bytes
from gencomp.codec.radix import CARRY_BITS, _group_size, _schedule, pack_symbols, unpack_symbols

LARGEST_COUNT = 1 << 31
"""More symbols than any stream can have: 2**28 pixels at stride 2 and 16 channels are 2**30."""


def scheduled_bytes(count: int, levels: int) -> int:
    """The bytes that the schedule ends in: those shed on the way, and what the last span needs."""
    span, shed_bytes = 1, 0
    for base, shed in _schedule(count, levels):
        span = -(-span * base >> 8 * shed)
        shed_bytes += shed
    return shed_bytes + ((span - 1).bit_length() + 7) // 8


@given(st.integers(2, 256), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_any_symbols_come_back_from_exactly_the_bound(levels: int, count: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(0, levels, count).astype(np.uint8)
    data = pack_symbols(symbols, levels)
    assert len(data) == packed_bytes(count, levels)
    assert np.array_equal(unpack_symbols(data, count, levels), symbols)


@pytest.mark.parametrize("levels", [2, 3, 5, 63, 64])
def test_the_highest_symbols_fit_as_well(levels: int) -> None:
    for count in [*range(120), 999, 12_288]:
        symbols = np.full(count, levels - 1, np.uint8)
        data = pack_symbols(symbols, levels)
        assert len(data) == packed_bytes(count, levels)
        assert np.array_equal(unpack_symbols(data, count, levels), symbols)


@pytest.mark.parametrize("levels", range(2, 65))
def test_every_count_takes_its_bound(levels: int) -> None:
    for count in range(0, 700):
        assert scheduled_bytes(count, levels) == packed_bytes(count, levels)


def test_big_counts_take_their_bound_where_it_is_tightest() -> None:
    for count in [q for q in convergents(5, 1 << 21) if q > 1000] + [1 << 21]:
        for near in (count - 1, count, count + 1):
            assert scheduled_bytes(near, 5) == packed_bytes(near, 5)


@pytest.mark.parametrize("levels", [levels for levels in range(2, 65) if levels & levels - 1])
def test_no_count_is_so_near_a_byte_that_the_waste_crosses_it(levels: int) -> None:
    """No multiple n <= N of an irrational comes nearer to an integer than the last convergent with q <= N does."""
    ratio = log2_over_8(levels)
    q = convergents(levels, LARGEST_COUNT)[-1]
    distance = abs(q * ratio - round(q * ratio))
    groups = LARGEST_COUNT // _group_size(levels) + 1
    waste = groups * Fraction(math.log2(math.e)) / 8 / (1 << CARRY_BITS)  # bytes: log2(1 + 2**-64) bits per group
    assert waste < distance


def test_a_million_symbols_come_back() -> None:
    symbols = np.random.default_rng(0).integers(0, 5, 1_000_001).astype(np.uint8)
    data = pack_symbols(symbols, 5)
    assert len(data) == packed_bytes(symbols.size, 5)
    assert np.array_equal(unpack_symbols(data, symbols.size, 5), symbols)


@given(st.binary(min_size=30, max_size=30), st.sampled_from([3, 5, 7]))
def test_foreign_bytes_are_symbols_or_refused(data: bytes, levels: int) -> None:
    count = next(n for n in range(1, 400) if packed_bytes(n, levels) == 30)
    try:
        symbols = unpack_symbols(data, count, levels)
    except StreamError:
        return
    assert symbols.max() < levels
    assert pack_symbols(symbols, levels) == data


@pytest.mark.parametrize("count", [1, 20, 280, 3000])
def test_a_number_beyond_the_last_symbols_is_refused(count: int) -> None:
    with pytest.raises(StreamError, match="no symbols"):
        unpack_symbols(b"\xff" * packed_bytes(count, 5), count, 5)
    with pytest.raises(StreamError, match="no symbols"):
        unpack_symbols(bytes(packed_bytes(count, 5) + 1), count, 5)


def log2_over_8(levels: int) -> Fraction:
    """log2(levels) / 8 to 70 digits."""
    with localcontext() as context:
        context.prec = 75
        return Fraction(Decimal(levels).ln() / Decimal(2).ln() / 8)


def convergents(levels: int, limit: int) -> list[int]:
    """Denominators up to `limit` of the continued fraction of log2(levels) / 8."""
    rest, before, last, found = log2_over_8(levels), 0, 1, []
    while last <= limit:
        found.append(last)
        rest = 1 / (rest - math.floor(rest))
        before, last = last, math.floor(rest) * last + before
    return found
