"""The skeleton of the light networks: what it says of a picture before anything is learned."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.light import LightConfig
from gencomp.models.transform import LATENT_STD, Analysis, Synthesis, basis, deviations, fade


def coefficients(functions: NDArray[np.float64], block: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("kcij,cij->k", functions, block)


@pytest.mark.parametrize("block", [8, 16])
def test_the_basis_is_orthonormal_over_a_block(block: int) -> None:
    functions = basis(16, block).reshape(16, -1)
    assert np.allclose(functions @ functions.T, np.eye(16))
    inner = slice(block // 2, -block // 2)
    assert np.allclose(basis(16, block, block // 2)[..., inner, inner], basis(16, block))


@pytest.mark.parametrize("block", [8, 16])
def test_the_fades_of_neighbours_sum_to_one(block: int) -> None:
    ramp = fade(block)
    assert np.allclose(ramp[:block, :block] + ramp[block:, :block] + ramp[:block, block:] + ramp[block:, block:], 1)


def test_analysis_gives_a_blocks_coefficients_in_units_of_their_deviation() -> None:
    block = basis(16)[3] * 2.9 + basis(16)[0] * 14.6
    x = torch.tensor(np.tile(block, (1, 2, 3))[None], dtype=torch.float32)
    w = Analysis(16)(x)
    expected = coefficients(basis(16), block) / deviations(16).reshape(-1) * LATENT_STD
    assert w.shape == (1, 16, 2, 3)
    assert torch.allclose(w, torch.tensor(expected, dtype=torch.float32).reshape(1, 16, 1, 1).expand_as(w), atol=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (3, 5)])
def test_synthesis_gives_back_a_flat_picture_to_its_borders(size: tuple[int, int]) -> None:
    synthesis = Synthesis(5)
    synthesis.initialise()
    colour = torch.tensor([0.3, -0.2, 0.1]).reshape(1, 3, 1, 1)
    x = colour.expand(1, 3, 16 * size[0], 16 * size[1])
    x_hat = synthesis(Analysis(5)(x))
    assert x_hat.shape == x.shape
    assert torch.allclose(x_hat, x, atol=1e-5)


def test_a_smooth_picture_comes_out_smooth() -> None:
    """Where blocks alone would leave steps at their borders, 0.11 high here."""
    synthesis = Synthesis(16)
    synthesis.initialise()
    ramp = torch.linspace(-0.8, 0.8, 240).expand(1, 3, 64, 240)
    x_hat = synthesis(Analysis(16)(ramp))
    assert x_hat.diff(dim=-1).abs().max() < 0.03
    assert (x_hat - ramp)[..., 24:-24].abs().max() < 0.03


def test_an_untrained_light_model_already_shows_the_picture_and_more_with_more_channels() -> None:
    from skimage import data

    compressor = Compressor(ModelConfig(channels=16, nested=True, light=LightConfig()))
    initialise(compressor, torch.Generator().manual_seed(0))
    x = torch.tensor(data.coffee()[:400, :592].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    errors = []
    with torch.inference_mode():
        for coded in (1, 4, 16):
            x_hat = compressor(x, coded=torch.tensor([coded])).x_hat
            errors.append(float((x_hat - x).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert 10 * np.log10(4 / errors[2]) > 17


def test_an_untrained_selective_model_shows_what_the_mask_preserves() -> None:
    from skimage import data

    compressor = Compressor(ModelConfig(channels=2, mode="sc", classes=3, light=LightConfig()))
    initialise(compressor, torch.Generator().manual_seed(0))
    x = torch.tensor(data.coffee()[:320, :480].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    m = torch.zeros(1, 1, 320, 480)
    m[..., :240] = 1
    with torch.inference_mode():
        x_hat = compressor(x, s=torch.zeros(1, 4, 320, 480), m=m).x_hat
    errors = (x_hat - x).square().mean((0, 1, 2))
    kept, drawn = (10 * np.log10(4 / float(part.mean())) for part in (errors[:224], errors[256:]))
    assert kept > 17 and kept > drawn + 4


def test_photographs_have_the_assumed_deviations_in_blocks_of_both_sides() -> None:
    from skimage import data

    x = torch.tensor(data.coffee()[:400, :592].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    for block in (8, 16):
        spread = Analysis(4, block)(x).std((0, 2, 3))
        assert ((spread > LATENT_STD / 3) & (spread < LATENT_STD * 3)).all()
