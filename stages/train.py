"""Train a variant: shards in, a package, the training curve and the usage of centers out."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gencomp.data.loader import derived_seed
from gencomp.memory import keep_freed_memory
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.content import content_hash
from gencomp.models.context import ContextNetwork, ContextWeights, check_levels
from gencomp.models.entropy import fit_contexts, fit_frequencies
from gencomp.models.package import PackageError, load_package, save_package, save_with_encoder
from gencomp.references import UnknownModelError, resolve
from gencomp.registry.manifests import TrainingData, shareable
from gencomp.registry.store import flatten
from gencomp.registry.tracking import RunLogger
from gencomp.training.context import ContextConfig, fit_context
from gencomp.training.growth import grown, inherited, is_grown, is_heir
from gencomp.training.histogram import draw_usage
from gencomp.training.tables import count_centers, training_latents
from gencomp.training.terminal import progress_line
from gencomp.training.trainer import DivergedError, Observer, Progress, Trained, TrainingConfig, train
from gencomp.weights.failure import MissingWeightsError
from stages.entry import StageError, params, run
from stages.scratch import scratch

TABLE_IMAGES = 2000
"""Training images whose symbols the tables are counted on."""
MEETING = "GENCOMP_MEETING"
"""Environment variable: the file in which the processes of one training meet."""


class VariantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model to train: on which dataset, of which shape, by which schedule."""

    dataset: str
    """A name under `datasets`."""
    model: ModelConfig | None = None
    """The shape of E, q and G; none: that of `init`. With `init`, it may have more residual blocks than that, or be
    of selective compression with the same layers."""
    init: str | None = None
    """A trained model to start from: a shipped name, a package folder or an MLflow URI; none: from noise."""
    training: TrainingConfig
    context: ContextConfig | None = None
    """The context network, learned after the rest, from that of `init` on if there is one of its shape; none: tables of
    frequencies by neighbours instead."""
    half_precision: bool = False
    """Store the package's tensors as float16: half the bytes, for networks that were seen to bear it."""

    def __post_init__(self) -> None:
        if self.model is None and self.init is None:
            raise ValueError("a variant needs `model`, or `init` to take it from")
        if self.context and self.model:
            check_levels(self.model.levels)
        if self.training.part == "encoder" and (self.init is None or self.context or self.half_precision):
            raise ValueError(
                "part: encoder takes all but E from `init`: give `init`, and neither `context` nor `half_precision`"
            )


class Start(NamedTuple):
    """What a training starts from."""

    model: ModelConfig
    tensors: dict[str, Tensor] | None
    """Of the package that `init` names; none: noise."""
    content: str
    """Content hash of that package, or nothing."""
    network: ContextWeights | None = None
    """Its context network, if it has one."""
    folder: Path | None = None
    """Where the package lies, if its shape is kept."""


def main(variant: str, rank_folder: str = "") -> None:
    """Train one variant of params.yaml, going on where an interrupted run stopped.

    With GENCOMP_PROCESSES=n in the environment, torchrun spreads it over n processes, one per GPU where there are any.
    """
    config = params(VariantConfig, "variants", variant)
    seed, threads = params(int, "seed"), params(int, "threads")
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # before there are threads, which inherit it; see docs/log.md
    keep_freed_memory()
    shards = Path("data/shards") / config.dataset
    try:
        start = _start(variant, config, seed)
        key = resume_key(config, seed, threads, shards, start.content)
        if rank_folder:
            _meet()
            return _train(variant, config, start, seed, shards, Path(rank_folder), key)
        with scratch("train", key) as folder:
            processes = int(os.environ.get("GENCOMP_PROCESSES", "1"))
            if processes > 1:
                _spread(variant, processes, folder)
            else:
                _train(variant, config, start, seed, shards, folder, key)
            shutil.rmtree(folder)
    except (DivergedError, MissingWeightsError, UnknownModelError, PackageError, ValueError) as error:
        raise StageError(f"{variant}: {error}") from None


def _start(variant: str, config: VariantConfig, seed: int) -> Start:
    if config.init is None:
        assert config.model is not None
        return Start(config.model, None, "")
    folder = resolve(config.init, cache=Path(".scratch/pulled"))
    package = load_package(folder)
    model, content = config.model or package.config, content_hash(folder)
    if model == package.config:
        return Start(model, package.compressor.state_dict(), content, package.network, folder)
    if config.training.part == "encoder":
        raise StageError(f"{variant}: part: encoder keeps the model of {config.init}; leave `model` out")
    generator = torch.Generator().manual_seed(derived_seed(seed, "growth"))
    if is_grown(model, package.config):
        return Start(model, grown(package.compressor, model, generator), content, package.network)
    if is_heir(model, package.config):
        return Start(model, inherited(package.compressor, model, generator), content)
    raise StageError(
        f"{variant}: `model` is not the config of {config.init}, nor that with more residual blocks, nor selective "
        "compression by its layers; leave it out to take that"
    )


def _spread(variant: str, processes: int, folder: Path) -> None:
    """Run the training in several processes, each of which calls `main` again with the scratch folder.

    They meet in files and talk over loopback: torchrun's own meeting place would listen on every address.
    """
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    with tempfile.TemporaryDirectory() as meeting:
        places = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={meeting}/torchrun"]
        command = [sys.executable, "-m", "torch.distributed.run", *places, "--local-addr=127.0.0.1"]
        stage = ["-m", "stages.train", variant, "--rank_folder", str(folder)]
        done = subprocess.run(
            [*command, "--nnodes=1", f"--nproc-per-node={processes}", *stage],
            env={"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
            | os.environ
            | {MEETING: f"{meeting}/processes", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )
    if done.returncode:
        raise StageError(f"{variant}: a training process failed, see above")


def _meet() -> None:
    """Join the other processes before Accelerate does, which would have the first one listen on every address."""
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"file://{os.environ[MEETING]}",
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def _train(variant: str, config: VariantConfig, start: Start, seed: int, shards: Path, folder: Path, key: str) -> None:
    def trained(observer: Observer) -> Trained:
        return train(start.model, config.training, shards, seed, folder, observer, start.tensors, start.network)

    if os.environ.get("RANK", "0") != "0":
        trained(Observer(lambda report: None, lambda step, pixels: None))
        return
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    settings = flatten(msgspec.to_builtins(config))
    shown = shareable(params(str, "datasets", config.dataset, "source", "kind"), shards)
    with (
        RunLogger(variant, key, settings, data=TrainingData(config.dataset, shards, shown)) as logger,
        progress_line(variant, config.training.steps) as line,
    ):

        def picture(step: int, pixels: NDArray[np.uint8]) -> None:
            path = pictures / f"step-{step:07d}.png"
            Image.fromarray(pixels).save(path)
            if shown:
                logger.picture(step, "reconstructions", path)

        def progress(report: Progress) -> None:
            line(report)
            logger.metrics(report.step, report.losses)
            if report.step % config.training.picture_every == 0 or report.step == config.training.steps:
                path = pictures / f"centers-{report.step:07d}.png"
                Image.fromarray(draw_usage(report.usage)).save(path)
                logger.picture(report.step, "centers", path)

        def warn(step: int, message: str) -> None:
            print(f"{variant}: warning at step {step}: {message}", file=sys.stderr)

        result = trained(Observer(progress, picture, warn))
        finished = folder / "finished"
        compressor = result.compressor
        counts = count_centers(training_latents(compressor, shards, TABLE_IMAGES), start.model.levels)
        shutil.rmtree(finished, ignore_errors=True)
        if config.training.part == "encoder":
            assert start.folder
            save_with_encoder(finished / "package", start.folder, compressor.E)
        else:
            network = None
            if config.context:
                network = _context_network(variant, config.context, compressor, shards, seed, start.network)
            tables = fit_frequencies(counts.sum(1)), None if network else fit_contexts(counts)
            save_package(finished / "package", start.model, compressor, *tables, network, half=config.half_precision)
        logger.package(content_hash(finished / "package"))
    _write_csv(finished / "history.csv", list(result.history[0]), (row.values() for row in result.history))
    _write_csv(finished / "centers.csv", ["channel", "center", "count", "share"], _usage(counts.sum(1)))
    _publish(finished / "package", Path("models") / variant)
    _publish(pictures, Path("history") / f"{variant}-pictures")
    _publish(finished / "history.csv", Path("history") / f"{variant}.csv")
    _publish(finished / "centers.csv", Path("history") / f"{variant}-centers.csv")


def _context_network(
    variant: str,
    config: ContextConfig,
    compressor: Compressor,
    shards: Path,
    seed: int,
    start: ContextWeights | None,
) -> ContextWeights:
    latents = [
        latent
        for mirrored in (False, True)
        for latent in training_latents(compressor, shards, TABLE_IMAGES, mirrored=mirrored)
    ]
    network = ContextNetwork.from_weights(start) if start and start.hidden == config.hidden else None
    with progress_line(f"{variant} context", config.steps) as line:

        def observe(step: int, bits: float) -> None:
            line(Progress(step, {"bits per symbol": bits}, np.zeros(0, np.int64)))

        masked, levels = compressor.config.mode == "sc", compressor.config.levels
        seed = derived_seed(seed, "context")
        return fit_context(latents, levels, config, seed, network, masked=masked, observe=observe).weights()


def resume_key(config: VariantConfig, seed: int, threads: int, shards: Path, initial: str) -> str:
    """What a resume state belongs to: config, data, code and the content hash of `init`. Anything else would train on
    under a wrong name."""
    parts = [config, seed, threads, str(torch.__version__), initial]
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted"))
    digest.update((shards / "manifest.json").read_bytes())
    for name, module in sorted(sys.modules.items()):
        source = getattr(module, "__file__", None)
        if source and name.split(".")[0] == "gencomp":
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _usage(counts: NDArray[np.int64]) -> Iterable[tuple[int, float, int, str]]:
    """Rows (channel, center, count, share) of the table of center usage."""
    levels = counts.shape[1]
    for channel, row in enumerate(counts):
        for level, count in enumerate(row):
            yield channel, level - (levels - 1) / 2, int(count), f"{count / row.sum():.6f}"


def _write_csv(path: Path, header: list[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{cell:.6g}" if isinstance(cell, float) else cell for cell in row] for row in rows)


def _publish(source: Path, target: Path) -> None:
    """Copy a finished file or folder to its declared place; the scratch folder stays whole until all are there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if source.is_dir():
        shutil.copytree(source, temporary)
        shutil.rmtree(target, ignore_errors=True)
    else:
        shutil.copyfile(source, temporary)
    os.replace(temporary, target)


if __name__ == "__main__":
    run(main)
