"""A run is a function of config, shards and seed; a broken one goes on where it stopped."""

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.training.losses import LossConfig
from gencomp.training.resume import load_state
from gencomp.training.tables import count_centers
from gencomp.training.trainer import (
    DiscriminatorConfig,
    DivergedError,
    Observer,
    Progress,
    Trained,
    TrainingConfig,
    train,
)
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError

MODEL = ModelConfig(width=4, blocks=1, channels=2)
TRAINING = TrainingConfig(
    steps=6,
    batch=2,
    crop=64,
    log_every=2,
    checkpoint_every=2,
    picture_every=3,
    ema=0.5,
    adversarial_from=1,
    schedule="cosine",
    discriminator=DiscriminatorConfig(width=4, scales=2),
)


class Killed(Exception):
    pass


def run(
    shards: Path,
    scratch: Path,
    config: TrainingConfig = TRAINING,
    seed: int = 1,
    stop_at: int | None = None,
    pictures: list[tuple[int, NDArray[np.uint8]]] | None = None,
) -> Trained:
    def progress(report: Progress) -> None:
        if report.step == stop_at:
            raise Killed

    def picture(step: int, pixels: NDArray[np.uint8]) -> None:
        if pictures is not None:
            pictures.append((step, pixels))

    scratch.mkdir(exist_ok=True)
    return train(MODEL, config, shards, seed, scratch, Observer(progress, picture))


def weights(trained: Trained) -> list[torch.Tensor]:
    return list(trained.compressor.state_dict().values())


def same(a: Compressor, b: Compressor) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not(photo_shards: Path, tmp_path: Path) -> None:
    first = run(photo_shards, tmp_path / "a")
    again = run(photo_shards, tmp_path / "b")
    other = run(photo_shards, tmp_path / "c", seed=2)
    assert same(first.compressor, again.compressor)
    assert first.history == again.history
    assert not same(first.compressor, other.compressor)


@pytest.mark.parametrize("stop_at", [4, 6])
def test_a_broken_run_ends_in_the_same_weights_and_history(photo_shards: Path, tmp_path: Path, stop_at: int) -> None:
    unbroken = run(photo_shards, tmp_path / "a")
    with pytest.raises(Killed):
        run(photo_shards, tmp_path / "b", stop_at=stop_at)
    state = load_state(tmp_path / "b")
    assert state is not None and state["step"] == stop_at - 2
    resumed = run(photo_shards, tmp_path / "b")
    assert same(unbroken.compressor, resumed.compressor)
    assert unbroken.history == resumed.history


def test_the_distortion_falls(photo_shards: Path, tmp_path: Path) -> None:
    losses = LossConfig(adversarial=0, feature_matching=0)
    config = msgspec.structs.replace(TRAINING, steps=40, batch=4, learning_rate=2e-3, losses=losses)
    history = run(photo_shards, tmp_path / "a", config).history
    assert history[-1]["distortion"] < 0.75 * history[0]["distortion"]


def test_the_history_has_a_row_per_interval_with_every_term(photo_shards: Path, tmp_path: Path) -> None:
    history = run(photo_shards, tmp_path / "a").history
    assert [row["step"] for row in history] == [2, 4, 6]
    assert list(history[0]) == [
        "step",
        "loss",
        "distortion",
        "adversarial",
        "feature_matching",
        "vgg",
        "lpips",
        "spread",
        "entropy",
        "discriminator",
        "score_gap",
        "dead_centers",
    ]
    terms = ("distortion", "adversarial", "feature_matching", "vgg", "lpips", "spread", "entropy")
    for row in history:
        assert row["loss"] == pytest.approx(sum(row[term] for term in terms), rel=1e-4)


def test_pictures_come_as_it_goes_originals_above_reconstructions(photo_shards: Path, tmp_path: Path) -> None:
    pictures: list[tuple[int, NDArray[np.uint8]]] = []
    run(photo_shards, tmp_path / "a", pictures=pictures)
    assert [step for step, _ in pictures] == [3, 6]
    assert pictures[0][1].shape == (128, 128, 3)
    top, bottom = np.split(pictures[0][1], 2)
    assert top.std() > 10
    assert not np.array_equal(top, bottom)


def test_averaged_weights_lag_behind_the_last_ones(photo_shards: Path, tmp_path: Path) -> None:
    averaged = run(photo_shards, tmp_path / "a")
    last = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, ema=0.0))
    assert averaged.history == last.history
    assert not same(averaged.compressor, last.compressor)


@pytest.mark.parametrize("gan", ["least-squares", "vanilla"])
def test_d_is_not_moved_before_its_first_step_and_is_after(photo_shards: Path, tmp_path: Path, gan: str) -> None:
    losses = msgspec.convert({"gan": gan}, LossConfig)
    config = msgspec.structs.replace(TRAINING, steps=4, losses=losses)
    run(photo_shards, tmp_path / "a", msgspec.structs.replace(config, adversarial_from=2))
    run(photo_shards, tmp_path / "b", msgspec.structs.replace(config, adversarial_from=4))
    early, never = load_state(tmp_path / "a"), load_state(tmp_path / "b")
    assert early is not None and never is not None
    name = "scales.0.layers.0.0.weight"
    assert not torch.equal(early["discriminator"][name], never["discriminator"][name])


def test_a_loss_that_is_no_longer_finite_stops_the_run_and_is_not_saved(photo_shards: Path, tmp_path: Path) -> None:
    config = msgspec.structs.replace(TRAINING, learning_rate=1e30, schedule="constant")
    with pytest.raises(DivergedError, match="no longer finite before step"):
        run(photo_shards, tmp_path / "a", config)
    state = load_state(tmp_path / "a")
    assert state is None or all(torch.isfinite(t).all() for t in state["compressor"].values())


@pytest.mark.parametrize("term", ["vgg", "lpips"])
def test_a_perceptual_term_without_its_weights_says_what_to_do(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path))
    losses = msgspec.convert({term: 1.0}, LossConfig)
    with pytest.raises(MissingWeightsError, match=f"run `gencomp weights fetch .*, or set losses.{term} to 0"):
        run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, steps=2, losses=losses))


@pytest.mark.parametrize(("term", "name"), [("vgg", "vgg19"), ("lpips", "lpips-alex")])
def test_a_perceptual_term_is_turned_on_by_its_weight(photo_shards: Path, tmp_path: Path, term: str, name: str) -> None:
    try:
        weights_path(name)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    losses = msgspec.convert({term: 1.0}, LossConfig)
    config = msgspec.structs.replace(TRAINING, steps=2, losses=losses)
    assert run(photo_shards, tmp_path / "a", config).history[0][term] > 0


def test_a_crop_that_does_not_fit_the_model_is_refused(photo_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="crop 72"):
        run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, crop=72))


def test_centers_are_counted_over_whole_padded_training_images(photo_shards: Path, tmp_path: Path) -> None:
    compressor = run(photo_shards, tmp_path / "a").compressor
    counts = count_centers(compressor, photo_shards, images=100)
    assert counts.shape == (2, 5)
    assert (counts.sum(1) == 4 * (96 // 16) * (80 // 16)).all()
    one = count_centers(compressor, photo_shards, images=1)
    assert (one.sum(1) == 30).all()


def test_the_number_of_loader_processes_changes_nothing(photo_shards: Path, tmp_path: Path) -> None:
    alone = run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, steps=2))
    helped = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, steps=2, workers=2))
    assert all(itertools.starmap(torch.equal, zip(weights(alone), weights(helped), strict=True)))
