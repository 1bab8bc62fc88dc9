"""How fast training goes: the bare loop with its losses switched on one by one, and the trainer beside the bare loop.

`paper` is ModelConfig() on 512 x 1024 pixels, `light` the light networks on 256 x 256. MFU is the FLOPs of a whole
step, counted, per second, over those of a large matrix product, measured in the same precision on the same device.
The trainer crops squares, so beside it the bare loop too has a square of about as many pixels.
"""

import argparse
import contextlib
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bare_loop import BareLoop
from benchmarks.clock import forget_peak, hardware, matrix_product_ceiling, now, peak_bytes
from benchmarks.photographs import write_shards
from benchmarks.rows import Bar, Row, arguments, compared, finish, measured, say, unmeasured
from gencomp.data.loader import Batch
from gencomp.models.compressor import ModelConfig
from gencomp.models.light import LightConfig
from gencomp.training.losses import LossConfig
from gencomp.training.trainer import DiscriminatorConfig, Observer, Progress, Run, TrainingConfig
from gencomp.weights.cache import weights_path
from gencomp.weights.failure import MissingWeightsError

PAPER_TERMS = {"distortion": 10.0, "vgg": 1.0, "adversarial": 1.0, "feature_matching": 10.0}
LIGHT_TERMS = {"distortion": 3.5, "lpips": 2.0, "lpips_vgg": 2.0, "dists": 2.0, "adversarial": 0.03}
"""The terms in the order in which they are switched on, with their weights; those on VGG16 see one image."""
PERCEPTUAL = {"lpips": ("lpips-alex",), "vgg": ("vgg19",), "lpips_vgg": ("lpips-vgg",), "dists": ("dists", "lpips-vgg")}
"""Weights of networks that a term needs."""
PAPER_SIZE = (512, 1024)
"""Height and width."""
NEAR_BARE = Bar("<=", 1.05)
"""Of the trainer's time per step over the bare loop's."""
STARVED = Bar("<=", 2.0)
"""Per cent of the time that the trainer waits for its loader."""
PAPER_SPEED = Bar(">=", 15.0)
"""Steps per second of the paper's GC with all its losses at batch 1, on a GPU of the H200's class."""
PAPER_MFU = Bar(">=", 20.0)
"""Per cent, at batch 8."""


class Workload(NamedTuple):
    """A model and what it is trained on."""

    name: str
    model: ModelConfig
    config: TrainingConfig
    size: tuple[int, int, int]
    """Images, height and width."""
    terms: dict[str, float]
    """Of the objective, with their weights."""

    def losses(self, terms: Sequence[str]) -> LossConfig:
        """The objective with these terms alone."""
        off = dict.fromkeys(PAPER_TERMS | LIGHT_TERMS, 0.0)
        return msgspec.convert(off | {term: self.terms[term] for term in terms} | {"vgg16_images": 1}, LossConfig)

    @property
    def label(self) -> str:
        batch, height, width = self.size
        return f"{self.name} {height}x{width}, batch {batch}"

    @property
    def crop(self) -> int:
        """Side of a square of about as many pixels, a multiple of the stride."""
        stride = self.model.stride
        return round((self.size[1] * self.size[2]) ** 0.5 / stride) * stride


class Effort(NamedTuple):
    """How long to measure."""

    seconds: float
    """Of each combination of losses."""
    block: int
    """Steps of the trainer, and of the bare loop, in turn."""
    blocks: int
    product: int
    """Side of the matrices of the ceiling."""


class Figures(NamedTuple):
    """What is measured of a loop."""

    seconds: float
    """Per step."""
    flops: int
    """Per step."""
    peak: int | None
    """Bytes."""


def main() -> int:
    args = _arguments()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32  # the ceiling may use what convolutions do
    precision = args.precision or ("bf16" if device.type == "cuda" else "no")
    say(hardware(device))
    effort = _effort(args.quick, device)
    ceiling = matrix_product_ceiling(
        device, torch.bfloat16 if precision == "bf16" else torch.float32, effort.product, rounds=5
    )
    rows = [measured(f"matrix product, {precision if precision == 'bf16' else 'float32'}", ceiling / 1e12, "TFLOP/s")]
    workers = args.workers if args.workers is not None else _workers(device)
    for workload in _workloads(args, precision, device):
        terms = available(list(workload.terms))
        rows += loss_rows(workload, terms, ceiling, effort, device)
        if workload.size[0] == 1 or workload.name == "light":
            rows += trainer_rows(workload, terms, workers, effort, device)
    if device.type == "cpu" and not args.paper_size:
        rows.append(unmeasured("paper 512x1024, batch 1", "1/s", "on a CPU only with --paper-size, such as 64x128"))
    return finish(rows, args.json)


def available(terms: Sequence[str]) -> list[str]:
    """Those of the terms whose networks are in the cache, in order."""
    found = []
    for term in terms:
        with contextlib.suppress(MissingWeightsError):
            for package in PERCEPTUAL.get(term, ()):
                weights_path(package)
            found.append(term)
    return found


def loss_rows(
    workload: Workload, terms: Sequence[str], ceiling: float, effort: Effort, device: torch.device
) -> list[Row]:
    """The bare loop with the first term, the first two, and so on."""
    rows: list[Row] = []
    first: Row | None = None
    for count, term in enumerate(workload.terms, 1):
        name = f"{workload.label}: {'+ ' if count > 1 else ''}{term}"
        if term not in terms:
            rows.append(unmeasured(f"{name}: steps", "1/s", "weights not fetched"))
            continue
        say(name)
        on = [one for one in list(workload.terms)[:count] if one in terms]
        config = msgspec.structs.replace(workload.config, losses=workload.losses(on))
        figures = loop_figures(BareLoop(workload.model, config, workload.size, device), effort, device)
        speed, mfu = _bars(workload, device) if count == len(workload.terms) == len(terms) else (None, None)
        steps = measured(f"{name}: steps", 1 / figures.seconds, "1/s", speed)
        if first and not speed:
            steps = compared(steps.name, 1 / figures.seconds, "1/s", first)
        first = first or steps
        rows += [
            steps,
            measured(f"{name}: images", workload.size[0] / figures.seconds, "1/s"),
            measured(f"{name}: FLOPs", figures.flops / 1e12, "TFLOP/step"),
            measured(f"{name}: MFU", 100 * figures.flops / figures.seconds / ceiling, "%", mfu),
            measured(f"{name}: peak memory", figures.peak / 1e9, "GB")
            if figures.peak is not None
            else unmeasured(f"{name}: peak memory", "GB", "this system does not tell"),
        ]
    return rows


def loop_figures(loop: BareLoop, effort: Effort, device: torch.device) -> Figures:
    """Time, FLOPs and memory of a step; the time is the median over five blocks of steps."""
    flops = loop.flops()
    if loop.config.compile:
        loop.compile()
    loop.step()
    gc.collect()
    forget_peak(device)
    once = _block(loop, 1, device)
    steps = max(1, round(effort.seconds / 5 / once))
    seconds = statistics.median(_block(loop, steps, device) / steps for _ in range(5))
    return Figures(seconds, flops, peak_bytes(device))


def trainer_rows(
    workload: Workload, terms: Sequence[str], workers: int, effort: Effort, device: torch.device
) -> list[Row]:
    """The trainer on shards beside the bare loop, block by block in turn, then on its own to see whether it waits."""
    batch, crop = workload.size[0], workload.crop
    label = f"{workload.name} {crop}x{crop}, batch {batch}, {len(terms)} of {len(workload.terms)} losses"
    say(f"{label}: the trainer with {workers} workers")
    config = msgspec.structs.replace(
        workload.config,
        steps=effort.block * (1 + 2 * effort.blocks),
        batch=batch,
        crop=crop,
        workers=workers,
        log_every=effort.block,
        checkpoint_every=effort.block * 10**6,
        picture_every=10**9,
        losses=workload.losses(terms),
    )
    bare = BareLoop(workload.model, config, (batch, crop, crop), device)
    if config.compile:
        bare.compile()
    turns = Turns(bare, effort, device)
    with tempfile.TemporaryDirectory() as folder:
        shards, scratch = Path(folder) / "shards", Path(folder) / "scratch"
        shards.mkdir()
        scratch.mkdir()
        write_shards(shards, 32, max(768, crop * 3 // 2), max(512, crop * 5 // 4))
        run = Watched(workload.model, config, shards, 0, scratch, Observer(turns.after_block, _no_picture))
        turns.run = run
        run.finish()
    alone = measured(f"{label}: bare loop", 1e3 * statistics.median(turns.bare) / effort.block, "ms")
    beside, after = turns.trainer[: effort.blocks], turns.trainer[effort.blocks :]
    time = 1e3 * statistics.median(beside) / effort.block
    starved = measured(
        f"{label}: starved", 100 * sum(turns.waited[effort.blocks :]) / sum(after), "%", STARVED if workers else None
    )
    return [
        alone,
        compared(f"{label}: trainer", time, "ms", alone, NEAR_BARE),
        measured(f"{label}: trainer's steps", 1e3 / time, "1/s", _bars(workload, device)[0]),
        starved,
    ]


class Watched(Run):
    """The trainer, with a watch on how long it waits for batches."""

    waited = 0.0
    """Seconds."""

    def _stages(self) -> Iterator[Batch]:
        batches = super()._stages()
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self.waited += time.perf_counter() - start
            yield batch


class Turns:
    """Lets the bare loop run whenever the trainer reports a block of steps, and notes the seconds of both.

    The trainer's first block warms up. Then follow so many blocks of both in turn, then as many of the trainer alone:
    only there does waiting count, since the loader's workers go on while the bare loop runs.
    """

    def __init__(self, loop: BareLoop, effort: Effort, device: torch.device) -> None:
        self.loop, self.effort, self.device = loop, effort, device
        self.run: Watched | None = None
        self.trainer: list[float] = []
        self.waited: list[float] = []
        self.bare: list[float] = []
        self._left: float | None = None
        for _ in range(2):
            loop.step()

    def after_block(self, report: Progress) -> None:
        assert self.run is not None
        if self._left is not None:
            self.trainer.append(now(self.device) - self._left)
            self.waited.append(self.run.waited)
        if len(self.bare) < self.effort.blocks:
            self.bare.append(_block(self.loop, self.effort.block, self.device))
        self.run.waited = 0.0
        self._left = now(self.device)


def _block(loop: BareLoop, steps: int, device: torch.device) -> float:
    start = now(device)
    for _ in range(steps):
        loop.step()
    return now(device) - start


def _no_picture(step: int, pixels: NDArray[np.uint8]) -> None:
    """Pictures are not looked at."""


def _workloads(args: argparse.Namespace, precision: str, device: torch.device) -> list[Workload]:
    shared = {"steps": 1, "precision": precision, "channels_last": not args.contiguous, "compile": args.compile}
    paper = msgspec.convert(shared, TrainingConfig)
    thin = DiscriminatorConfig(width=24, scales=1)
    light = msgspec.structs.replace(paper, gradient_norm=1.0, ema=0.999, cache_megabytes=500, discriminator=thin)
    nested = ModelConfig(channels=16, sigma=2.0, nested=True, light=LightConfig())
    found = [Workload("light", nested, light, (1, 96, 96) if args.quick else (args.batch, 256, 256), LIGHT_TERMS)]
    if args.paper_size or device.type == "cuda":
        size = args.paper_size or PAPER_SIZE
        found.append(Workload("paper", ModelConfig(), paper, (1, *size), PAPER_TERMS))
        if device.type == "cuda":
            found.append(Workload("paper", ModelConfig(), paper, (8, *size), PAPER_TERMS))
    return found


def _bars(workload: Workload, device: torch.device) -> tuple[Bar | None, Bar | None]:
    """Of steps per second and of MFU, where they apply."""
    if workload.name != "paper" or workload.size[1:] != PAPER_SIZE or not _is_large_hopper(device):
        return None, None
    return (PAPER_SPEED, None) if workload.size[0] == 1 else (None, PAPER_MFU)


def _is_large_hopper(device: torch.device) -> bool:
    """Whether the device is a GPU of the H200's class or above."""
    if device.type != "cuda":
        return False
    properties = torch.cuda.get_device_properties(device)
    return bool(properties.major >= 9 and properties.total_memory > 70e9)


def _effort(quick: bool, device: torch.device) -> Effort:
    if device.type == "cuda":
        return Effort(2.0, 20, 3, 8192) if quick else Effort(10.0, 50, 7, 8192)
    return Effort(0.5, 2, 3, 512) if quick else Effort(20.0, 5, 7, 2048)


def _workers(device: torch.device) -> int:
    """Enough for the device, and few where they would take its cores."""
    return min(8, max(1, (os.cpu_count() or 1) - 1)) if device.type == "cuda" else 1


def _size(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.split("x"))
    stride, least = ModelConfig().stride, 64  # D halves the picture twice and needs 16 pixels then
    if height % stride or width % stride or min(height, width) < least:
        raise argparse.ArgumentTypeError(f"sides are multiples of {stride} and at least {least} pixels")
    return height, width


def _arguments() -> argparse.Namespace:
    parser = arguments("Times training.")
    parser.add_argument("--batch", type=int, default=8, help="images of a step of light (default 8; 1 with --quick)")
    parser.add_argument("--paper-size", metavar="HxW", type=_size, help="pixels for paper (512x1024 on a GPU)")
    parser.add_argument("--precision", choices=("no", "bf16"), help="bf16 on a GPU, else no, which is float32")
    parser.add_argument("--contiguous", action="store_true", help="keep channels outermost")
    parser.add_argument("--compile", action="store_true", help="compile the networks")
    parser.add_argument("--workers", type=int, help="processes of the loader (1 on a CPU)")
    parser.add_argument("--threads", type=int, help="CPU threads (torch's choice)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
