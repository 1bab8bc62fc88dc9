"""Symbols that are searched for one picture: nearer to it in the same bytes, and streams like any others."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from codec.conftest import fitted
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from gencomp import Codec
from gencomp.cli import main
from gencomp.codec import codec as codec_module
from gencomp.codec import search
from gencomp.codec.container import describe
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.pricing import context_pricing, costs, static_pricing
from gencomp.codec.rate import DEFAULT_MAX_BPP, RateError
from gencomp.codec.search import Judge, SearchError, load_judge
from gencomp.models.entropy import PRECISION
from gencomp.models.package import Package
from gencomp.weights.failure import MissingWeightsError
from tests.models.judges import random_judge

STEPS = 6


@cache
def coffee(width: int = 150, height: int = 97) -> Image.Image:
    return Image.fromarray(data.coffee()).resize((width, height), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def drawn() -> Judge:
    return random_judge()


@pytest.fixture
def judge(drawn: Judge, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """What codecs judge by instead of networks that would have to be fetched."""
    monkeypatch.setattr(codec_module, "load_judge", lambda device: drawn)
    monkeypatch.setattr(search, "WINDOW", 48)
    return drawn


@pytest.fixture
def codec(nested_package: Package, judge: Judge) -> Codec:
    return Codec.from_package(nested_package)


@pytest.fixture(scope="module")
def context_package(nested_package: Package, tmp_path_factory: pytest.TempPathFactory) -> Package:
    symbols = Codec.from_package(nested_package).symbols(coffee())
    return fitted(tmp_path_factory.mktemp("context"), nested_package, symbols, "network")


def pixels(image: Image.Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), np.float64)


def error(codec: Codec, image: Image.Image, stream: bytes) -> float:
    """Mean squared, of grey levels."""
    return float(np.square(pixels(codec.decompress(stream)) - pixels(image)).mean())


def distance(codec: Codec, image: Image.Image, stream: bytes, judge: Judge) -> float:
    """What the search minimises, apart from the rate, of the whole picture."""
    x, x_hat = (
        torch.from_numpy(pixels(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        for picture in (image, codec.decompress(stream))
    )
    with torch.no_grad():
        seen = [float(network(x, x_hat)) for network in judge]
    return search.DISTORTION * float((x - x_hat).square().mean()) + search.LPIPS_ALEX * seen[0] + sum(seen[1:])


@pytest.mark.parametrize("channels", [1, 5, 16])
def test_the_same_channels_come_nearer_to_the_picture_in_no_more_bytes(
    codec: Codec, judge: Judge, channels: int
) -> None:
    plain = codec.compress(coffee(), channels=channels)
    searched = codec.compress(coffee(), channels=channels, effort=STEPS)
    assert describe(searched).channels == channels and len(searched) <= len(plain)
    assert distance(codec, coffee(), searched, judge) < 0.97 * distance(codec, coffee(), plain, judge)


@pytest.mark.usefixtures("judge")
@pytest.mark.parametrize("limit", [{"max_bpp": 0.3}, {"max_bytes": 200}, {}])
def test_limits_are_kept_and_the_bytes_that_they_leave_are_used(
    context_package: Package, limit: dict[str, float]
) -> None:
    codec, image = Codec.from_package(context_package), coffee(320, 240)
    plain, searched = (codec.compress(image, **limit, effort=effort) for effort in (0, STEPS))
    most = limit.get("max_bytes", limit.get("max_bpp", DEFAULT_MAX_BPP) * 320 * 240 / 8)
    assert len(plain) <= most and len(searched) <= most
    assert describe(searched).channels >= describe(plain).channels
    assert error(codec, image, searched) < error(codec, image, plain)


def test_a_limit_that_nothing_keeps_is_refused_as_without_a_search(codec: Codec) -> None:
    with pytest.raises(RateError, match="does not fit 30 bytes"):
        codec.compress(coffee(), max_bytes=30, effort=STEPS)


def test_a_picture_too_small_for_the_default_limit_still_gets_one_channel(codec: Codec) -> None:
    stream = codec.compress(coffee(24, 20), effort=STEPS)
    assert len(stream) <= len(codec.compress(coffee(24, 20)))
    assert codec.decompress(stream).size == (24, 20)


@pytest.mark.usefixtures("judge")
def test_models_of_one_rate_and_of_norms_that_read_the_whole_picture(package: Package) -> None:
    codec, heard = Codec.from_package(package), []
    plain = codec.compress(coffee())
    searched = codec.compress(coffee(), effort=3, progress=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 3), (2, 3), (3, 3)]
    assert len(searched) <= len(plain) and describe(searched).channels == describe(plain).channels
    assert codec.decompress(searched).size == coffee().size


def test_it_is_repeatable_and_changes_no_weights(codec: Codec) -> None:
    before = {name: tensor.clone() for name, tensor in codec.package.compressor.state_dict().items()}
    first, second = (codec.compress(coffee(), channels=3, effort=3) for _ in range(2))
    assert first == second
    assert all(torch.equal(tensor, before[name]) for name, tensor in codec.package.compressor.state_dict().items())
    assert all(parameter.grad is None for parameter in codec.package.compressor.parameters())


def test_large_pictures_are_searched_tile_by_tile(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CELLS", 170)
    heard: list[tuple[int, int]] = []
    image = coffee(300, 200)  # 19 x 13 cells
    plain = codec.compress(image, channels=6)
    searched = codec.compress(image, channels=6, effort=2, progress=lambda done, of: heard.append((done, of)))
    tiles = search.Tiling(search.MARGIN, 170).tiles(13, 19)
    assert len(tiles) > 2 and heard == [(done, 2 * len(tiles)) for done in range(1, 2 * len(tiles) + 1)]
    changed = (codec.decode_symbols(searched) != codec.decode_symbols(plain)).any(0)
    assert all(changed[tile.rows.core, tile.columns.core].any() for tile in tiles)
    assert error(codec, image, searched) < error(codec, image, plain)


def test_prices_are_what_the_coder_charges(context_package: Package) -> None:
    codec = Codec.from_package(context_package)
    symbols = codec.symbols(coffee())[:5]
    assert context_package.network is not None
    model = ContextModel(context_package.network)
    prices = context_pricing(model)(symbols)
    assert costs(prices, symbols).sum() == pytest.approx(Coding(model, symbols).bits(5), rel=1e-5)
    assert np.exp2(-prices.astype(np.float64)).sum(-1) == pytest.approx(1, abs=1e-5)
    table = static_pricing(context_package.frequencies)(symbols)
    assert table.shape == prices.shape
    assert table[2, 0, 0] == pytest.approx(PRECISION - np.log2(context_package.frequencies[2]))


def test_symbols_from_elsewhere_become_a_stream(codec: Codec) -> None:
    drawn = np.random.default_rng(1).integers(0, 5, (7, 7, 10)).astype(np.uint8)
    stream = codec.encode_symbols(drawn, (150, 97))
    assert np.array_equal(codec.decode_symbols(stream), drawn)
    assert describe(stream).channels == 7 and codec.decompress(stream).size == (150, 97)
    plain = codec.compress(coffee(), channels=4)
    assert codec.encode_symbols(codec.decode_symbols(plain), (150, 97)) == plain
    with pytest.raises(ValueError, match="not those of a picture of 200 x 97"):
        codec.encode_symbols(drawn, (200, 97))
    with pytest.raises(ValueError, match="go up to 4, not 5"):
        codec.encode_symbols(drawn + 1, (150, 97))
    with pytest.raises(RateError, match="1 to 16 channels, not 17"):
        codec.encode_symbols(np.zeros((17, 7, 10), np.uint8), (150, 97))


def test_what_cannot_be_searched_is_refused(selective_package: Package, noisy_package: Package, codec: Codec) -> None:
    labels = np.zeros((97, 150), np.uint8)
    with pytest.raises(SearchError, match="models of selective compression take no effort"):
        Codec.from_package(selective_package).compress(coffee(), labels=labels, effort=1)
    with pytest.raises(SearchError, match="a number of steps from 0 up, not -1"):
        codec.compress(coffee(), effort=-1)
    with pytest.raises(SearchError, match="models with noise take no effort"):
        Codec.from_package(noisy_package).compress(coffee(), effort=1)


def test_missing_weights_are_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path / "none"))
    coffee().save(tmp_path / "a.png")
    done = CliRunner().invoke(main, ["compress", str(tmp_path / "a.png"), str(tmp_path / "a.gnc"), "--effort", "2"])
    assert done.exit_code == 2 and not (tmp_path / "a.gnc").exists()
    assert done.output.count("\n") == 1 and "run `gencomp weights fetch lpips-" in done.output


def test_the_shipped_model_gains_by_the_networks_themselves_and_by_others(tmp_path: Path) -> None:
    try:
        judge = load_judge(torch.device("cpu"))
    except MissingWeightsError as missing:
        pytest.skip(str(missing))
    codec, image = Codec.from_reference("light-4"), coffee(224, 160)
    image.save(tmp_path / "coffee.png")
    streams = []
    for effort in ("0", "12"):
        target = tmp_path / f"{effort}.gnc"
        done = CliRunner().invoke(main, ["compress", str(tmp_path / "coffee.png"), str(target), "--effort", effort])
        assert done.exit_code == 0, done.output
        streams.append(target.read_bytes())
    plain, searched = streams
    assert len(searched) <= DEFAULT_MAX_BPP * 224 * 160 / 8
    x, a, b = (
        torch.from_numpy(pixels(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        for picture in (image, codec.decompress(plain), codec.decompress(searched))
    )
    with torch.no_grad():
        before, after = ([float(network(x, x_hat)) for network in judge] for x_hat in (a, b))
    assert after[0] < 0.95 * before[0] and after[1] < before[1] and after[2] < before[2]
    assert error(codec, image, searched) < 1.1 * error(codec, image, plain)
