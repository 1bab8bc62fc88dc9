"""Tiles: what they are cut to, how far the networks reach, and that nothing shows of them."""

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from codec.conftest import SMALL_LIGHT, scene, small_package
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from gencomp.codec import tiles
from gencomp.codec.codec import Codec
from gencomp.codec.container import MAX_PIXELS, Header, StreamError, describe, pack
from gencomp.codec.side import borders
from gencomp.codec.tiles import Tiling, reach, tileable, tilings
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.light import LightConfig
from gencomp.models.package import Package, load_package
from gencomp.models.semantics import one_hot
from gencomp.references import resolve

TIE = 1e-3
"""Of the latent, to a border between two symbols: what another order of sums may move it by."""
LIGHT = LightConfig(encoder=(8, 8, 8), encoder_blocks=(1, 2, 1), generator=(8, 8, 8), generator_blocks=(1, 2, 1))
CONFIGS = {
    "light": ModelConfig(channels=3, light=LIGHT, nested=True, noise=2),
    "light without blocks": SMALL_LIGHT,
    "light sc": ModelConfig(channels=2, light=LIGHT, mode="sc", classes=3, semantics_to_encoder=True, noise=2),
    "paper": ModelConfig(width=4, blocks=2, channels=2, normalisation="channel"),
    "paper sc": ModelConfig(
        width=2, blocks=1, channels=2, downsamplings=3, normalisation="channel", mode="sc", classes=3
    ),
}
"""One of each kind that can be tiled."""


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 4), st.integers(1, 900))
def test_tiles_cover_every_cell_once_with_context_up_to_the_border(h: int, w: int, margin: int, budget: int) -> None:
    covered = np.zeros((h, w), int)
    found = Tiling(margin, budget).tiles(h, w)
    for rows, columns in found:
        covered[rows.core, columns.core] += 1
        for side, span in ((h, rows), (w, columns)):
            assert (span.before, span.after) == (max(0, span.start - margin), min(side, span.stop + margin))
            assert range(side)[span.whole][span.kept] == range(side)[span.core]
        size = (rows.after - rows.before) * (columns.after - columns.before)
        assert size <= max(budget, (2 * margin + 1) ** 2)
    assert (covered == 1).all()
    assert (len(found) == 1) == (h * w <= budget or h * w == 1)


def test_a_hundred_megapixels_take_little_context() -> None:
    tiling = Tiling(15, 21845)  # light-2's generator
    found = tiling.tiles(540, 720)
    cells = sum((r.after - r.before) * (c.after - c.before) for r, c in found)
    assert cells < 1.6 * 540 * 720


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return CONFIGS[request.param]


def test_the_networks_reach_as_far_as_their_config_says_and_no_less_by_a_cell(config: ModelConfig) -> None:
    """By the gradients of what they compute of one cell, in the middle of a row of 32 that are two high."""
    compressor = Compressor(config).double()
    initialise(compressor, torch.Generator().manual_seed(0))
    for parameter in compressor.parameters():  # small and positive, so that nothing is cut off or cancelled out
        parameter.data.abs_().mul_(0.1)
    cell, cells = config.stride, 33
    start, stop = cells // 2 * cell, (cells // 2 + 1) * cell
    x = torch.rand(1, 3, 2 * cell, cells * cell, dtype=torch.float64, requires_grad=True)
    s = ()
    if config.mode == "sc":
        s = (torch.rand(1, config.semantics, 2 * cell, cells * cell, dtype=torch.float64, requires_grad=True),)
    w = compressor.E(x, *s) if config.semantics_to_encoder else compressor.E(x)
    shrink = config.latent_stride
    w[..., start // shrink : stop // shrink].sum().backward()
    seen = [x, *(s if config.semantics_to_encoder else ())]
    found = max(_reached(tensor.grad, start, stop, 1) for tensor in seen)
    assert reach(config).encoder - cell < found <= reach(config).encoder

    w_hat = torch.rand(w.shape, dtype=torch.float64, requires_grad=True)
    s = tuple(tensor.detach().requires_grad_() for tensor in s)
    v = torch.rand(1, config.noise, *w.shape[2:], dtype=torch.float64) if config.noise else None
    (compressor.G(w_hat, *(s or (None,)), v)[..., start:stop] ** 2).sum().backward()
    found = max(_reached(w_hat.grad, start, stop, shrink), *(_reached(tensor.grad, start, stop, 1) for tensor in s), 0)
    assert reach(config).generator - cell < found <= -(-reach(config).generator // shrink) * shrink


def _reached(grad: torch.Tensor | None, start: int, stop: int, scale: int) -> int:
    """Pixels from the cell to the farthest column that has a gradient; a column is `scale` pixels."""
    assert grad is not None
    columns = grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    return max(start - int(columns[0]) * scale, (int(columns[-1]) + 1) * scale - stop)


@pytest.fixture
def package(config: ModelConfig, tmp_path: Path) -> Package:
    return small_package(tmp_path / "model", config, seed=3)


@pytest.mark.parametrize("size", [(150, 61), (40, 333)], ids=str)
def test_a_tiled_picture_is_the_whole_one(
    package: Package, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, maps = scene(*size), {}
    if package.config.mode == "sc":
        maps = {"labels": np.asarray(image)[..., 0] // 100, "preserve": "classes:0,2"}
    whole = Codec(package)
    monkeypatch.setattr(tiles, "TILE_BYTES", 0)  # tiles of one cell and its context
    monkeypatch.setattr(tiles, "LEAST_TILE", 0)
    tiled = Codec(package)
    expected, symbols = whole.symbols(image, **maps), tiled.symbols(image, **maps)
    assert len(np.unique(expected)) >= 3
    assert_near_ties(package, image, symbols != expected, maps.get("labels"))
    stream = whole.compress(image, channels=2, **maps)
    told: list[tuple[int, int]] = []
    decoded = tiled.decompress(stream, progress=lambda *counts: told.append(counts))
    assert told[0][1] == told[-1][0] > 3
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(whole.decompress(stream))).max() <= 1


def assert_near_ties(
    package: Package, image: Image.Image, differing: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint8] | None = None
) -> None:
    """That symbols (C, h, w) differ nowhere but where the latent lies next to a border between two of them, and hardly
    anywhere."""
    assert differing.mean() < 1e-3
    config, (h, w) = package.config, differing.shape[1:]
    grown = [(0, side * config.latent_stride - has) for side, has in ((h, image.height), (w, image.width))]
    x = torch.from_numpy(np.pad(np.asarray(image), (*grown, (0, 0)), mode="edge")).permute(2, 0, 1)[None]
    s: tuple[torch.Tensor, ...] = ()
    if config.semantics_to_encoder:
        assert labels is not None
        ids, edges = (torch.from_numpy(np.pad(one, grown, mode="edge")) for one in (labels, borders(labels)))
        s = (one_hot(ids.long()[None], edges[None, None], config.classes),)
    with torch.inference_mode():
        latent = package.encoder(x.float() / 127.5 - 1, *s)[0].numpy()  # (C, h, w)
    between = np.arange(config.levels - 1) - (config.levels - 2) / 2
    distance = np.abs(latent[..., None] - between).min(-1)
    assert np.quantile(distance, 0.1) > 10 * TIE  # so that being near to one says something
    assert (distance[differing] < TIE).all()


@pytest.mark.slow
def test_the_shipped_model_leaves_no_seam_in_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(data.coffee()).resize((768, 512), Image.Resampling.LANCZOS)
    package = load_package(resolve("light"))
    whole = Codec(package)
    expected = whole.symbols(image)
    stream = whole.compress(image, channels=8)
    decoded = np.asarray(whole.decompress(stream)).astype(int)
    monkeypatch.setattr(tiles, "TILE_BYTES", 34**2 * 16**2 * 12)  # 34 x 34 cells, context included
    monkeypatch.setattr(tiles, "LEAST_TILE", 0)
    assert [len(tiling.tiles(32, 48)) for tiling in tilings(package.config)] == [4, 8]
    tiled = Codec(package)
    assert_near_ties(package, image, tiled.symbols(image) != expected)
    assert np.abs(np.asarray(tiled.decompress(stream)).astype(int) - decoded).max() <= 1


@pytest.mark.parametrize("size", [(40_000, 40_000), (1 << 31, 1 << 31), (1 << 28, 1), (MAX_PIXELS, 1)], ids=str)
def test_what_is_too_large_for_tiles_too_is_refused_before_anything_is_allocated(
    nested_package: Package, size: tuple[int, int]
) -> None:
    codec = Codec(nested_package)
    assert codec.max_pixels == MAX_PIXELS
    stream = pack(Header(*size, 16, "static", nested_package.fingerprint[:4]), b"")
    tracemalloc.start()
    try:
        for decode in (codec.decompress, codec.decode_symbols):
            with pytest.raises(StreamError, match=f"over the limit of {MAX_PIXELS} pixels$"):
                decode(stream)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_models_that_read_the_whole_picture_are_not_cut_and_say_so() -> None:
    for normalisation in ("instance", "tracked"):
        config = ModelConfig(width=2, normalisation=normalisation)
        assert not tileable(config)
        assert [len(tiling.tiles(500, 500)) for tiling in tilings(config)] == [1, 1]


def test_thin_pictures_beyond_the_limit_of_one_piece_are_taken(nested_package: Package) -> None:
    """Padded, more than 2**24 pixels."""
    codec, width = Codec(nested_package), (1 << 19) + 1
    stream = codec.compress(Image.new("L", (width, 1), 77), channels=1)
    assert describe(stream).width == width
    assert codec.decode_symbols(stream).shape == (1, 2, (1 << 15) + 1)
