"""Coding by the context network: a decoder finds what an encoder had, wherever symbols are, and nothing depends on the
machine."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from torch._dynamo.backends.registry import lookup_backend

from gencomp.codec import context
from gencomp.codec.codec import Codec
from gencomp.codec.coder import Symbols, decode, encode
from gencomp.codec.container import StreamError, packed_bytes, parse
from gencomp.codec.context import Coding, ContextModel, wave_order
from gencomp.models.context import AROUND, OWN
from gencomp.models.entropy import count_symbols, fit_frequencies
from tests.models.context_networks import random_network


def model_of(channels: int, levels: int = 5, seed: int = 0, hidden: tuple[int, int] = (12, 6)) -> ContextModel:
    return ContextModel(random_network(channels, levels, seed, hidden).weights())


def likely_symbols(model: ContextModel, coded: np.ndarray, seed: int) -> Symbols:
    """Symbols drawn from the network's own frequencies, L // 2 where none is coded."""
    random = np.random.default_rng(seed)
    symbols = np.full((model.channels, *coded.shape), model.levels // 2, np.uint8)
    for channel in range(model.channels):
        for i, j in np.argwhere(coded):
            here = np.zeros_like(coded)
            here[i, j] = True
            row = model.rows(symbols, coded, channel)[np.flatnonzero(here[coded])[0]]
            symbols[channel, i, j] = random.choice(model.levels, p=row / row.sum())
    return symbols


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 16),
    st.integers(2, 8),
    st.integers(1, 13),
    st.integers(1, 13),
    st.sampled_from([0, 0.5, 1]),
)
def test_symbols_come_back_at_any_positions(
    seed: int, channels: int, levels: int, h: int, w: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    model = model_of(channels, levels, seed)
    coded = random.random((h, w)) < share
    symbols = np.where(coded, random.integers(0, levels, (channels, h, w)), levels // 2).astype(np.uint8)
    frequencies = fit_frequencies(count_symbols(symbols, levels))
    found = encode(symbols, frequencies, None, "context", coded, Coding(model, symbols, coded))
    assert len(found.payload) <= packed_bytes(channels * int(coded.sum()), levels)
    again = decode(found.payload, found.entropy, symbols.shape, frequencies, None, coded, model)
    assert np.array_equal(again, symbols) and again.dtype == np.uint8


def test_what_the_network_expects_costs_what_it_says() -> None:
    model = model_of(3, seed=5, hidden=(16, 8))
    coded = np.ones((9, 14), np.bool_)
    symbols = likely_symbols(model, coded, seed=1)
    flat = np.full((3, 5), 2**24 // 5)
    flat[:, 0] += 2**24 - flat.sum(1)
    coding = Coding(model, symbols)
    found = encode(symbols, flat, None, "context", None, coding)
    assert found.entropy == "context"
    assert coding.bits(3) / 8 - 1 <= len(found.payload) <= coding.bits(3) / 8 * 1.01 + 5
    assert [coding.bits(count) for count in range(4)] == sorted(coding.bits(count) for count in range(4))


def test_every_symbol_comes_after_what_its_frequencies_depend_on() -> None:
    channels, h, w = 4, 7, 9
    coded = np.random.default_rng(2).random((h, w)) < 0.8
    places = [(c, i, j) for c in range(channels) for i, j in np.argwhere(coded).tolist()]
    order = wave_order(channels, coded)
    rank = {places[place]: when for when, place in enumerate(order.tolist())}
    assert sorted(order.tolist()) == list(range(len(places)))
    for c, i, j in places:
        needed = [(c, i + dy, j + dx) for dy, dx in OWN]
        needed += [(before, i + dy, j + dx) for before in range(c) for dy, dx in AROUND]
        assert all(rank[place] < rank[c, i, j] for place in needed if place in rank)


def test_frequencies_depend_on_earlier_symbols_alone() -> None:
    model = model_of(3, seed=7)
    coded = np.ones((6, 8), np.bool_)
    random = np.random.default_rng(3)
    symbols = random.integers(0, 5, (3, 6, 8)).astype(np.uint8)
    order = wave_order(3, coded)
    rank = np.empty(symbols.size, int)
    rank[order] = np.arange(symbols.size)
    rows = np.concatenate([model.rows(symbols, coded, c) for c in range(3)])
    for place in range(0, symbols.size, 5):
        other = symbols.copy().reshape(-1)
        other[place] = (other[place] + 2) % 5
        changed = np.concatenate([model.rows(other.reshape(symbols.shape), coded, c) for c in range(3)])
        differing = np.flatnonzero((changed != rows).any(1))
        assert (rank[differing] > rank[place]).all()


def test_bands_are_no_part_of_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(3, seed=8)
    random = np.random.default_rng(4)
    symbols, coded = random.integers(0, 5, (3, 11, 6)).astype(np.uint8), random.random((11, 6)) < 0.7
    whole = model.rows(symbols, coded, 2)
    for positions in (1, 13, 30):
        monkeypatch.setattr(context, "BAND_POSITIONS", positions)
        assert np.array_equal(model.rows(symbols, coded, 2), whole)


@given(st.binary(max_size=40), st.integers(1, 7), st.integers(1, 7))
def test_any_payload_gives_symbols_or_a_refusal(payload: bytes, h: int, w: int) -> None:
    frequencies = np.full((2, 5), 2**24 // 5)
    try:
        symbols = decode(payload, "context", (2, h, w), frequencies, None, None, model_of(2))
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert symbols.shape == (2, h, w) and symbols.max() < 5


GOLDEN = {
    "frequencies": "a6ff21e16efdcb705eeb3e6bcb796a2ab1e38cff4c25d56f77cf0e4edcd4e31f",
    "symbols": "c49e2324ee2c1a3df9ddc88e8e8a3267ffea43fbdf15a29a722827e6c3f4b602",
    "payload": "07f641cb7bd5e061b30f6d3296319d04cb7215263ca9d5dc359c35c4058731af",
}
"""Of symbols and frequencies in coding order; of symbols drawn by the frequencies that a wave decoder finds; and of the
payload that these are coded in, which it decodes to them."""
PROGRAM = """
import hashlib, json, numpy as np
from tests.codec.test_context import model_of
from gencomp.codec.coder import decode, encode
from gencomp.codec.context import Coding

def digest(*arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()

model, random = model_of(16, hidden=(64, 32)), np.random.default_rng(1)
symbols = random.integers(0, 5, (16, 40, 60)).astype(np.uint8)
found = {"frequencies": digest(*Coding(model, symbols).message(16))}

class Dice:
    def decode(self, kind, rows):
        sums = rows.astype(np.int64).cumsum(1)
        return (sums <= random.integers(0, sums[:, -1:])).sum(1).astype(np.int32)

model.decode(Dice(), symbols, np.ones(symbols.shape[1:], np.bool_))
flat = np.full((16, 5), 2**24 // 5) + [1, 0, 0, 0, 0]
coded = encode(symbols, flat, None, "context", None, Coding(model, symbols))
assert coded.entropy == "context"
assert np.array_equal(decode(coded.payload, "context", symbols.shape, flat, model=model), symbols)
print(json.dumps(found | {"symbols": digest(symbols), "payload": digest(np.frombuffer(coded.payload, np.uint8))}))
"""


@pytest.mark.parametrize("kernel", ["", "Haswell", "Sandybridge"])
def test_coding_and_decoding_are_the_same_with_any_number_of_threads_and_any_kernels(kernel: str) -> None:
    for threads in ("2",) if kernel else ("1", "2"):
        environment = os.environ | {"OPENBLAS_NUM_THREADS": threads} | ({"OPENBLAS_CORETYPE": kernel} if kernel else {})
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == GOLDEN


@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        "aot_eager",
        pytest.param(
            "inductor", marks=[pytest.mark.slow, pytest.mark.skipif(not shutil.which("g++"), reason="no g++")]
        ),
    ],
)
@pytest.mark.timeout(1800)  # of which the compiler may take most
def test_compiled_networks_code_and_decode_the_same_symbols(backend: str) -> None:
    """The coder is numpy alone: whatever becomes of E and G, no arithmetic of torch takes part in it."""
    eager, compiled = (Codec.from_reference("light") for _ in range(2))
    graphs: list[object] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return lookup_backend(backend)(graph, inputs)

    for network in (compiled.package.encoder, compiled.package.generator):
        network.compile(backend=counting)
    image, channels = Image.fromarray(np.ascontiguousarray(data.astronaut()[40:152, 150:310])), 8
    stream = eager.compress(image, channels=channels)
    header, payload = parse(stream)
    assert header.entropy == "context"
    symbols = compiled.decode_symbols(stream)
    assert np.array_equal(symbols, eager.decode_symbols(stream))
    package = compiled.package
    assert package.network is not None
    coding = Coding(ContextModel(package.network), symbols)
    again = encode(symbols, package.frequencies[:channels], None, "context", None, coding)
    assert (again.entropy, again.payload) == (header.entropy, payload)
    assert graphs == []
    decoded = np.asarray(compiled.decompress(stream)).astype(int)
    assert np.abs(decoded - np.asarray(eager.decompress(stream))).max() <= 1
    assert (compiled.symbols(image)[:channels] != symbols).mean() < 1e-3
    assert len(graphs) >= 2  # so both were compiled
