"""The training loop of a compressor: eq. 6, step by step."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gencomp.data.loader import Loader, derived_seed
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.discriminator import Discriminator
from gencomp.models.features import load_vgg19
from gencomp.models.lpips import load_lpips
from gencomp.training.losses import (
    LPIPS_GRID,
    GeneratorLoss,
    LossConfig,
    Perceptual,
    discriminator_loss,
    generator_loss,
)
from gencomp.training.resume import TrainingState, load_state, save_state

Positive = Annotated[int, msgspec.Meta(ge=1)]


class DiscriminatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape of D. The defaults are pix2pixHD's."""

    width: Positive = 64
    """Filters of the first layer."""
    scales: Positive = 3
    """Scales that D looks at."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of D's Adam, constant; none: that of E and G, by their schedule."""


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a training run, beside the model, the shards and the seed."""

    steps: Positive
    """Updates of E and G."""
    batch: Positive = 1
    """Images of a step, over all processes."""
    crop: Annotated[int, msgspec.Meta(ge=32)] = 256
    """Side of the square crops, pixels; a multiple of the model's stride."""
    colour_jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Largest relative change of brightness, contrast and saturation of a crop, and a fifth of it of hue."""
    largest_reduction: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    """Crops are windows of up to this many times their side, reduced; 1 cuts them from the image as it is."""
    cache_megabytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Decoded images that a worker process keeps, in 10^6 bytes; it changes no result."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 2e-4
    """Of Adam, for E, G and D."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rate; `cosine` falls to zero at the last step."""
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Steps over which the learning rate rises from zero."""
    gradient_norm: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Largest norm of the gradient of E and G, which is scaled down to it; none: as it is."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam."""
    adversarial_from: Annotated[int, msgspec.Meta(ge=0)] = 0
    """First step with D; the steps before it train on distortion and VGG alone."""
    ema: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Decay per step of the averaged weights that the package gets; 0 packs the last weights."""
    precision: Literal["no", "bf16"] = "no"
    """`bf16` computes under autocast; `no` in float32."""
    channels_last: bool = False
    """Keep images and weights with their channels innermost."""
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Processes that decode samples; their number changes no result."""
    log_every: Positive = 10
    """Steps between rows of history.csv."""
    checkpoint_every: Positive = 100
    """Steps between resume states; a multiple of `log_every`."""
    picture_every: Positive = 100
    """Steps between pictures of reconstructions."""
    losses: LossConfig = LossConfig()
    """Weights of the terms of the objective."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """The shape of D."""

    def __post_init__(self) -> None:
        if self.checkpoint_every % self.log_every:
            raise ValueError(f"checkpoint_every {self.checkpoint_every} is no multiple of log_every {self.log_every}")


class Progress(NamedTuple):
    """What the loop tells its caller after a logged step."""

    step: int
    """Updates done."""
    losses: dict[str, float]
    """Means since the last report."""


class Trained(NamedTuple):
    """What a finished training leaves."""

    compressor: Compressor
    """On the CPU, in evaluation mode, with averaged weights where the config asks for them."""
    history: list[dict[str, float]]
    """One row per `log_every` steps."""


class DivergedError(RuntimeError):
    """A loss that is no longer finite; the message is one line."""


class Observer(NamedTuple):
    """Whom the loop tells what; none of it changes a result."""

    progress: Callable[[Progress], None]
    picture: Callable[[int, NDArray[np.uint8]], None]
    """Gets the step and a picture (H, W, 3): originals above their reconstructions."""


def train(
    model: ModelConfig, config: TrainingConfig, shards: Path, seed: int, scratch: Path, observer: Observer
) -> Trained:
    """Train E, G and D on the `train` split of `shards`, going on from the state in `scratch` where there is one.

    The result depends on the configs, the shards and the seed alone (on one kind of device, with one thread count).
    Raises DivergedError when a loss is not finite, ValueError when the crop does not fit the model.
    """
    if config.crop % model.stride or config.crop < model.smallest_side:
        raise ValueError(f"crop {config.crop} is no multiple of {model.stride} or below {model.smallest_side} pixels")
    accelerator = Accelerator(mixed_precision=config.precision)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    compressor, discriminator = _networks(model, config, seed)
    _arrange(layout, compressor, discriminator)
    perceptual = _perceptual(config.losses, accelerator.device, layout)
    optimiser_G = Adam(compressor.parameters(), config.learning_rate, config.betas)
    optimiser_D = Adam(
        discriminator.parameters(), config.discriminator.learning_rate or config.learning_rate, config.betas
    )
    ema = AveragedModel(compressor, multi_avg_fn=get_ema_multi_avg_fn(config.ema)).to(accelerator.device)
    nets = Networks(compressor, discriminator, ema, optimiser_G, optimiser_D)
    start, history = nets.restore(load_state(scratch))
    E_q_G, D, step_G, step_D = accelerator.prepare(compressor, discriminator, optimiser_G, optimiser_D)

    loader = Loader(
        *(shards, "train", config.batch, config.crop, seed),
        *(config.colour_jitter, config.largest_reduction, config.cache_megabytes),
    )
    batches = loader.batches(start, accelerator.process_index, accelerator.num_processes, config.workers)
    sums: dict[str, Tensor] = {}
    for step in range(start, config.steps):
        x = next(batches).images.to(accelerator.device, memory_format=layout)
        draw = np.random.default_rng(derived_seed(seed, "step", step))
        coded = _slice(draw_channels(draw, config.batch, model.channels), accelerator) if model.nested else None
        origin = (int(draw.integers(LPIPS_GRID)), int(draw.integers(LPIPS_GRID)))
        _set_learning_rate(config, step, step_G, step_D)
        adversarial = config.losses.adversarial > 0 and step >= config.adversarial_from

        with accelerator.autocast():
            x_hat = E_q_G(x, coded).x_hat
            real = D(x) if adversarial else []
            loss_D = discriminator_loss(real, D(x_hat.detach()), config.losses.gan) if adversarial else x.new_zeros(())
            with _frozen(discriminator):
                fake = discriminator(x_hat) if adversarial else []
            loss_G = generator_loss(x, x_hat, real, fake, config.losses, perceptual, origin)

        step_G.zero_grad()
        accelerator.backward(loss_G.total)
        if config.gradient_norm:
            accelerator.clip_grad_norm_(compressor.parameters(), config.gradient_norm)
        step_G.step()
        if adversarial:
            step_D.zero_grad()
            accelerator.backward(loss_D)
            step_D.step()
        ema.update_parameters(compressor)

        _add(sums, loss_G, loss_D)
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            row = _report(sums, history, done)
            observer.progress(Progress(done, row))
        if done % config.picture_every == 0 or done == config.steps:
            observer.picture(done, _picture(x, x_hat))
        if done % config.checkpoint_every == 0 and accelerator.is_main_process:
            save_state(scratch, nets.state(done, history))
    return Trained(nets.result(config), history)


class Networks(NamedTuple):
    """The networks and optimisers of a run, and how they become a state and come back from one."""

    compressor: Compressor
    discriminator: Discriminator
    ema: AveragedModel
    optimiser_G: Optimizer
    optimiser_D: Optimizer

    def state(self, step: int, history: list[dict[str, float]]) -> TrainingState:
        return TrainingState(
            step=step,
            compressor=self.compressor.state_dict(),
            discriminator=self.discriminator.state_dict(),
            ema=self.ema.state_dict(),
            optimiser_G=self.optimiser_G.state_dict(),
            optimiser_D=self.optimiser_D.state_dict(),
            history=history,
        )

    def restore(self, state: TrainingState | None) -> tuple[int, list[dict[str, float]]]:
        """(steps done, history) of a state, after loading it; (0, []) of none."""
        if state is None:
            return 0, []
        self.compressor.load_state_dict(state["compressor"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser_G.load_state_dict(state["optimiser_G"])
        self.optimiser_D.load_state_dict(state["optimiser_D"])
        return state["step"], state["history"]

    def result(self, config: TrainingConfig) -> Compressor:
        chosen = self.ema.module if config.ema else self.compressor
        assert isinstance(chosen, Compressor)
        return chosen.cpu().eval().requires_grad_(False)


def _networks(model: ModelConfig, config: TrainingConfig, seed: int) -> tuple[Compressor, Discriminator]:
    generator = torch.Generator().manual_seed(derived_seed(seed, "weights"))
    compressor = Compressor(model)
    discriminator = Discriminator(3, config.discriminator.width, config.discriminator.scales)
    initialise(compressor, generator)
    initialise(discriminator, generator)
    return compressor, discriminator


def draw_channels(draw: np.random.Generator, batch: int, channels: int) -> Tensor:
    """How many channels of each image are coded, (batch,), C in [1, channels] with a chance in proportion to
    1 / (C + 2): low rates often, so that the first channels learn the most, and high ones often enough."""
    counts = np.arange(1, channels + 1)
    chances = 1 / (counts + 2)
    return torch.from_numpy(draw.choice(counts, batch, p=chances / chances.sum()))


def _slice(whole: Tensor, accelerator: Accelerator) -> Tensor:
    """This rank's part of what was drawn for the whole batch."""
    return whole.chunk(accelerator.num_processes)[accelerator.process_index].to(accelerator.device)


def _perceptual(config: LossConfig, device: torch.device, layout: torch.memory_format) -> Perceptual:
    vgg = load_vgg19(Path(config.vgg_weights or "")).to(device) if config.vgg else None
    lpips = load_lpips(Path(config.lpips_weights or "")).to(device) if config.lpips else None
    _arrange(layout, *(network for network in (vgg, lpips) if network))
    return Perceptual(vgg, lpips)


def _arrange(layout: torch.memory_format, *networks: nn.Module) -> None:
    """Put the convolutions' weights into a memory layout."""
    for network in networks:
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=layout)


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the network's weights, so that the pass for G costs no more than it must."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def _set_learning_rate(config: TrainingConfig, step: int, step_G: Optimizer, step_D: Optimizer) -> None:
    share = (1 + math.cos(math.pi * step / config.steps)) / 2 if config.schedule == "cosine" else 1.0
    rate = config.learning_rate * share * min(1.0, (step + 1) / max(config.warmup, 1))
    for group in step_G.param_groups:
        group["lr"] = rate
    for group in step_D.param_groups:
        group["lr"] = config.discriminator.learning_rate or rate


def _add(sums: dict[str, Tensor], loss_G: GeneratorLoss, loss_D: Tensor) -> None:
    for name, value in {"loss": loss_G.total, **loss_G._asdict(), "discriminator": loss_D}.items():
        if name != "total":
            sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()


def _report(sums: dict[str, Tensor], history: list[dict[str, float]], step: int) -> dict[str, float]:
    """The mean losses since the last row, which become a row of the history. Raises DivergedError."""
    count = step - (int(history[-1]["step"]) if history else 0)
    row = {name: float(value) / count for name, value in sums.items()}
    sums.clear()
    broken = [name for name, value in row.items() if not math.isfinite(value)]
    if broken:
        raise DivergedError(f"{broken[0]} is no longer finite before step {step}; try a lower learning_rate")
    history.append({"step": step, **row})
    return row


def _picture(x: Tensor, x_hat: Tensor) -> NDArray[np.uint8]:
    """Up to four originals above their reconstructions, (2h, 4w, 3)."""
    rows = [torch.cat(list(images[:4]), dim=2) for images in (x, x_hat.detach().float())]
    picture = (torch.cat(rows, dim=1).clamp(-1, 1) + 1) * 127.5
    return picture.round().byte().permute(1, 2, 0).cpu().numpy()
