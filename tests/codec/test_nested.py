"""Nested models: any first channels of the latent are coded, the most of them that keep a limit."""

import binascii
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from codec.conftest import fitted
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.codec.container import ENTROPIES, Entropy, StreamError, describe, pack, parse
from gencomp.codec.rate import DEFAULT_MAX_BPP, RateError
from gencomp.models.latent import draw_noise
from gencomp.models.package import Package

CHANNELS = range(1, 17)
PICTURES = ("textured", "white", "black", "ramp")


@pytest.fixture(scope="module")
def codec(nested_package: Package) -> Codec:
    return Codec.from_package(nested_package)


@pytest.fixture(scope="module", params=["tables", "network"])
def context_codec(request: pytest.FixtureRequest, codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Of either kind of context coding, which is at its best with the textured picture."""
    symbols = codec.symbols(drawn("textured"))
    return Codec.from_package(fitted(tmp_path_factory.mktemp("context"), codec.package, symbols, request.param))


@pytest.fixture(scope="module")
def plain_codec(package: Package) -> Codec:
    """The codec of a model that is not nested, of four channels."""
    return Codec.from_package(package)


@pytest.fixture(scope="module")
def paper_codec(nested_paper_package: Package) -> Codec:
    """The codec of a nested model of the paper's networks, of one to three channels."""
    return Codec.from_package(nested_paper_package)


@cache
def drawn(kind: str, width: int = 150, height: int = 97) -> Image.Image:
    if kind in ("white", "black"):
        return Image.new("RGB", (width, height), kind)
    if kind == "ramp":
        return Image.linear_gradient("L").resize((width, height))
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def most_channels(sizes: list[int], limit: float) -> int:
    """The largest C whose size, the C-th, is within the limit; 0 where none is."""
    return max((count for count, size in enumerate(sizes, 1) if size <= limit), default=0)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("entropy", ENTROPIES)
def test_the_first_channels_come_back_whatever_their_number(codec: Codec, channels: int, entropy: Entropy) -> None:
    image = drawn("textured")
    stream = codec.compress(image, channels=channels, entropy=entropy)
    assert describe(stream).channels == channels
    assert np.array_equal(codec.decode_symbols(stream), codec.symbols(image)[:channels])
    assert codec.decompress(stream).size == image.size


@pytest.mark.parametrize("channels", [1, 7, 16])
def test_decompression_fills_the_channels_that_were_not_coded(codec: Codec, channels: int) -> None:
    image, compressor = drawn("textured", 64, 48), codec.package.compressor
    with torch.inference_mode():
        symbols = torch.from_numpy(codec.symbols(image)).long()[None]
        x_hat = compressor.G(compressor.q.values(symbols), torch.tensor([channels]))[0]
    expected = ((x_hat + 1) / 2 * 255).permute(1, 2, 0).numpy()
    decoded = np.asarray(codec.decompress(codec.compress(image, channels=channels)))
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("entropy", ENTROPIES)
def test_a_limit_in_bytes_takes_the_most_channels_that_fit(context_codec: Codec, kind: str, entropy: Entropy) -> None:
    image = drawn(kind)
    sizes = [len(context_codec.compress(image, channels=count, entropy=entropy)) for count in CHANNELS]
    limits = {size + change for size in sizes for change in (-1, 0, 1)}
    for limit in sorted(limits | {10**9}):
        if expected := most_channels(sizes, limit):
            stream = context_codec.compress(image, max_bytes=limit, entropy=entropy)
            if describe(stream).channels == expected:
                assert stream == context_codec.compress(image, channels=expected, entropy=entropy)
            else:  # one more, thinned
                assert describe(stream).channels == expected + 1
                assert sizes[expected - 1] <= len(stream) <= limit < sizes[expected]
        else:
            with pytest.raises(RateError, match=f"it takes at least {min(sizes)} bytes"):
                context_codec.compress(image, max_bytes=limit, entropy=entropy)


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.01, 3), st.sampled_from(PICTURES))
def test_a_limit_in_bits_per_pixel_takes_the_most_channels_that_fit(
    context_codec: Codec, width: int, height: int, max_bpp: float, kind: str
) -> None:
    image = drawn(kind, width, height)
    try:
        stream = context_codec.compress(image, max_bpp=max_bpp)
    except RateError:
        counts, channels = CHANNELS, 0
    else:
        assert describe(stream).bpp <= max_bpp
        channels = describe(stream).channels
        whole = context_codec.compress(image, channels=channels)
        if describe(whole).bpp > max_bpp:  # thinned
            channels -= 1
            assert len(context_codec.compress(image, channels=channels)) <= len(stream)
        else:
            assert stream == whole
        counts = range(channels + 1, 17)
    assert all(describe(context_codec.compress(image, channels=count)).bpp > max_bpp for count in counts), channels


def test_the_first_channels_are_coded_by_either_kind_of_context(context_codec: Codec) -> None:
    image = drawn("textured")
    for channels in (4, 16):
        stream = context_codec.compress(image, channels=channels)
        assert describe(stream).entropy == "context"
        assert np.array_equal(context_codec.decode_symbols(stream), context_codec.symbols(image)[:channels])


def test_without_a_rate_the_limit_is_the_default(codec: Codec) -> None:
    image = drawn("textured", 640, 400)
    stream = codec.compress(image)
    assert stream == codec.compress(image, max_bpp=DEFAULT_MAX_BPP)
    assert 1 < describe(stream).channels < 16


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (40, 30), (100, 40)], ids=str)
def test_pictures_too_small_for_the_default_get_one_channel(codec: Codec, size: tuple[int, int]) -> None:
    image = drawn("textured", *size)
    stream = codec.compress(image)
    assert describe(stream).bpp > DEFAULT_MAX_BPP
    assert stream == codec.compress(image, channels=1)
    with pytest.raises(RateError):
        codec.compress(image, max_bpp=DEFAULT_MAX_BPP)


def test_the_refusal_names_a_rate_that_can_be_had(codec: Codec) -> None:
    image = drawn("textured", 99, 77)
    smallest = len(codec.compress(image, channels=1))
    bpp = math.ceil(smallest * 8 / (99 * 77) * 1e4) / 1e4
    for limit in ({"max_bytes": 12}, {"max_bytes": 0}, {"max_bpp": 0.001}, {"max_bpp": -1.0}, {"max_bpp": math.nan}):
        with pytest.raises(RateError, match=rf"^[^\n]*it takes at least {smallest} bytes, {bpp:.4f} bpp$"):
            codec.compress(image, **limit)
    assert codec.compress(image, max_bytes=smallest) == codec.compress(image, max_bpp=bpp)


@pytest.mark.parametrize("channels", [-1, 0, 17])
def test_channels_that_the_model_does_not_have_are_refused(codec: Codec, channels: int) -> None:
    with pytest.raises(RateError, match=f"^this model codes 1 to 16 channels, not {channels}$"):
        codec.compress(drawn("white"), channels=channels)


def test_two_rates_are_refused(codec: Codec, plain_codec: Codec) -> None:
    for either in (codec, plain_codec):
        for rates in ({"channels": 4, "max_bpp": 0.1}, {"max_bpp": 0.1, "max_bytes": 99}):
            with pytest.raises(RateError, match="exclude each other"):
                either.compress(drawn("white"), **rates)


def test_a_model_that_is_not_nested_codes_all_its_channels(plain_codec: Codec) -> None:
    image = drawn("textured")
    stream = plain_codec.compress(image)
    assert describe(stream).bpp > DEFAULT_MAX_BPP  # the default limit is not for it
    assert plain_codec.compress(image, channels=4) == stream
    for channels in (1, 3, 5):
        with pytest.raises(RateError, match=f"^this model codes 4 channels, not {channels}$"):
            plain_codec.compress(image, channels=channels)


def test_to_a_model_that_is_not_nested_a_limit_is_a_check(plain_codec: Codec) -> None:
    image = drawn("textured")
    stream = plain_codec.compress(image)
    assert plain_codec.compress(image, max_bytes=len(stream)) == stream
    assert plain_codec.compress(image, max_bpp=describe(stream).bpp) == stream
    for limit in ({"max_bytes": len(stream) - 1}, {"max_bpp": DEFAULT_MAX_BPP}):
        with pytest.raises(RateError, match=f"it takes at least {len(stream)} bytes"):
            plain_codec.compress(image, **limit)


def test_a_stream_with_more_channels_than_its_model_is_refused(paper_codec: Codec) -> None:
    image = drawn("textured", 40, 30)
    header, payload = parse(paper_codec.compress(image, channels=3))
    with pytest.raises(StreamError, match="^this stream has 4 latent channels, and its model has 1 to 3$"):
        paper_codec.decompress(pack(replace(header, channels=4), payload))


def test_the_papers_networks_can_be_nested_too(paper_codec: Codec) -> None:
    image = drawn("textured")
    for channels in (1, 2, 3):
        stream = paper_codec.compress(image, channels=channels)
        assert np.array_equal(paper_codec.decode_symbols(stream), paper_codec.symbols(image)[:channels])
        assert paper_codec.decompress(stream).size == image.size


def test_threads_may_ask_for_different_rates(codec: Codec) -> None:
    image = drawn("textured")
    limits = [40, 100, 200, 10_000]
    alone = [codec.compress(image, max_bytes=limit) for limit in limits]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda limit: codec.compress(image, max_bytes=limit), limits * 3)) == alone * 3


@pytest.mark.parametrize("channels", [1, 2])
def test_noise_beside_the_symbols_is_drawn_from_the_checksum_of_the_payload(
    noisy_package: Package, channels: int
) -> None:
    codec, image = Codec.from_package(noisy_package), drawn("textured", 64, 48)
    stream = codec.compress(image, channels=channels)
    decoded = np.asarray(codec.decompress(stream))
    assert np.array_equal(decoded, np.asarray(codec.decompress(stream)))

    def expected(seed: int) -> np.ndarray:
        with torch.inference_mode():
            w_hat = noisy_package.compressor.q.values(torch.from_numpy(codec.decode_symbols(stream)).long()[None])
            x_hat = noisy_package.generator(w_hat, None, draw_noise(w_hat, 3, seed))[0]
        return ((x_hat + 1) / 2 * 255).permute(1, 2, 0).numpy()

    seed = binascii.crc32(parse(stream).payload)
    assert np.abs(decoded - expected(seed)).max() <= 0.5 + 1e-3
    assert np.abs(decoded - expected(seed + 1)).max() > 1
