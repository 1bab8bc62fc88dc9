"""Learning symbols: what can be told from neighbours is found, and the same run gives the same network."""

import numpy as np
import pytest
import torch

from gencomp.codec.context import Coding, ContextModel
from gencomp.models.context import ContextNetwork
from gencomp.training.context import ContextConfig, batch_of, cost, drawn_batch, fit_context
from gencomp.training.tables import Symbols


def striped(seed: int, h: int = 12, w: int = 16) -> Symbols:
    """Two channels: rows of one symbol each, and their opposites."""
    first = np.random.default_rng(seed).integers(0, 5, (h, 1)).repeat(w, 1)
    return np.stack([first, 4 - first]).astype(np.uint8)


LATENTS = [striped(seed, h=8 + seed % 5) for seed in range(40)]
CONFIG = ContextConfig(steps=250, batch=4, learning_rate=1e-2, hidden=(16, 8))


def test_what_neighbours_and_channels_tell_is_learned() -> None:
    told: list[tuple[int, float]] = []
    network = fit_context(LATENTS, 5, CONFIG, seed=1, observe=lambda step, bits: told.append((step, bits)))
    symbols = striped(1000)
    coding = Coding(ContextModel(network.weights()), symbols)
    per_symbol = coding.bits(1) / symbols[0].size, (coding.bits(2) - coding.bits(1)) / symbols[0].size
    assert per_symbol[0] < 0.4  # log2(5) / 16 = 0.145 is there to be had: a row's first symbol
    assert per_symbol[1] < 0.25
    assert told[0][1] > 2 and told[-1][0] == CONFIG.steps and told[-1][1] < 0.4


def test_the_same_seed_gives_the_same_network_and_another_one_another() -> None:
    config = ContextConfig(steps=3, batch=2, hidden=(4, 4))
    networks = [fit_context(LATENTS, 5, config, seed).weights() for seed in (1, 1, 2)]
    assert np.array_equal(networks[0].own, networks[1].own)
    assert not np.array_equal(networks[0].own, networks[2].own)


def test_it_goes_on_from_a_network_that_is_given() -> None:
    network = fit_context(LATENTS, 5, CONFIG, seed=1)
    first: list[float] = []
    again = ContextConfig(steps=20, batch=4, learning_rate=1e-4, hidden=(16, 8))
    start = ContextNetwork.from_weights(network.weights())
    fit_context(LATENTS, 5, again, seed=3, start=start, observe=lambda _, bits: first.append(bits))
    assert first[0] < 0.4


def test_latents_of_several_sizes_lie_side_by_side() -> None:
    batch = batch_of([striped(0, 3, 4), striped(1, 5, 2)])
    assert batch.symbols.shape == (2, 2, 5, 4)
    assert batch.coded.sum((1, 2, 3)).tolist() == [12, 10]
    assert np.array_equal(batch.symbols[1, :, :5, :2].numpy(), striped(1, 5, 2))


def test_of_selective_compression_half_the_latents_are_coded_in_a_box_alone() -> None:
    random = np.random.default_rng(0)
    shares = []
    for _ in range(60):
        batch = drawn_batch([striped(0, 10, 10)], 1, random, masked=True)
        i, j = np.nonzero(batch.coded[0, 0].numpy())
        assert len(i) == (np.ptp(i) + 1) * (np.ptp(j) + 1) if len(i) else True
        shares.append(len(i) / 100)
        assert torch.isfinite(cost(ContextNetwork(2, 5, (2, 2)), batch))
    assert 0.3 < np.mean([share == 1 for share in shares]) < 0.7
    assert min(shares) < 0.2


@pytest.mark.parametrize("side", [39, 40, 41, 100])
def test_of_large_latents_a_window_is_enough(side: int) -> None:
    fit_context([striped(0, side, side)], 5, ContextConfig(steps=1, batch=1, hidden=(2, 2)), seed=0)
