import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.codec.coder import Contexts, Frequencies, Symbols, decode, encode, least_payloads
from gencomp.codec.container import ENTROPIES, Entropy, StreamError, packed_bytes
from gencomp.models.entropy import count_contexts, count_symbols, fit_contexts, fit_frequencies

SKEWED = fit_frequencies(np.array([[1, 5, 88, 5, 1], [40, 30, 15, 10, 5]]))


def drawn(frequencies: Frequencies, shape: tuple[int, int, int], seed: int = 0) -> Symbols:
    random = np.random.default_rng(seed)
    choices = [random.choice(row.size, size=shape[1:], p=row / row.sum()) for row in frequencies]
    return np.stack(choices).astype(np.uint8)


@st.composite
def latents(draw: st.DrawFn) -> tuple[Symbols, Frequencies]:
    """Symbols, and tables that may or may not fit them."""
    channels, levels = draw(st.integers(1, 16)), draw(st.integers(2, 64))
    h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    symbols = random.integers(0, draw(st.integers(1, levels)), (channels, h, w)).astype(np.uint8)
    counts = random.integers(0, 10 ** draw(st.integers(1, 9)), (channels, levels))
    return symbols, fit_frequencies(counts)


@given(latents(), st.sampled_from(["raw", "static"]))
def test_any_symbols_come_back_and_keep_the_bound(latent: tuple[Symbols, Frequencies], entropy: Entropy) -> None:
    symbols, frequencies = latent
    coded = encode(symbols, frequencies, None, entropy)
    assert len(coded.payload) <= packed_bytes(symbols.size, frequencies.shape[1])
    assert not coded.payload.endswith(b"\0")
    assert np.array_equal(decode(coded.payload, coded.entropy, symbols.shape, frequencies), symbols)


@given(latents(), st.booleans())
def test_no_payload_of_the_first_channels_is_smaller_than_its_least(
    latent: tuple[Symbols, Frequencies], zeros_behind: bool
) -> None:
    symbols, frequencies = latent
    if zeros_behind:
        symbols = np.concatenate([symbols[: len(symbols) // 2], np.zeros_like(symbols[len(symbols) // 2 :])])
    least = least_payloads(symbols, frequencies, None, "static")
    for count in range(1, len(symbols) + 1):
        for entropy in ("raw", "static"):
            assert least[count - 1] <= len(encode(symbols[:count], frequencies[:count], None, entropy).payload)


@given(latents(), st.integers(0, 16))
def test_nothing_shorter_decodes_to_the_symbols(latent: tuple[Symbols, Frequencies], zeros: int) -> None:
    """Neither a prefix of the payload nor one above it; and raw is not written where static is shorter, nor else left
    out."""
    symbols, frequencies = latent
    symbols[len(symbols) - min(zeros, len(symbols)) :] = 0
    raw, static = (encode(symbols, frequencies, None, entropy) for entropy in ("raw", "static"))
    assert len(static.payload) <= len(raw.payload) and (static.entropy == "static" or static == raw)
    for size in range(max(0, len(static.payload) - 8), len(static.payload)):
        prefix = static.payload[:size]
        above = min(int.from_bytes(prefix) + 1, (1 << 8 * size) - 1).to_bytes(size)
        for candidate in (prefix, above):
            try:
                found = decode(candidate, static.entropy, symbols.shape, frequencies)
            except StreamError:
                continue
            assert not np.array_equal(found, symbols)


def test_the_least_payload_is_near_the_one_that_is_written() -> None:
    symbols = drawn(SKEWED, (2, 40, 40))
    written = [len(encode(symbols[:count], SKEWED[:count], None, "static").payload) for count in (1, 2)]
    least = least_payloads(symbols, SKEWED, None, "static")
    assert all(size - 10 <= bound for size, bound in zip(written, least, strict=True))


def test_static_is_within_two_bytes_of_the_ideal_code_length() -> None:
    for seed, side in enumerate([6, 16, 48]):
        symbols = drawn(SKEWED, (2, side, side), seed)
        ideal = sum((24 - np.log2(row[s])).sum() for row, s in zip(SKEWED, symbols, strict=True)) / 8
        coded = encode(symbols, SKEWED, None, "static")
        assert coded.entropy == "static"
        assert ideal - 1 <= len(coded.payload) <= ideal * 1.0005 + 2


def test_static_saves_where_the_tables_fit() -> None:
    symbols = drawn(SKEWED, (2, 40, 40))
    static, raw = (encode(symbols, SKEWED, None, entropy).payload for entropy in ("static", "raw"))
    assert len(static) < 0.8 * len(raw)


def test_symbols_that_the_tables_do_not_expect_fall_back_to_raw() -> None:
    symbols = np.random.default_rng(0).integers(0, 5, (2, 9, 9)).astype(np.uint8)
    coded = encode(symbols, SKEWED, None, "static")
    assert coded == encode(symbols, SKEWED, None, "raw")
    assert coded.entropy == "raw"


def test_of_two_payloads_as_long_raw_is_taken() -> None:
    symbols = np.zeros((2, 3, 3), np.uint8)  # no bytes either way
    assert encode(symbols, fit_frequencies(np.array([[9, 0, 0, 0, 0]] * 2)), None, "static") == ("raw", b"")


def test_expected_symbols_take_next_to_nothing() -> None:
    frequencies = fit_frequencies(np.array([[0, 0, 1, 0, 0]] * 8))
    symbols = np.full((8, 32, 48), 2, np.uint8)
    assert len(encode(symbols, frequencies, None, "static").payload) <= 2


@given(st.binary(max_size=60), st.sampled_from(["raw", "static"]), st.integers(1, 9), st.integers(1, 9))
def test_any_payload_gives_symbols_or_a_refusal(payload: bytes, entropy: Entropy, h: int, w: int) -> None:
    try:
        symbols = decode(payload, entropy, (2, h, w), SKEWED)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert symbols.shape == (2, h, w)
        assert symbols.dtype == np.uint8
        assert symbols.max() < 5


CONTEXTS = np.repeat(SKEWED[:, None], 25, 1)
"""By context, and yet the same in all."""


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_every_flipped_bit_of_a_payload_gives_symbols_or_a_refusal(entropy: Entropy) -> None:
    symbols = smooth((2, 12, 12)) if entropy == "context" else drawn(SKEWED, (2, 6, 6))
    tables = tables_of(smooth((2, 40, 40), seed=1)) if entropy == "context" else (SKEWED, None)
    coded = encode(symbols, *tables, entropy)
    assert coded.entropy == entropy
    changed = 0
    for bit in range(8 * len(coded.payload)):
        damaged = bytearray(coded.payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            changed += not np.array_equal(decode(bytes(damaged), coded.entropy, symbols.shape, *tables), symbols)
        except StreamError:
            changed += 1
    assert changed >= 8 * len(coded.payload) - 8  # the last byte has room to spare


@pytest.mark.parametrize("entropy", ENTROPIES)
def test_a_payload_above_the_bound_is_refused_before_it_is_decoded(entropy: Entropy) -> None:
    room = packed_bytes(2 * 5 * 5, 5)
    with pytest.raises(StreamError, match=f"{room + 1} bytes where at most {room} can be"):
        decode(b"\1" * (room + 1), entropy, (2, 5, 5), SKEWED, CONTEXTS)


@pytest.mark.parametrize("entropy", ENTROPIES)
@pytest.mark.parametrize("size", [(1024, 1024), (2, 32768)], ids=str)
def test_an_empty_payload_for_a_large_latent_neither_hangs_nor_fails(entropy: Entropy, size: tuple[int, int]) -> None:
    start = time.process_time()
    symbols = decode(b"", entropy, (2, *size), SKEWED, CONTEXTS)
    assert symbols.shape == (2, *size)
    assert time.process_time() - start < 5


def test_fitted_tables_code_their_own_counts_best() -> None:
    symbols = drawn(SKEWED, (2, 30, 30), seed=3)
    own = fit_frequencies(count_symbols(symbols, 5))
    flat = fit_frequencies(np.ones((2, 5), np.int64))
    assert len(encode(symbols, own, None, "static").payload) < len(encode(symbols, flat, None, "static").payload)


def smooth(shape: tuple[int, int, int], seed: int = 0) -> Symbols:
    """Symbols below 5 that are mostly like their neighbours."""
    random = np.random.default_rng(seed)
    channels, h, w = shape
    coarse = random.integers(0, 5, (channels, h // 6 + 1, w // 6 + 1))
    blocks = coarse.repeat(6, 1).repeat(6, 2)[:, :h, :w]
    return np.where(random.random(shape) < 0.1, random.integers(0, 5, shape), blocks).astype(np.uint8)


def tables_of(symbols: Symbols) -> tuple[Frequencies, Contexts]:
    contexts = fit_contexts(count_contexts(symbols, 5))
    assert contexts is not None
    return fit_frequencies(count_symbols(symbols, 5)), contexts


@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_symbols_coded_by_context_come_back_at_any_positions(
    seed: int, channels: int, h: int, w: int, noisy: bool
) -> None:
    random = np.random.default_rng(seed)
    symbols = random.integers(0, 5, (channels, h, w)).astype(np.uint8) if noisy else smooth((channels, h, w), seed)
    frequencies, contexts = tables_of(smooth((channels, 20, 20), seed // 2))
    for positions in (None, random.random((h, w)) < 0.6, np.zeros((h, w), np.bool_)):
        expected = symbols if positions is None else np.where(positions, symbols, 2)
        count = symbols.size if positions is None else channels * int(positions.sum())
        coded = encode(symbols, frequencies, contexts, "context", positions)
        assert len(coded.payload) <= packed_bytes(count, 5)
        found = decode(coded.payload, coded.entropy, symbols.shape, frequencies, contexts, positions)
        assert np.array_equal(found, expected) and found.dtype == np.uint8


def test_neighbours_save_where_symbols_are_like_them() -> None:
    frequencies, contexts = tables_of(smooth((3, 60, 60), seed=1))
    symbols = smooth((3, 32, 48))
    context, static = (encode(symbols, frequencies, contexts, entropy) for entropy in ("context", "static"))
    assert context.entropy == "context"
    assert len(context.payload) < 0.7 * len(static.payload)


def test_context_is_within_two_bytes_of_the_ideal_code_length() -> None:
    frequencies, contexts = tables_of(smooth((2, 60, 60), seed=1))
    symbols = smooth((2, 24, 40))
    ideal = 0.0
    for channel, rows in zip(symbols.tolist(), contexts.tolist(), strict=True):
        for i, row in enumerate(channel):
            for j, symbol in enumerate(row):
                left, upper = row[j - 1] if j else 2, channel[i - 1][j] if i else 2
                ideal += 24 - np.log2(rows[5 * left + upper][symbol])
    written = len(encode(symbols, frequencies, contexts, "context").payload)
    assert ideal / 8 - 1 <= written <= ideal / 8 * 1.0005 + 2


def test_a_model_without_tables_by_context_codes_static_and_refuses_what_another_one_coded() -> None:
    symbols = smooth((2, 20, 20))
    frequencies, contexts = tables_of(symbols)
    assert encode(symbols, frequencies, None, "context") == encode(symbols, frequencies, None, "static")
    coded = encode(symbols, frequencies, contexts, "context")
    with pytest.raises(StreamError, match="coded by context, and its model has no tables for that"):
        decode(coded.payload, coded.entropy, symbols.shape, frequencies)


def test_no_payload_by_context_is_smaller_than_its_least_nor_much_larger() -> None:
    for seed in range(20):
        symbols = smooth((6, 19, 31), seed)
        frequencies, contexts = tables_of(smooth((6, 40, 40), seed + 50))
        least = least_payloads(symbols, frequencies, contexts, "context")
        for count in range(1, 7):
            coded = encode(symbols[:count], frequencies[:count], contexts[:count], "context")
            assert coded.entropy == "raw" or len(coded.payload) - 10 <= least[count - 1]
            assert least[count - 1] <= len(coded.payload)


@given(st.binary(max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_any_payload_by_context_gives_symbols_or_a_refusal(payload: bytes, h: int, w: int) -> None:
    frequencies, contexts = tables_of(smooth((2, 40, 40)))
    try:
        symbols = decode(payload, "context", (2, h, w), frequencies, contexts)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert symbols.shape == (2, h, w) and symbols.max() < 5


def test_contexts_add_up_to_the_symbols_and_rare_ones_follow_the_channel() -> None:
    symbols = np.minimum(smooth((2, 30, 30)), 3)
    counts = count_contexts(symbols, 5)
    assert np.array_equal(counts.sum(1), count_symbols(symbols, 5))
    contexts = fit_contexts(counts)
    assert contexts is not None
    unseen = np.argwhere(counts.sum(2) == 0)
    assert len(unseen)
    for channel, context in unseen:
        expected = fit_frequencies(counts[channel].sum(0)[None])[0]
        assert np.abs(contexts[channel, context] - expected).max() <= 5
    assert fit_contexts(np.ones((1, 81, 9), np.int64)) is None
