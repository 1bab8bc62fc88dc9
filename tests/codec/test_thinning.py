"""One channel more than fits is thinned: within the limit, to where bits are worth it, and better for it."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from gencomp.codec.filling import MOST_THINNED
from gencomp.codec.pricing import Prices, costs
from gencomp.codec.thinning import POWER, thinned
from gencomp.evaluation.metrics import ms_ssim, psnr

CENTERS = torch.arange(5) - 2.0


@pytest.fixture
def latent() -> torch.Tensor:
    return torch.randn(3, 8, 9, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def prices() -> Prices:
    return np.random.default_rng(1).uniform(0.1, 6, (3, 8, 9, 5)).astype(np.float32)


def nearest(w: torch.Tensor) -> np.ndarray:
    return (w.unsqueeze(-1) - CENTERS).abs().argmin(-1).numpy().astype(np.uint8)


@pytest.mark.parametrize("share", [0.95, 0.7, 0.4])
def test_it_takes_nearly_all_of_the_budget_and_no_more(latent: torch.Tensor, prices: Prices, share: float) -> None:
    budget = share * costs(prices, nearest(latent)).sum()
    paid = costs(prices, thinned(latent, CENTERS, prices, budget)).sum()
    assert 0.98 * budget <= paid <= budget


def test_no_symbol_changes_where_there_is_room_for_all(latent: torch.Tensor, prices: Prices) -> None:
    found = thinned(latent, CENTERS, prices, 1.001 * costs(prices, nearest(latent)).sum())
    assert (found != nearest(latent)).mean() < 0.01


def test_what_is_chosen_is_the_least_of_square_and_weighted_bits(latent: torch.Tensor, prices: Prices) -> None:
    """There is one mu that explains every symbol: what each change saves is worth its square, by the channel's a_k."""
    found = thinned(latent, CENTERS, prices, 0.7 * costs(prices, nearest(latent)).sum())
    squares = (latent.unsqueeze(-1) - CENTERS).square().numpy()
    weights = np.arange(1, 4) ** POWER / (np.arange(1, 4) ** POWER).mean()
    bits = prices * weights[:, None, None, None]
    lost = np.take_along_axis(squares, found[..., None].astype(int), -1) - squares
    saved = bits - np.take_along_axis(bits, found[..., None].astype(int), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mu = lost / saved
    assert np.nanmax(np.where(saved > 0, mu, -np.inf)) <= 1.001 * np.nanmin(np.where(saved < 0, mu, np.inf))


def test_later_channels_are_thinned_more(prices: Prices) -> None:
    w = torch.randn(1, 8, 9, generator=torch.Generator().manual_seed(2)).expand(3, 8, 9)
    same = np.broadcast_to(prices[:1], prices.shape)
    found = thinned(w, CENTERS, same, 0.7 * costs(same, nearest(w)).sum())
    changed = (found != nearest(w)).mean((1, 2))
    assert changed[0] < changed[1] < changed[2]


def test_a_photograph_has_more_of_its_limit_and_is_nearer_the_original() -> None:
    codec, image = Codec.from_reference(), Image.fromarray(data.coffee())
    pixels = np.asarray(image)
    sizes = [len(codec.compress(image, channels=count)) for count in range(1, 17)]
    tried = 0
    for limit in range(900, 2000, 180):
        fitting = sum(size <= limit for size in sizes)
        over = (sizes[fitting] - 17) / (limit - 17)
        stream = codec.compress(image, max_bytes=limit)
        assert len(stream) <= limit
        if over > MOST_THINNED + 0.02:
            assert len(stream) == sizes[fitting - 1]
        elif over < MOST_THINNED - 0.02 and sizes[fitting - 1] < 0.95 * limit:
            tried += 1
            assert describe(stream).channels == fitting + 1
            assert len(stream) > 0.97 * limit
            plain, more = (
                np.asarray(codec.decompress(one)) for one in (codec.compress(image, channels=fitting), stream)
            )
            assert psnr(pixels, more) > psnr(pixels, plain)
            before, after = ms_ssim(pixels, plain), ms_ssim(pixels, more)
            assert before is not None and after is not None and after > before
    assert tried >= 2
