"""The training loop of a compressor: eq. 6, step by step."""

import itertools
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
from torch.nn.functional import log_softmax, mse_loss
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gencomp.data.loader import UNLABELLED, Batch, Loader, check_batch, derived_seed, label_classes, scaled
from gencomp.models.compressor import Compressor, ModelConfig, Reconstruction
from gencomp.models.context import ContextNetwork, ContextWeights
from gencomp.models.discriminator import Discriminator, Judgement
from gencomp.models.latent import draw_noise
from gencomp.models.lpips import SMALLEST_SIDE
from gencomp.models.selective import mask_to_latent
from gencomp.models.semantics import one_hot
from gencomp.training.draws import Draw, draw_step, mask_generators
from gencomp.training.health import center_counts, dead_centers, score_gap, warnings
from gencomp.training.losses import (
    LPIPS_GRID,
    Decoded,
    GeneratorLoss,
    LossConfig,
    Perceptual,
    discriminator_loss,
    generator_loss,
    mean_distance,
)
from gencomp.training.masks import draw_masks
from gencomp.training.networks import (
    Networks,
    arrange,
    fix_statistics,
    frozen,
    initial_networks,
    perceptual_networks,
    set_checkpointing,
)
from gencomp.training.resume import load_state, save_state

Positive = Annotated[int, msgspec.Meta(ge=1)]
COMPILED_TOLERANCE = 0.5
"""Largest error of a compiled network's gradients, relative to their norm; rounding in bf16 alone is a tenth."""


class DiscriminatorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape of D. The defaults are pix2pixHD's."""

    width: Positive = 64
    """Filters of the first layer."""
    scales: Positive = 3
    """Scales that D looks at."""
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Of D's Adam, by the schedule of E and G; none: theirs."""
    betas: tuple[float, float] | None = None
    """Of D's Adam; none: those of E and G."""
    semantics: bool = False
    """Give D the label map and the edges of instances too: GC (D+). D of SC has them whatever this says."""


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that decides a training run, beside the model, the shards and the seed."""

    steps: Positive
    """Updates of E and G."""
    part: Literal["all", "encoder"] = "all"
    """`encoder` trains E alone for the decoder of `init`, which stays as it is to the last bit, G, tables and context
    network: whoever has that decodes the new encoder's files."""
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
    schedule: Literal["constant", "cosine", "decay"] = "constant"
    """Of the learning rate; `cosine` falls to zero at the last step, `decay` does so from `adversarial_from` on."""
    warmup: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Steps over which the learning rate rises from zero."""
    gradient_norm: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Largest norm of the gradient of E and G, which is scaled down to it; none: as it is."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam."""
    perceptual_from: Annotated[int, msgspec.Meta(ge=0)] = 0
    """First step with VGG, LPIPS and DISTS, whose gradients drown the distortion's as long as the picture is a blur."""
    adversarial_from: Annotated[int, msgspec.Meta(ge=0)] = 0
    """First step with D; the steps before it train on distortion and the perceptual terms alone."""
    adversarial_batch: Positive | None = None
    """`batch` from `adversarial_from` on; none: the same."""
    adversarial_crop: Annotated[int, msgspec.Meta(ge=32)] | None = None
    """`crop` from `adversarial_from` on; none: the same."""
    statistics_from: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """First step in which G normalises by its tracked statistics instead of the picture's (`normalisation: tracked`);
    none: never in training. The paper does it in the second half."""
    ema: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Decay per step of the averaged weights that the package gets; 0 packs the last weights."""
    precision: Literal["no", "bf16"] = "no"
    """`bf16` computes under autocast, with a warning in float32 on a CPU that it would be a hundred times slower on;
    `no` in float32."""
    channels_last: bool = False
    """Keep images and weights with their channels innermost."""
    compile: bool = False
    """Compile E, G, D and the networks on VGG16 by torch.compile; where that fails they run as they are, with a warning
    that says so."""
    recompute: bool = False
    """Compute E's and G's activations again on the way back instead of keeping them: less memory, a third more time."""
    workers: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Processes that decode samples; their number changes no result."""
    log_every: Positive = 10
    """Steps between rows of history.csv."""
    checkpoint_every: Positive = 100
    """Steps between resume states; a multiple of `log_every`."""
    picture_every: Positive = 100
    """Steps between pictures of reconstructions and of the use of centers; the latter at rows of history.csv alone."""
    losses: LossConfig = LossConfig()
    """Weights of the terms of the objective."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """The shape of D."""

    def __post_init__(self) -> None:
        if self.checkpoint_every % self.log_every:
            raise ValueError(f"checkpoint_every {self.checkpoint_every} is no multiple of log_every {self.log_every}")
        if self.statistics_from is not None and self.recompute:
            raise ValueError("statistics_from goes without recompute, which would track each step's statistics twice")


class Progress(NamedTuple):
    """What the loop tells its caller after a logged step."""

    step: int
    """Updates done."""
    losses: dict[str, float]
    """Means since the last report."""
    usage: NDArray[np.int64]
    """(C, L), how often each center was used since the last report."""


class Trained(NamedTuple):
    """What a finished training leaves."""

    compressor: Compressor
    """On the CPU, in evaluation mode, with averaged weights where the config asks for them."""
    history: list[dict[str, float]]
    """One row per `log_every` steps."""


class DivergedError(RuntimeError):
    """A loss that is no longer finite; the message is one line."""


class Observer(NamedTuple):
    """Whom the loop tells what; none of it changes a result. With several processes, the first one alone tells."""

    progress: Callable[[Progress], None]
    picture: Callable[[int, NDArray[np.uint8]], None]
    """Gets the step and a picture (H, W, 3): originals above their reconstructions."""
    warn: Callable[[int, str], None] = lambda step, message: None
    """Gets the step and one line about what goes wrong without stopping the run."""


def train(
    model: ModelConfig,
    config: TrainingConfig,
    shards: Path,
    seed: int,
    scratch: Path,
    observer: Observer,
    initial: dict[str, Tensor] | None = None,
    context: ContextWeights | None = None,
) -> Trained:
    """Train E, G and D on the `train` split of `shards`, going on from the state in `scratch` where there is one.

    `initial`, the tensors of a trained compressor, is what a fine-tuning starts from, and `context` the network that
    its symbols are coded with, by which `losses.rate` is counted. The result depends on them, the configs, the shards
    and the seed alone (on one kind of device, with one thread count). Under torchrun, each process works on its slice
    of every batch. Raises DivergedError when a loss is not finite, ValueError when the crop does not fit the model,
    label maps are missing, or the rate or E alone is to be trained without what that takes, MissingWeightsError when a
    perceptual term lacks its network.
    """
    return Run(model, config, shards, seed, scratch, observer, initial, context).finish()


class Run:
    """One training run: what stays the same over its steps, and the steps."""

    def __init__(
        self,
        model: ModelConfig,
        config: TrainingConfig,
        shards: Path,
        seed: int,
        scratch: Path,
        observer: Observer,
        initial: dict[str, Tensor] | None = None,
        context: ContextWeights | None = None,
    ) -> None:
        self.model, self.config, self.shards, self.seed = model, config, shards, seed
        self.scratch, self.observer = scratch, observer
        self.classes = _classes(model, config, shards)
        _check_crops(model, config)
        _check_part(model, config, initial, context)
        half = config.precision == "bf16" and has_bf16()
        # Without being told so, Accelerate takes processes on a CPU for one each.
        self.accelerator = Accelerator(mixed_precision="bf16" if half else "no", cpu=not torch.cuda.is_available())
        for batch in (config.batch, config.adversarial_batch or config.batch):
            check_batch(batch, self.accelerator.num_processes)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.perceptual = perceptual_networks(config.losses, self.accelerator.device, self.layout, half=half)
        self.context = _context(config, context, self.accelerator.device)
        self.networks = self._networks(initial)
        self.start, self.history = self.networks.restore(load_state(scratch))
        if config.precision == "bf16" and not half:
            observer.warn(self.start, "this CPU has no instructions for bf16: training in float32")
        self._prepare()
        self.sums: dict[str, Tensor] = {}
        self.counts = torch.zeros(model.channels, model.levels, device=self.accelerator.device)

    def finish(self) -> Trained:
        """All steps that are left."""
        stages = self._stages()
        for step in range(self.start, self.config.steps):
            self.step(step, next(stages))
        self.accelerator.wait_for_everyone()
        return Trained(self.networks.result(self.config.ema > 0), self.history)

    def step(self, step: int, batch: Batch) -> None:
        """One update of E and G, and of D once it takes part."""
        config, nets = self.config, self.networks
        ranks, rank = self.accelerator.num_processes, self.accelerator.process_index
        draw = draw_step(self.seed, step, len(batch.keys) * ranks, self.model.channels)
        self._set_learning_rate(step)
        if step == config.statistics_from:
            fix_statistics(nets.compressor.G)
        adversarial = config.losses.adversarial > 0 and step >= config.adversarial_from

        x = scaled(batch.images.to(self.accelerator.device), self.layout)
        s = self._semantics(batch)
        m = self._mask(batch, step) if self.model.mode == "sc" else None
        kept = None if m is None else mask_to_latent(m, self.model.latent_stride)
        with self.accelerator.autocast():
            coded = draw.of_rank(rank, ranks).to(x.device)
            x_hat, w_hat, w = self._compress(x, s, m, coded, draw)
            real = self._judge(self.D, x, s) if adversarial else []
            fake = self._judge(self.D, x_hat.detach(), s) if adversarial else []
            loss_D = discriminator_loss(real, fake, config.losses.gan) if adversarial else x.new_zeros(())
            with frozen(nets.discriminator):
                seen = self._judge(nets.discriminator, x_hat, s) if adversarial else []
            counted = coded if self.model.nested else None
            decoded = Decoded(x, x_hat, w, m, counted, self._prices(w_hat), kept)
            perceptual = self._perceptual_terms(step)
            loss_G = generator_loss(decoded, real, seen, config.losses, perceptual, nets.compressor.q, draw.origin)

        self.step_G.zero_grad()
        self.accelerator.backward(loss_G.total)
        if config.gradient_norm:
            self.accelerator.clip_grad_norm_(nets.compressor.parameters(), config.gradient_norm)
        self.step_G.step()
        if adversarial:
            self.step_D.zero_grad()
            self.accelerator.backward(loss_D)
            self.step_D.step()
        nets.ema.update_parameters(nets.compressor)

        self._add(loss_G, loss_D, score_gap(real, fake, config.losses.gan) if adversarial else x.new_zeros(()))
        self.counts += center_counts(w_hat, nets.compressor.q.centers, kept)
        self._tell(step + 1, x, x_hat)

    def _networks(self, initial: dict[str, Tensor] | None) -> Networks:
        shape, config, device = self.config.discriminator, self.config, self.accelerator.device
        semantics = self.classes + 1 if self.classes else 0
        discriminator = Discriminator(3 + semantics, shape.width, shape.scales)
        compressor = initial_networks(self.model, discriminator, self.seed, initial)
        arrange(self.layout, compressor, discriminator)
        if config.recompute:
            set_checkpointing(compressor)
        if config.part == "encoder":
            compressor.G.requires_grad_(False)
            fix_statistics(compressor.G)
        trained = [parameter for parameter in compressor.parameters() if parameter.requires_grad]
        return Networks(
            compressor,
            discriminator,
            AveragedModel(compressor, multi_avg_fn=get_ema_multi_avg_fn(config.ema)).to(device),
            Adam(trained, config.learning_rate, config.betas, fused=True),
            Adam(discriminator.parameters(), config.learning_rate, shape.betas or config.betas, fused=True),
        )

    def _prepare(self) -> None:
        """Put the networks on the device, wrapped for several processes and compiled where the config asks for it."""
        nets = self.networks
        self.E_q_G, self.D, self.step_G, self.step_D = self.accelerator.prepare(
            nets.compressor, nets.discriminator, nets.optimiser_G, nets.optimiser_D
        )
        statistics_from = self.config.statistics_from
        if statistics_from is not None and self.start >= statistics_from:
            fix_statistics(nets.compressor.G)
        if self.config.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile the networks in place, each if it then computes the gradients that it computed before; compilers fail
        in silence too."""
        nets = self.networks
        networks: dict[str, nn.Module | None] = {
            **{"E": nets.compressor.E, "G": nets.compressor.G},
            **{"D": nets.discriminator, "LPIPS (VGG16)": self.perceptual.lpips_vgg, "DISTS": self.perceptual.dists},
        }
        expected = self._rehearse()
        for name, network in networks.items():
            if network is None:
                continue
            network.compile(dynamic=False)  # shapes are the same in every step, and general ones take minutes
            try:
                problem = _difference(self._rehearse(), expected)
            except Exception as failure:  # whatever the compiler or its compiler says
                problem = _first_line(failure)
            if problem:
                network._compiled_call_impl = None
                self.observer.warn(self.start, f"torch.compile fails here on {name}, which runs as it is: {problem}")

    def _rehearse(self) -> list[Tensor]:
        """The gradients of one pass through the networks and back, on noise as large as the first stage's batches, of
        which tracked statistics keep nothing."""
        config, nets, device = self.config, self.networks, self.accelerator.device
        tracked = [(buffer, buffer.clone()) for buffer in nets.compressor.buffers()]
        side = max(config.crop, self.model.smallest_side)
        images = config.batch // self.accelerator.num_processes
        noise = torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(self.seed))
        x = (2 * noise - 1).to(device).contiguous(memory_format=self.layout)
        s = torch.zeros(images, self.classes + 1, side, side, device=device) if self.classes else None
        m = torch.ones_like(x[:, :1]) if self.model.mode == "sc" else None
        draw = draw_step(self.seed, 0, images, self.model.channels)
        with self.accelerator.autocast():
            x_hat = self._compress(x, s, m, draw.coded, draw, nets.compressor).x_hat
            scores = [judgement.scores for judgement in self._judge(nets.discriminator, x_hat, s)]
            terms = [mse_loss(x_hat.float(), x), *(score.float().square().mean() for score in scores)]
            seen = config.losses.vgg16_images
            costly = (self.perceptual.lpips_vgg, self.perceptual.dists)
            terms += [mean_distance(x[:seen], x_hat[:seen], network) for network in costly if network]
        torch.stack(terms).sum().backward()
        for buffer, before in tracked:
            buffer.copy_(before)
        parameters = [*nets.compressor.parameters(), *nets.discriminator.parameters()]
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad.clone() for one in parameters]
        for one in parameters:
            one.grad = None
        return gradients

    def _stages(self) -> Iterator[Batch]:
        """The batches from the first step of this run on; those with D may have another size."""
        config, first = self.config, self.config.adversarial_from
        if self.start < first:
            warm = self._loader(config.batch, config.crop, self.seed)
            yield from itertools.islice(self._batches(warm, self.start), first - self.start)
        batch, crop = config.adversarial_batch or config.batch, config.adversarial_crop or config.crop
        if (batch, crop) == (config.batch, config.crop):
            yield from self._batches(self._loader(batch, crop, self.seed), max(self.start, first))
        second = self._loader(batch, crop, derived_seed(self.seed, "adversarial"))
        yield from self._batches(second, max(self.start - first, 0))

    def _loader(self, batch: int, crop: int, seed: int) -> Loader:
        config = self.config
        return Loader(
            *(self.shards, "train", batch, crop, seed),
            *(config.colour_jitter, config.largest_reduction, config.cache_megabytes),
        )

    def _batches(self, loader: Loader, start: int) -> Iterator[Batch]:
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        return loader.batches(start, rank, ranks, self.config.workers)

    def _perceptual_terms(self, step: int) -> Perceptual:
        """The perceptual networks that step number `step` trains against."""
        if step < self.config.perceptual_from:
            return Perceptual()
        return self.perceptual.taking_turns(step) if self.config.losses.vgg16_turns else self.perceptual

    def _semantics(self, batch: Batch) -> Tensor | None:
        """s of a batch where a network sees it, on the device."""
        if not self.classes:
            return None
        labels = batch.labels
        if labels is None:
            labels = torch.full_like(batch.images[:, 0], UNLABELLED, dtype=torch.int64)
        s = one_hot(labels, batch.edges, self.classes)
        return s.to(self.accelerator.device, memory_format=self.layout)

    def _mask(self, batch: Batch, step: int) -> Tensor:
        first = self.accelerator.process_index * len(batch.keys)
        generators = mask_generators(self.seed, step, range(first, first + len(batch.keys)))
        return draw_masks(batch, generators).to(self.accelerator.device)

    def _compress(
        self, x: Tensor, s: Tensor | None, m: Tensor | None, coded: Tensor, draw: Draw, network: nn.Module | None = None
    ) -> Reconstruction:
        model, ranks, rank = self.model, self.accelerator.num_processes, self.accelerator.process_index
        v = None
        if model.noise:  # of the whole batch, of which this rank takes its part
            latent = x[:, :1, :: model.latent_stride, :: model.latent_stride]
            v = draw_noise(latent.repeat(ranks, 1, 1, 1), model.noise, draw.noise).chunk(ranks)[rank]
        reconstruction: Reconstruction = (network or self.E_q_G)(
            x,
            coded=coded.to(x.device) if model.nested else None,
            v=v,
            s=s if model.mode == "sc" else None,
            m=m,
        )
        return reconstruction

    def _prices(self, w_hat: Tensor) -> Tensor | None:
        """Bits that the context network charges for each center, (N, C, h, w, L), where the rate has a weight.

        They pass a gradient on to the symbols that they hang on, as q does to w.
        """
        if self.context is None:
            return None
        symbols = w_hat.float() + (self.model.levels - 1) / 2  # the centers are one apart
        with torch.autocast(w_hat.device.type, enabled=False):
            logits = self.context(symbols, torch.ones_like(w_hat[:, :1], dtype=torch.bool))
        return -log_softmax(logits, 2).permute(0, 1, 3, 4, 2) / math.log(2)

    @staticmethod
    def _judge(discriminator: nn.Module, image: Tensor, s: Tensor | None) -> list[Judgement]:
        judgements: list[Judgement] = discriminator(image if s is None else torch.cat([image, s], 1))
        return judgements

    def _set_learning_rate(self, step: int) -> None:
        config = self.config
        share = scheduled_share(config, step)
        for group in self.step_G.param_groups:
            group["lr"] = share * config.learning_rate
        for group in self.step_D.param_groups:
            group["lr"] = share * (config.discriminator.learning_rate or config.learning_rate)

    def _add(self, loss_G: GeneratorLoss, loss_D: Tensor, gap: Tensor) -> None:
        values = {"loss": loss_G.total, **loss_G._asdict(), "discriminator": loss_D, "score_gap": gap}
        for name, value in values.items():
            if name != "total":
                self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value.detach()

    def _tell(self, done: int, x: Tensor, x_hat: Tensor) -> None:
        """What is due after `done` steps: a row of the history, a picture, the state, warnings."""
        config, first = self.config, self.accelerator.is_main_process
        last = done == config.steps
        if done % config.log_every == 0 or last:
            report = self._report(done)
            if first:
                self.observer.progress(report)
        if first and (done % config.picture_every == 0 or last):
            self.observer.picture(done, _picture(x, x_hat))
        if first and done % config.checkpoint_every == 0:
            for message in warnings(self.history[-(config.checkpoint_every // config.log_every) :]):
                self.observer.warn(done, message)
            save_state(self.scratch, self.networks.state(done, self.history))

    def _report(self, step: int) -> Progress:
        """What came of the steps since the last row, as a new row of the history. Raises DivergedError."""
        count = step - (int(self.history[-1]["step"]) if self.history else 0)
        means = {name: self.accelerator.reduce(value / count, "mean") for name, value in self.sums.items()}
        row = {name: float(value) for name, value in means.items()}
        counts = self.accelerator.reduce(self.counts, "sum")
        row["dead_centers"] = float(dead_centers(counts))
        usage = counts.long().cpu().numpy()
        self.sums.clear()
        self.counts.zero_()
        broken = [name for name, value in row.items() if not math.isfinite(value)]
        if broken:
            raise DivergedError(f"{broken[0]} is no longer finite before step {step}; try a lower learning_rate")
        self.history.append({"step": step, **row})
        return Progress(step, row, usage)


def scheduled_share(config: TrainingConfig, step: int) -> float:
    """What step number `step` has of the learning rates, in [0, 1]."""
    start = {"constant": config.steps, "cosine": 0, "decay": config.adversarial_from}[config.schedule]
    fallen = max(0, step - start) / max(1, config.steps - start)
    share = (1 + math.cos(math.pi * fallen)) / 2
    return share * min(1.0, (step + 1) / max(config.warmup, 1))


def _classes(model: ModelConfig, config: TrainingConfig, shards: Path) -> int:
    """Classes of the label maps that a network sees; 0 when none does. Raises ValueError when they do not fit."""
    if model.mode == "gc" and not config.discriminator.semantics:
        return 0
    classes = label_classes(shards)
    if not classes:
        raise ValueError(f"{shards} has no label maps, which SC and GC (D+) are trained with")
    if model.mode == "sc" and classes != model.classes:
        raise ValueError(f"{shards} has {classes} classes, and the model's config says {model.classes}")
    return classes


def has_bf16() -> bool:
    """Whether the device computes in bf16 rather than imitating it: a GPU, or a CPU that oneDNN has kernels for."""
    return torch.cuda.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _check_crops(model: ModelConfig, config: TrainingConfig) -> None:
    least = SMALLEST_SIDE + LPIPS_GRID - 1 if config.losses.lpips else 0
    for crop in (config.crop, config.adversarial_crop or config.crop):
        if crop % model.stride or crop < model.smallest_side:
            raise ValueError(f"crop {crop} is no multiple of {model.stride} or below {model.smallest_side} pixels")
        if crop < least:
            raise ValueError(f"crop {crop} is below the {least} pixels that LPIPS from a shifting origin needs")


def _check_part(
    model: ModelConfig, config: TrainingConfig, initial: dict[str, Tensor] | None, context: ContextWeights | None
) -> None:
    if config.part == "encoder" and initial is None:
        raise ValueError("part: encoder needs `init`, whose decoder it trains for")
    if config.losses.rate and (config.part != "encoder" or context is None or model.mode == "sc"):
        raise ValueError("losses.rate needs part: encoder, and an `init` with a context network and not of mode sc")


def _context(config: TrainingConfig, weights: ContextWeights | None, device: torch.device) -> ContextNetwork | None:
    """The network that the rate is counted by, which stays as it is."""
    if weights is None or not config.losses.rate:
        return None
    return ContextNetwork.from_weights(weights).to(device).requires_grad_(False)


def _picture(x: Tensor, x_hat: Tensor) -> NDArray[np.uint8]:
    """Up to four originals above their reconstructions, (2h, 4w, 3)."""
    rows = [torch.cat(list(images[:4]), dim=2) for images in (x, x_hat.detach().float())]
    picture = (torch.cat(rows, dim=1).clamp(-1, 1) + 1) * 127.5
    return picture.round().byte().permute(1, 2, 0).cpu().numpy()


def _difference(found: list[Tensor], expected: list[Tensor]) -> str | None:
    """What is wrong with gradients beside those that were expected; None where they are the same but for rounding."""
    pairs = list(zip(found, expected, strict=True))
    difference = torch.stack([(a - b).float().square().sum() for a, b in pairs]).sum()
    error = float((difference / torch.stack([b.float().square().sum() for _, b in pairs]).sum()).sqrt())
    if not math.isfinite(error):
        return "its gradients are not finite"
    return f"its gradients are off by {error:.0%}" if error > COMPILED_TOLERANCE else None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
