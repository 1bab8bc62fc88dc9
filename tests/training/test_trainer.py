"""A run is a function of config, shards and seed; a broken one goes on where it stopped."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray

from gencomp.codec.context import ContextModel
from gencomp.codec.pricing import context_pricing, costs
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.context import ContextWeights
from gencomp.models.encoder import Encoder
from gencomp.training import trainer
from gencomp.training.losses import LossConfig
from gencomp.training.resume import load_state
from gencomp.training.tables import count_centers, training_latents
from gencomp.training.trainer import (
    DiscriminatorConfig,
    DivergedError,
    Observer,
    Progress,
    Run,
    Trained,
    TrainingConfig,
    scheduled_share,
    train,
)
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError
from tests.models.context_networks import random_network

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
    model: ModelConfig = MODEL,
    warn: Callable[[int, str], None] = lambda step, message: None,
    initial: dict[str, torch.Tensor] | None = None,
    reports: list[Progress] | None = None,
    context: ContextWeights | None = None,
) -> Trained:
    def progress(report: Progress) -> None:
        if reports is not None:
            reports.append(report)
        if report.step == stop_at:
            raise Killed

    def picture(step: int, pixels: NDArray[np.uint8]) -> None:
        if pictures is not None:
            pictures.append((step, pixels))

    scratch.mkdir(exist_ok=True)
    return train(model, config, shards, seed, scratch, Observer(progress, picture, warn), initial, context)


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
        "lpips_vgg",
        "dists",
        "spread",
        "entropy",
        "rate",
        "discriminator",
        "score_gap",
        "dead_centers",
    ]
    terms = list(history[0])[2:-3]
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


@pytest.mark.parametrize("term", ["vgg", "lpips", "lpips_vgg", "dists"])
def test_a_perceptual_term_without_its_weights_says_what_to_do(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path))
    losses = msgspec.convert({term: 1.0}, LossConfig)
    with pytest.raises(MissingWeightsError, match=f"run `gencomp weights fetch .*, or set .*losses.{term} .*to 0"):
        run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, steps=2, losses=losses))


@pytest.mark.parametrize(
    ("term", "name"), [("vgg", "vgg19"), ("lpips", "lpips-alex"), ("lpips_vgg", "lpips-vgg"), ("dists", "dists")]
)
def test_a_perceptual_term_is_turned_on_by_its_weight(photo_shards: Path, tmp_path: Path, term: str, name: str) -> None:
    try:
        weights_path(name)
    except MissingWeightsError as error:
        pytest.skip(str(error))
    losses = msgspec.convert({term: 1.0}, LossConfig)
    config = msgspec.structs.replace(TRAINING, steps=2, losses=losses)
    assert run(photo_shards, tmp_path / "a", config).history[0][term] > 0


def gc(**fields: object) -> ModelConfig:
    return msgspec.convert({"width": 4, "blocks": 1, "channels": 2, **fields}, ModelConfig)


LIGHT = {"light": {"encoder": [8, 8, 8], "encoder_blocks": [0, 1, 1], "generator": [8, 8, 8]}}
NESTED = gc(channels=6, nested=True, **LIGHT)
ENCODER = msgspec.structs.replace(
    TRAINING,
    part="encoder",
    steps=30,
    learning_rate=3e-3,
    schedule="constant",
    losses=LossConfig(adversarial=0, feature_matching=0, distortion=0.1, rate=1.0),
)


def started(seed: int = 0) -> dict[str, torch.Tensor]:
    compressor = Compressor(NESTED)
    initialise(compressor, torch.Generator().manual_seed(seed))
    return compressor.state_dict()


def test_an_encoder_learns_to_be_cheap_for_a_decoder_that_stays_as_it_is(photo_shards: Path, tmp_path: Path) -> None:
    """The charge of the context network in whole numbers falls, and G is as it was, through the average too."""
    initial, context = started(), random_network(NESTED.channels, NESTED.levels, 1).weights()
    trained = run(photo_shards, tmp_path / "a", ENCODER, model=NESTED, initial=initial, context=context)
    moved = [name for name, value in trained.compressor.state_dict().items() if not torch.equal(value, initial[name])]
    assert {name.split(".")[0] for name in moved} == {"E"}
    before = Compressor(NESTED)
    before.load_state_dict(initial)
    pricing = context_pricing(ContextModel(context))
    paid = [
        sum(costs(pricing(symbols), symbols).sum() for symbols in training_latents(model, photo_shards, 8))
        for model in (before, trained.compressor)
    ]
    assert paid[1] < 0.9 * paid[0]
    assert trained.history[-1]["rate"] < trained.history[0]["rate"]


@pytest.mark.parametrize("levels", [4, 5])
def test_the_rate_is_counted_as_the_coder_charges(photo_shards: Path, tmp_path: Path, levels: int) -> None:
    model = msgspec.structs.replace(NESTED, levels=levels)
    compressor = Compressor(model)
    initialise(compressor, torch.Generator().manual_seed(0))
    context = random_network(model.channels, levels, 1).weights()
    tmp_path.joinpath("a").mkdir()
    observer = Observer(lambda report: None, lambda step, pixels: None)
    started = Run(model, ENCODER, photo_shards, 1, tmp_path / "a", observer, compressor.state_dict(), context)
    symbols = np.random.default_rng(0).integers(0, levels, (model.channels, 6, 7)).astype(np.uint8)
    w_hat = compressor.q.values(torch.from_numpy(symbols).long())[None]
    prices = started._prices(w_hat)
    assert prices is not None
    assert np.abs(prices[0].numpy() - context_pricing(ContextModel(context))(symbols)).max() < 0.05  # 1/64 nats a logit


def test_an_encoder_leaves_the_statistics_that_its_generator_tracked(photo_shards: Path, tmp_path: Path) -> None:
    model = gc(normalisation="tracked")
    initial = run(photo_shards, tmp_path / "a", model=model).compressor.state_dict()
    losses = LossConfig(adversarial=0, feature_matching=0)
    alone = msgspec.structs.replace(TRAINING, part="encoder", losses=losses)
    trained = run(photo_shards, tmp_path / "b", alone, model=model, initial=initial).compressor.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in initial.items() if name.startswith("G."))


def test_what_the_rate_is_counted_by_must_be_there(photo_shards: Path, tmp_path: Path) -> None:
    context = random_network(NESTED.channels, NESTED.levels, 1).weights()
    for config, more in (
        (ENCODER, {"context": context}),
        (ENCODER, {"initial": started()}),
        (msgspec.structs.replace(ENCODER, part="all"), {"initial": started(), "context": context}),
    ):
        with pytest.raises(ValueError, match="needs"):
            run(photo_shards, tmp_path / "a", config, model=NESTED, **more)


def test_a_crop_that_does_not_fit_the_model_is_refused(photo_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="crop 72"):
        run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, crop=72))
    lpips = msgspec.structs.replace(TRAINING, adversarial_crop=32, losses=LossConfig(lpips=1.0))
    with pytest.raises(ValueError, match="crop 32 is below the 47 pixels"):
        run(photo_shards, tmp_path / "a", lpips)


@pytest.mark.parametrize("name", ["batch", "adversarial_batch"])
def test_batches_must_divide_among_the_processes_before_anything_is_computed(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 4)
    config = msgspec.structs.replace(msgspec.structs.replace(TRAINING, batch=4), **{name: 6})
    with pytest.raises(ValueError, match="a batch of 6 does not divide among 4 processes"):
        run(photo_shards, tmp_path / "a", config)


def test_centers_are_counted_over_whole_padded_training_images(photo_shards: Path, tmp_path: Path) -> None:
    compressor = run(photo_shards, tmp_path / "a").compressor
    latents = list(training_latents(compressor, photo_shards, images=100))
    counts = count_centers(latents, levels=5)
    assert counts.shape == (2, 25, 5)
    assert (counts.sum((1, 2)) == 4 * (96 // 16) * (80 // 16)).all()
    (first,) = training_latents(compressor, photo_shards, images=1)
    assert first.shape == (2, 5, 6) and np.array_equal(first, latents[0])
    (mirrored,) = training_latents(compressor, photo_shards, images=1, mirrored=True)
    assert mirrored.shape == first.shape and not np.array_equal(mirrored, first)


def test_each_row_comes_with_the_use_of_centers_since_the_last_one(photo_shards: Path, tmp_path: Path) -> None:
    reports: list[Progress] = []
    config = msgspec.structs.replace(TRAINING, steps=5)
    run(photo_shards, tmp_path / "a", config, reports=reports)
    assert [report.step for report in reports] == [2, 4, 5]
    symbols = config.batch * (config.crop // 16) ** 2
    assert [report.usage.sum(1).tolist() for report in reports] == [[2 * symbols] * 2, [2 * symbols] * 2, [symbols] * 2]


def test_the_number_of_loader_processes_changes_nothing(photo_shards: Path, tmp_path: Path) -> None:
    alone = run(photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, steps=2))
    helped = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, steps=2, workers=2))
    assert all(itertools.starmap(torch.equal, zip(weights(alone), weights(helped), strict=True)))


MODELS = {
    "noise": gc(noise=3),
    "nested": NESTED,
    "tracked": gc(normalisation="tracked"),
    "sc": gc(mode="sc", classes=4),
    "sc with noise": gc(mode="sc", classes=4, noise=2),
    "sc light, semantics to E": gc(mode="sc", classes=4, semantics_to_encoder=True, **LIGHT),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_trains_and_goes_on_to_the_bit_where_it_was_broken(
    photo_shards: Path, tmp_path: Path, name: str
) -> None:
    config = msgspec.structs.replace(TRAINING, statistics_from=3 if name == "tracked" else None)
    unbroken = run(photo_shards, tmp_path / "a", config, model=MODELS[name])
    with pytest.raises(Killed):
        run(photo_shards, tmp_path / "b", config, stop_at=6, model=MODELS[name])
    resumed = run(photo_shards, tmp_path / "b", config, model=MODELS[name])
    assert same(unbroken.compressor, resumed.compressor)
    assert unbroken.history == resumed.history
    initial = Compressor(MODELS[name]).state_dict()
    moved = [key for key, value in unbroken.compressor.state_dict().items() if not torch.equal(value, initial[key])]
    assert {key.split(".")[0] for key in moved} == {"E", "G"}


def test_gc_with_semantics_in_d_differs_from_gc_only_through_d(photo_shards: Path, tmp_path: Path) -> None:
    shape = msgspec.structs.replace(TRAINING.discriminator, semantics=True)
    plain = run(photo_shards, tmp_path / "a")
    plus = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, discriminator=shape))
    state = load_state(tmp_path / "b")
    assert state is not None
    assert state["discriminator"]["scales.0.layers.0.0.weight"].shape[1] == 3 + 4 + 1
    assert not same(plain.compressor, plus.compressor)
    assert list(plain.compressor.state_dict()) == list(plus.compressor.state_dict())


def test_fixed_statistics_are_those_that_were_tracked_and_what_inference_uses(
    photo_shards: Path, tmp_path: Path
) -> None:
    model = gc(normalisation="tracked")
    until = run(
        photo_shards, tmp_path / "a", msgspec.structs.replace(TRAINING, steps=3, schedule="constant"), model=model
    )
    fixed = msgspec.structs.replace(TRAINING, statistics_from=3, schedule="constant")
    after = run(photo_shards, tmp_path / "b", fixed, model=model)
    never = run(photo_shards, tmp_path / "c", msgspec.structs.replace(TRAINING, schedule="constant"), model=model)
    name = "G.layers.0.1.running_mean"
    means = [trained.compressor.state_dict()[name] for trained in (until, after, never)]
    assert torch.equal(means[0], means[1]) and not torch.equal(means[0], means[2])
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    w_hat = after.compressor(x).w_hat
    G = after.compressor.G
    assert torch.allclose(G(w_hat)[..., :16, :16], G(w_hat[..., :3, :3])[..., :16, :16], atol=1e-5)


def test_recomputed_activations_change_no_result(photo_shards: Path, tmp_path: Path) -> None:
    kept = run(photo_shards, tmp_path / "a")
    again = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, recompute=True))
    assert same(kept.compressor, again.compressor)


@pytest.fixture
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps the precision of a process's first run for all later ones."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("fresh_accelerator")
def test_bf16_and_channels_last_train_to_about_the_same_losses(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "has_bf16", lambda: True)
    plain = run(photo_shards, tmp_path / "a").history
    config = msgspec.structs.replace(TRAINING, precision="bf16", channels_last=True)
    AcceleratorState._reset_state()
    fast = run(photo_shards, tmp_path / "b", config).history
    for one, other in zip(plain, fast, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=0.05) and other["loss"] != one["loss"]


@pytest.mark.usefixtures("fresh_accelerator")
def test_bf16_is_float32_where_it_would_be_imitated_and_that_is_told(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "has_bf16", lambda: False)
    told: list[str] = []
    config = msgspec.structs.replace(TRAINING, precision="bf16", steps=2)
    half = run(photo_shards, tmp_path / "a", config, warn=lambda step, message: told.append(message))
    assert [line for line in told if "bf16" in line] == ["this CPU has no instructions for bf16: training in float32"]
    plain = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, steps=2))
    assert same(half.compressor, plain.compressor)


def test_a_compiler_that_fails_leaves_the_run_as_it_was_and_is_told(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A C++ compiler that is not there is how torch.compile fails on a bare machine."""
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(inductor, "fx_graph_cache", False)
    told: list[str] = []
    config = msgspec.structs.replace(TRAINING, compile=True, steps=2)
    compiled = run(photo_shards, tmp_path / "a", config, warn=lambda step, message: told.append(message))
    failures = [line for line in told if "torch.compile fails here" in line]
    assert [line.split(",")[0].split()[-1] for line in failures] == ["E", "G", "D"]
    plain = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, steps=2))
    assert same(compiled.compressor, plain.compressor)


@pytest.mark.parametrize(("factor", "problem"), [(3.0, "off by"), (float("nan"), "not finite")])
def test_a_compiler_that_computes_something_else_is_found_out(
    photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, problem: str
) -> None:
    """In place of the compiler one whose code is wrong: a real one was seen to be so, which no test can make it be."""

    def miscompile(network: torch.nn.Module, dynamic: bool) -> None:
        if isinstance(network, Encoder):
            network._compiled_call_impl = lambda x: network.forward(x) * factor

    monkeypatch.setattr(torch.nn.Module, "compile", miscompile)
    told: list[str] = []
    config = msgspec.structs.replace(TRAINING, compile=True, steps=2)
    compiled = run(photo_shards, tmp_path / "a", config, warn=lambda step, message: told.append(message))
    failures = [line for line in told if "torch.compile fails here" in line]
    assert len(failures) == 1 and "on E, which runs as it is: its gradients are" in failures[0]
    assert problem in failures[0]
    plain = run(photo_shards, tmp_path / "b", msgspec.structs.replace(TRAINING, steps=2))
    assert same(compiled.compressor, plain.compressor)


def test_the_second_stage_has_its_own_crops_and_goes_on_within_them(photo_shards: Path, tmp_path: Path) -> None:
    config = msgspec.structs.replace(
        TRAINING, adversarial_from=2, adversarial_batch=3, adversarial_crop=32, picture_every=1, schedule="decay"
    )
    pictures: list[tuple[int, NDArray[np.uint8]]] = []
    unbroken = run(photo_shards, tmp_path / "a", config, pictures=pictures)
    assert [picture.shape for _, picture in pictures] == [(128, 128, 3)] * 2 + [(64, 96, 3)] * 4
    with pytest.raises(Killed):
        run(photo_shards, tmp_path / "b", config, stop_at=6)
    assert same(unbroken.compressor, run(photo_shards, tmp_path / "b", config).compressor)


def test_fine_tuning_starts_from_the_given_weights(photo_shards: Path, tmp_path: Path) -> None:
    start = run(photo_shards, tmp_path / "a").compressor
    config = msgspec.structs.replace(TRAINING, steps=1, learning_rate=1e-12, ema=0.0)
    tuned = run(photo_shards, tmp_path / "b", config, initial=start.state_dict()).compressor
    pairs = zip(start.state_dict().values(), tuned.state_dict().values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize(
    ("schedule", "rates"), [("constant", [1, 1, 1]), ("cosine", [1, 0.5, 0]), ("decay", [1, 1, 0.5])]
)
def test_the_learning_rate_follows_its_schedule(schedule: str, rates: list[float]) -> None:
    config = msgspec.structs.replace(TRAINING, schedule=schedule, steps=100, adversarial_from=0, learning_rate=3.0)
    if schedule == "decay":
        config = msgspec.structs.replace(config, adversarial_from=50)
        assert scheduled_share(config, 75) == pytest.approx(0.5)
        rates = [1, 1, 0]
    assert [scheduled_share(config, step) for step in (0, 50, 100)] == pytest.approx(rates)
    warm = msgspec.structs.replace(config, warmup=10)
    assert scheduled_share(warm, 4) == pytest.approx(0.5 * scheduled_share(config, 4))


def test_the_discriminator_has_a_learning_rate_of_its_own_by_the_same_schedule(
    photo_shards: Path, tmp_path: Path
) -> None:
    discriminator = DiscriminatorConfig(width=4, scales=1, learning_rate=0.02)
    config = msgspec.structs.replace(TRAINING, steps=6, discriminator=discriminator)
    run(photo_shards, tmp_path / "a", config)
    state = load_state(tmp_path / "a")
    assert state is not None
    share = scheduled_share(config, 5)
    assert 0 < share < 1
    assert state["optimiser_D"]["param_groups"][0]["lr"] == pytest.approx(0.02 * share)
    assert state["optimiser_G"]["param_groups"][0]["lr"] == pytest.approx(config.learning_rate * share)


def test_label_maps_that_do_not_fit_are_refused(photo_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has 4 classes, and the model's config says 7"):
        run(photo_shards, tmp_path / "a", model=gc(mode="sc", classes=7))
