"""The context network: the same in whole numbers as in training, and exact."""

import dataclasses
from fractions import Fraction
from math import e

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gencomp.codec.context import ContextModel, frequencies
from gencomp.models.context import EXPONENTIALS, ContextNetwork, ContextWeights
from tests.models.context_networks import random_network


@given(st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(2, 8), st.integers(1, 9), st.integers(1, 9))
def test_whole_numbers_say_what_was_trained(seed: int, channels: int, levels: int, h: int, w: int) -> None:
    random = np.random.default_rng(seed)
    network = random_network(channels, levels, seed)
    coded = random.random((h, w)) < 0.7
    symbols = random.integers(0, levels, (channels, h, w)).astype(np.uint8)
    with torch.no_grad():
        logits = network(torch.from_numpy(symbols.astype(np.int64))[None], torch.from_numpy(coded)[None, None])[0]
    y = (64 * logits).floor().numpy()  # (C, L, h, w)
    model = ContextModel(network.weights())
    for channel in range(channels):
        expected = frequencies(y[channel][:, coded].T)
        assert np.array_equal(model.rows(symbols, coded, channel), expected)


def test_a_network_comes_back_from_its_whole_numbers() -> None:
    network = random_network(5, 5, seed=3)
    weights = network.weights()
    again = ContextNetwork.from_weights(weights).weights()
    for name in ("own", "before", "seen", "middle", "last"):
        assert np.array_equal(getattr(again, name), getattr(weights, name))
    assert all(np.array_equal(a, b) for a, b in zip(again.biases, weights.biases, strict=True))
    assert weights.hidden == (12, 6)


def test_the_first_channels_are_the_same_to_a_smaller_network() -> None:
    random = np.random.default_rng(0)
    symbols = random.integers(0, 5, (9, 6, 7)).astype(np.uint8)
    coded = np.ones((6, 7), np.bool_)
    model = ContextModel(random_network(9, 5, seed=4).weights())
    for channels in (1, 4, 8):
        for channel in range(channels):
            few = model.first(channels).rows(symbols[:channels], coded, channel)
            assert np.array_equal(few, model.rows(symbols, coded, channel))


def test_an_untrained_network_takes_all_centers_for_as_likely() -> None:
    network = ContextNetwork(2, 5, (4, 4))
    network.initialise(torch.Generator().manual_seed(0))
    logits = network(torch.zeros(1, 2, 3, 3, dtype=torch.int64), torch.ones(1, 1, 3, 3, dtype=torch.bool))
    assert logits.shape == (1, 2, 5, 3, 3)
    assert not logits.any()


def changed(weights: ContextWeights, value: int) -> ContextWeights:
    return dataclasses.replace(weights, middle=np.full_like(weights.middle, value))


def test_weights_whose_sums_reach_two_to_the_24_are_not_exact() -> None:
    weights = dataclasses.replace(
        random_network(2, 5, 0, (64, 8)).weights(), biases=(np.zeros((2, 64), np.int32),) * 1 + (
            np.zeros((2, 8), np.int32), np.zeros((2, 5), np.int32))
    )  # fmt: skip
    most = (2**24 - 1) // (255 * 64)
    assert changed(weights, most).is_exact()
    assert not changed(weights, most + 1).is_exact()
    assert not changed(weights, -most - 1).is_exact()


def test_exponentials_are_rounded_down_and_end_with_zero() -> None:
    assert EXPONENTIALS[0] == 2**16 and EXPONENTIALS[64] == int(2**16 / Fraction(e)) and EXPONENTIALS[-1] == 0
    assert (np.diff(EXPONENTIALS) <= 0).all() and (EXPONENTIALS[:-1] > 0).all()
    assert np.abs(EXPONENTIALS - 2**16 * np.exp(-np.arange(len(EXPONENTIALS)) / 64)).max() <= 1


def test_more_levels_than_tables_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 8 levels"):
        ContextNetwork(2, 9, (4, 4))


def test_frequencies_add_up_and_none_is_zero() -> None:
    rows = frequencies(np.array([[0, 0, 0, 0, 0], [100000, -100000, 0, 5, 100000], [3, 2, 1, 0, -1]], np.float32))
    assert (rows.sum(1) == 2**24).all() and rows.min() == 1
    assert rows[1].tolist() == [2**23 - 2 + 1, 1, 1, 1, 2**23 - 2]
    assert (np.diff(rows[2]) < 0).all()
