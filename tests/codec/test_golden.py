"""Streams that must decode to the same symbols for ever, and a decoder of its own that knows only the format.

A change of any byte here is a change of the format: it needs a new format version.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import constriction
import numpy as np
import pytest
from codec.conftest import SMALL_LIGHT, scene, small_package
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.coder import decode, encode
from gencomp.codec.conformance import Vector, read_vectors
from gencomp.codec.container import Header, pack, parse
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.side import pack_side
from gencomp.codec.tables import CONTEXT_MODEL
from gencomp.models.compressor import ModelConfig
from gencomp.models.context import ContextWeights
from gencomp.models.entropy import fit_contexts, fit_frequencies
from gencomp.models.package import load_package
from gencomp.references import SHIPPED_MODELS, shipped
from tests.codec.plain import (
    PlainNetwork,
    PlainPackage,
    plain_by_network,
    plain_context,
    plain_decode,
    plain_header,
    plain_package,
    plain_stream,
)
from tests.models.context_networks import random_network

GOLDEN = Path(__file__).parent / "golden"
PACKAGE_FILES = ("config.json", "tables.json", "model.safetensors")


class Golden(NamedTuple):
    name: str
    stream: bytes
    shape: tuple[int, int, int]
    frequencies: list[list[int]]
    symbols: list[int]


def golden_streams() -> list[Golden]:
    rows = json.loads((GOLDEN / "streams.json").read_text())
    return [
        Golden(row["name"], bytes.fromhex(row["stream"]), tuple(row["shape"]), row["frequencies"], row["symbols"])
        for row in rows
    ]


def plain_network(weights: ContextWeights) -> PlainNetwork:
    names = ("own", "before", "seen", "middle", "last")
    return PlainNetwork(*(getattr(weights, name).tolist() for name in names), *(b.tolist() for b in weights.biases))


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4), st.sampled_from([0.4, 1]))
@settings(max_examples=25)
def test_the_plain_decoder_reads_whatever_a_context_network_codes(
    seed: int, levels: int, channels: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    weights = random_network(channels, levels, seed, (5, 4)).weights()
    h, w = random.integers(1, 9, 2)
    positions = random.random((h, w)) < share
    symbols = np.where(positions, random.integers(0, levels, (channels, h, w)), levels // 2).astype(np.uint8)
    values, rows = Coding(ContextModel(weights), symbols, positions).message(channels)
    encoder = constriction.stream.queue.RangeEncoder()
    if values.size:
        encoder.encode(values, CONTEXT_MODEL, rows)
    coded = {(i, j) for i, j in np.argwhere(positions).tolist()}
    payload = encoder.get_compressed().astype(">u4").tobytes()
    assert plain_by_network(payload, symbols.shape, plain_network(weights), coded) == symbols.reshape(-1).tolist()


@pytest.mark.parametrize("golden", golden_streams(), ids=lambda golden: golden.name)
class TestGoldenStreams:
    def test_the_plain_decoder_finds_the_symbols(self, golden: Golden) -> None:
        assert plain_decode(golden.stream, golden.frequencies) == golden.symbols

    def test_the_codec_finds_the_symbols(self, golden: Golden) -> None:
        header, payload = parse(golden.stream)
        symbols = decode(payload, header.entropy, golden.shape, np.array(golden.frequencies))
        assert symbols.reshape(-1).tolist() == golden.symbols

    def test_the_encoder_writes_the_same_bytes(self, golden: Golden) -> None:
        header, _ = parse(golden.stream)
        symbols = np.array(golden.symbols, np.uint8).reshape(golden.shape)
        entropy, payload = encode(symbols, np.array(golden.frequencies), None, header.entropy)
        written = Header(
            header.width, header.height, header.channels, entropy, b"\x9c\x1a\x05\xff", version=header.version
        )
        assert pack(written, payload) == golden.stream


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(1, 5), st.integers(1, 2_000_000))
def test_the_plain_decoder_reads_whatever_the_encoder_writes(seed: int, levels: int, channels: int, skew: int) -> None:
    random = np.random.default_rng(seed)
    frequencies = fit_frequencies(np.maximum(1, skew * random.random((channels, levels)) ** 8).astype(np.int64))
    shape = (channels, int(random.integers(2, 8)), int(random.integers(2, 8)))
    choices = [random.choice(levels, size=shape[1:], p=row / row.sum()) for row in frequencies]
    symbols = np.stack(choices).astype(np.uint8)
    entropy, payload = encode(symbols, frequencies, None, "static")
    stream = pack(Header(16 * shape[2], 16 * shape[1], channels, entropy, b"abcd"), payload)
    assert plain_decode(stream, frequencies.tolist()) == symbols.reshape(-1).tolist()


def test_the_golden_stream_by_context_has_its_symbols_and_its_bytes() -> None:
    golden = json.loads((GOLDEN / "context.json").read_text())
    stream, shape = bytes.fromhex(golden["stream"]), tuple(golden["shape"])
    frequencies, contexts = np.array(golden["frequencies"]), np.array(golden["contexts"])
    header, payload = parse(stream)
    assert header.entropy == "context"
    everywhere = [(i, j) for i in range(7) for j in range(10)]
    assert plain_context(payload, shape, golden["contexts"], everywhere) == golden["symbols"]
    symbols = decode(payload, "context", shape, frequencies, contexts)
    assert symbols.reshape(-1).tolist() == golden["symbols"]
    assert pack(header, encode(symbols, frequencies, contexts, "context").payload) == stream


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4), st.sampled_from([0.3, 1]))
def test_the_plain_decoder_reads_whatever_is_coded_by_context(
    seed: int, levels: int, channels: int, share: float
) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 9, (channels, levels**2, levels))
    counts[:, np.arange(levels**2), np.arange(levels**2) // levels] += 1000  # most symbols are their left neighbours
    frequencies, contexts = fit_frequencies(counts.sum(1)), fit_contexts(counts)
    assert contexts is not None
    h, w = random.integers(8, 16, 2)
    positions = random.random((h, w)) < share
    rows = random.integers(0, levels, (channels, h, 1)).repeat(w, 2)
    symbols = np.where(positions, rows, levels // 2).astype(np.uint8)
    entropy, payload = encode(symbols, frequencies, contexts, "context", positions)
    assume(entropy == "context")  # a few symbols of two levels may be shorter in another way
    coded = {(i, j) for i, j in np.argwhere(positions).tolist()}
    assert plain_context(payload, symbols.shape, contexts.tolist(), coded) == symbols.reshape(-1).tolist()


@pytest.mark.parametrize("channels", range(1, 17))
def test_the_golden_streams_of_a_nested_model_give_the_first_channels(channels: int) -> None:
    """Of a package in half precision, whose fingerprint the streams carry."""
    golden = json.loads((GOLDEN / "nested" / "streams.json").read_text())
    tables = json.loads((GOLDEN / "nested" / "package" / "tables.json").read_text())["static"]
    stream = bytes.fromhex(golden["streams"][channels - 1])
    codec = Codec.from_package(load_package(GOLDEN / "nested" / "package"))
    expected = np.array(golden["symbols"][:channels])
    assert expected.shape == (channels, 7, 10)
    assert plain_decode(stream, tables[:channels]) == expected.reshape(-1).tolist()
    assert np.array_equal(codec.decode_symbols(stream), expected)
    assert codec.decompress(stream).size == (150, 97)


def test_the_golden_picture_decodes_as_it_did() -> None:
    codec = Codec.from_package(load_package(GOLDEN / "package"))
    decoded = np.asarray(codec.decompress((GOLDEN / "scene.gnc").read_bytes())).astype(int)
    with Image.open(GOLDEN / "scene.png") as image:
        expected = np.asarray(image).astype(int)
    assert decoded.shape == expected.shape == (97, 150, 3)
    assert np.abs(decoded - expected).max() <= 1


def test_the_golden_picture_has_the_symbols_that_its_package_and_bytes_say() -> None:
    stream = (GOLDEN / "scene.gnc").read_bytes()
    tables = json.loads((GOLDEN / "package" / "tables.json").read_text())["static"]
    symbols = Codec.from_package(load_package(GOLDEN / "package")).decode_symbols(stream)
    assert symbols.shape == (4, 7, 10)
    assert plain_decode(stream, tables) == symbols.reshape(-1).tolist()
    assert set(symbols.reshape(-1).tolist()) == {0, 1, 2, 3, 4}


class Pinned(NamedTuple):
    """A stream, and SHA-256 of what it decodes to, one byte each."""

    name: str
    model: str
    stream: str
    symbols: str
    labels: str = ""
    edges: str = ""
    mask: str = ""

    @property
    def data(self) -> bytes:
        return bytes.fromhex(self.stream)


def pinned(version: int) -> list[Pinned]:
    """GC by light-3 and a nested model, and SC: 72 x 56 pixels with every kind of mask and edges, two tiles, noise."""
    return [Pinned(**row) for row in json.loads((GOLDEN / f"version-{version}.json").read_text())]


def folder_of(model: str) -> Path:
    return SHIPPED_MODELS / model if model.startswith("light") else GOLDEN / model / "package"


@pytest.fixture(scope="module")
def codecs() -> dict[str, Codec]:
    return {model: Codec.from_package(load_package(folder_of(model))) for model in ("light-3", "nested", "selective")}


def digest(values: object, kind: type[np.generic] = np.uint8) -> str:
    return hashlib.sha256(np.asarray(values, kind).tobytes()).hexdigest()


@cache
def package_of(folder: Path) -> PlainPackage:
    return plain_package(*((folder / name).read_bytes() for name in PACKAGE_FILES))


@pytest.mark.parametrize("golden", [*pinned(0), *pinned(1)], ids=lambda golden: golden.name)
class TestStreamsOfBothVersions:
    def test_the_codec_finds_what_is_in_them(self, golden: Pinned, codecs: dict[str, Codec]) -> None:
        codec = codecs[golden.model]
        assert digest(codec.decode_symbols(golden.data)) == golden.symbols
        if golden.labels:
            side = codec.decode_side(golden.data)
            assert [digest(one) for one in side] == [golden.labels, golden.edges, golden.mask]
        header, _ = parse(golden.data)
        assert codec.decompress(golden.data).size == (header.width, header.height)

    def test_the_plain_decoder_finds_the_same(self, golden: Pinned) -> None:
        found = plain_stream(golden.data, package_of(folder_of(golden.model)))
        assert digest(found.symbols) == golden.symbols
        assert bool(found.side) == bool(golden.labels)
        if found.side:
            assert [digest(one) for one in found.side] == [golden.labels, golden.edges, golden.mask]


@pytest.mark.parametrize("golden", [one for one in pinned(1) if one.labels], ids=lambda golden: golden.name)
def test_side_information_is_written_in_the_same_bytes(golden: Pinned, codecs: dict[str, Codec]) -> None:
    assert pack_side(codecs["selective"].decode_side(golden.data)) == parse(golden.data).parts.side


def test_the_pinned_streams_are_of_their_versions_modes_and_coders() -> None:
    found = [{plain_header(golden.data)[:2] for golden in pinned(version)} for version in (0, 1)]
    assert found == [{(version, entropy) for entropy in range(3)} for version in (0, 1)]
    assert {plain_header(golden.data).selective for golden in pinned(1)} == {False, True}


def test_what_version_0_held_takes_less_in_version_1() -> None:
    for before, after in zip(pinned(0), pinned(1), strict=False):
        assert before[3:] == after[3:] and len(after.data) < len(before.data)


@pytest.mark.parametrize(
    ("name", "entropy"),
    [("light-1", 2), ("light-2", 0), pytest.param("light-3", 2, marks=pytest.mark.slow), ("light-4", 2)],
)
def test_the_plain_decoder_finds_the_symbols_of_a_photograph(name: str, entropy: int) -> None:
    """By the tables of light-1, raw, and by the networks of those that came later."""
    stream = (GOLDEN / name / "coffee.gnc").read_bytes()
    package = package_of(SHIPPED_MODELS / name)
    assert plain_header(stream).entropy == entropy
    assert (package.network is None) == (name in ("light-1", "light-2"))
    found = plain_stream(stream, package).symbols
    assert found == Codec.from_reference(name).decode_symbols(stream).reshape(-1).tolist()


def named(one: Vector) -> str:
    header = plain_header(one.data)
    return f"{one.model}-{header.width}x{header.height}-{header.channels}-version-{header.version}"


def weighed(one: Vector) -> object:
    """Two seconds and more of plain Python are for the slow suite, but of the newest model."""
    header = plain_header(one.data)
    heavy = header.entropy == 2 and header.channels == 16 and one.model == "light-3"
    return pytest.param(one, marks=pytest.mark.slow if heavy else ())


@pytest.mark.parametrize("one", map(weighed, read_vectors()), ids=named)
def test_the_plain_decoder_finds_the_symbols_of_the_shipped_vectors(one: Vector) -> None:
    assert digest(plain_stream(one.data, package_of(SHIPPED_MODELS / one.model)).symbols) == one.symbols


@pytest.mark.parametrize(
    "folder",
    [*shipped(), GOLDEN / "package", GOLDEN / "nested" / "package", GOLDEN / "selective" / "package"],
    ids=lambda folder: f"{folder.parent.name}-{folder.name}",
)
def test_the_plain_decoder_reads_packages_as_the_codec_does(folder: Path) -> None:
    found, package = package_of(folder), load_package(folder)
    config = package.config
    assert found.fingerprint == package.fingerprint
    assert (found.padding, found.stride, found.classes) == (config.stride, config.latent_stride, config.classes)
    assert found.static == package.frequencies.tolist()
    assert (found.contexts is None) == (package.contexts is None)
    assert (found.network is None) == (package.network is None)
    assert found.channels == range(1 if config.nested else config.channels, config.channels + 1)


LAID_OUT = (
    (ModelConfig(width=2, blocks=0, channels=2, downsamplings=5), 64),
    (ModelConfig(width=2, blocks=0, channels=2, downsamplings=6), 128),
    (ModelConfig(width=4, blocks=0, channels=3, downsamplings=1, nested=True), 32),
    (ModelConfig(width=2, blocks=0, channels=2, downsamplings=5, mode="sc", classes=4), 64),
    (ModelConfig(downsamplings=5, channels=1, light=SMALL_LIGHT.light), 32),
    (ModelConfig(channels=2, mode="sc", classes=300, light=SMALL_LIGHT.light), 32),
)
"""Models, and the side that pictures of a pixel are padded to."""


@pytest.mark.parametrize(("config", "least"), LAID_OUT, ids=["32", "64", "nested", "sc", "light", "light-sc"])
@pytest.mark.parametrize("size", [(1, 1), (65, 33)], ids=str)
def test_the_plain_decoder_knows_how_every_model_lays_out_its_latent(
    config: ModelConfig, least: int, size: tuple[int, int], tmp_path: Path
) -> None:
    codec = Codec.from_package(small_package(tmp_path, config, seed=1))
    maps = {"labels": np.zeros(size[::-1], np.uint8), "preserve": "all"} if config.mode == "sc" else {}
    for entropy in ("raw", "context"):
        stream = codec.compress(scene(*size), entropy=entropy, **maps)
        expected = codec.decode_symbols(stream)
        assert plain_stream(stream, package_of(tmp_path)).symbols == expected.reshape(-1).tolist()
        if size == (1, 1):
            assert expected.shape[1:] == (least // config.latent_stride,) * 2
