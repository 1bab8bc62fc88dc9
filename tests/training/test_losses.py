"""Each term against its written equation."""

import math

import msgspec
import pytest
import torch
from torch import Tensor

from gencomp.models.discriminator import Discriminator, Judgement
from gencomp.models.features import VGG19
from gencomp.training.losses import (
    LossConfig,
    adversarial_loss,
    discriminator_loss,
    f,
    feature_matching_loss,
    g,
    generator_loss,
    vgg_loss,
)


def judgement(score: float, *features: Tensor) -> Judgement:
    return Judgement(torch.full((1, 1, 2, 2), score), list(features))


def test_least_squares_f_and_g_are_the_papers() -> None:
    y = torch.tensor([-1.0, 0.0, 1.0, 3.0])
    assert f(y, "least-squares").tolist() == [4, 1, 0, 4]
    assert g(y, "least-squares").tolist() == [1, 0, 1, 9]


def test_vanilla_f_and_g_are_the_negative_logarithms_of_eq_1() -> None:
    y = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64)
    assert torch.allclose(f(y, "vanilla"), -torch.log(torch.sigmoid(y)))
    assert torch.allclose(g(y, "vanilla"), -torch.log(1 - torch.sigmoid(y)))


def test_the_discriminator_pays_for_both_and_over_all_scales() -> None:
    loss = discriminator_loss([judgement(1.0), judgement(0.5)], [judgement(0.0), judgement(2.0)], "least-squares")
    assert loss.item() == pytest.approx(0 + 0 + 0.25 + 4)
    vanilla = discriminator_loss([judgement(0.0)], [judgement(0.0)], "vanilla")
    assert vanilla.item() == pytest.approx(2 * math.log(2))


def test_the_generator_pays_nothing_for_scores_that_look_real() -> None:
    assert adversarial_loss([judgement(1.0), judgement(1.0)], "least-squares").item() == 0
    assert adversarial_loss([judgement(0.0), judgement(1.0)], "least-squares").item() == 1


def test_feature_matching_averages_scales_and_weighs_layers_as_pix2pixhd() -> None:
    """n_layers = 3 strided convolutions, four feature maps: 4 / (3 + 1) = 1 per layer, 1 / num_D per scale."""
    zeros, ones = [torch.zeros(1, 2, 3, 3)] * 4, [torch.ones(1, 2, 3, 3)] * 4
    two_scales = [judgement(0, *zeros)] * 2, [judgement(0, *ones)] * 2
    assert feature_matching_loss(*two_scales).item() == pytest.approx(4.0)


def test_feature_matching_moves_the_reconstruction_only() -> None:
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    x_hat = torch.rand(1, 3, 64, 64, requires_grad=True)
    D = Discriminator(3, 2, 2)
    feature_matching_loss(D(x), D(x_hat)).backward()
    assert x.grad is None
    assert x_hat.grad is not None and x_hat.grad.abs().max() > 0


def test_the_vgg_loss_is_zero_for_equal_images_and_positive_otherwise() -> None:
    torch.manual_seed(0)
    network = VGG19()
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert vgg_loss(x, x.clone(), network).item() == 0
    assert vgg_loss(x, -x, network).item() > 0


def test_vgg19_taps_are_relu1_1_to_relu5_1() -> None:
    features = VGG19()(torch.zeros(1, 3, 32, 48))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(64, 32, 48), (128, 16, 24), (256, 8, 12), (512, 4, 6), (512, 2, 3)]
    assert sum(p.numel() for p in VGG19().convolutions[:2].parameters()) == 3 * 64 * 9 + 64 + 64 * 64 * 9 + 64


def test_the_total_is_the_sum_of_the_weighted_terms() -> None:
    D, x = Discriminator(3, 2, 2), torch.rand(1, 3, 64, 64)
    x_hat = torch.rand(1, 3, 64, 64)
    config = LossConfig(distortion=3.0, adversarial=0.5, feature_matching=2.0)
    total, distortion, adversarial, matching, vgg = generator_loss(x, x_hat, D(x), D(x_hat), config, None)
    assert total.item() == pytest.approx((distortion + adversarial + matching).item())
    assert vgg.item() == 0
    assert distortion.item() == pytest.approx(3 * (x - x_hat).square().mean().item())


def test_the_mse_baseline_has_no_adversarial_terms() -> None:
    config = LossConfig(adversarial=0, feature_matching=0)
    x, x_hat = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    loss = generator_loss(x, x_hat, [], [], config, None)
    assert loss.total.item() == loss.distortion.item() == 10


@pytest.mark.parametrize(
    "weights", [{"vgg": 10.0}, {"adversarial": 0.0}, {"gan": "wasserstein"}, {"distortion": -1}, {"mse": 1}], ids=str
)
def test_weights_that_cannot_be_are_refused(weights: dict[str, object]) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        msgspec.convert(weights, LossConfig)
