"""Train a variant: shards in, a package, the training curve and the usage of centers out."""

import csv
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gencomp.models.compressor import ModelConfig
from gencomp.models.content import content_hash
from gencomp.models.entropy import fit_frequencies
from gencomp.models.features import MissingWeightsError
from gencomp.models.package import save_package
from gencomp.registry.store import flatten
from gencomp.registry.tracking import RunLogger
from gencomp.training.tables import count_centers
from gencomp.training.terminal import progress_line
from gencomp.training.trainer import DivergedError, Observer, Progress, TrainingConfig, train
from stages.entry import StageError, params, run
from stages.scratch import scratch

PRIVATE_SOURCES = ("cityscapes",)
"""Sources whose pictures may not be passed on, and so never become artifacts of a tracking server."""
TABLE_IMAGES = 2000
"""Training images whose symbols the static tables are counted on."""


class VariantConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model to train: on which dataset, of which shape, by which schedule."""

    dataset: str
    """A name under `datasets`."""
    model: ModelConfig
    training: TrainingConfig


def main(variant: str) -> None:
    """Train one variant of params.yaml, going on where an interrupted run stopped."""
    config = params(VariantConfig, "variants", variant)
    seed, threads = params(int, "seed"), params(int, "threads")
    torch.set_num_threads(threads)
    shards = Path("data/shards") / config.dataset
    key = resume_key(config, seed, threads, shards)
    with scratch("train", key) as folder:
        try:
            _train(variant, config, seed, shards, folder, key)
        except (DivergedError, MissingWeightsError, ValueError) as error:
            raise StageError(f"{variant}: {error}") from None
        shutil.rmtree(folder)


def _train(variant: str, config: VariantConfig, seed: int, shards: Path, folder: Path, key: str) -> None:
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    settings = flatten(msgspec.to_builtins(config))
    shown = params(str, "datasets", config.dataset, "source", "kind") not in PRIVATE_SOURCES
    with (
        RunLogger(name=variant, content=key, params=settings) as logger,
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

        trained = train(config.model, config.training, shards, seed, folder, Observer(progress, picture))
        model, finished = config.model, folder / "finished"
        counts = count_centers(trained.compressor, model.stride, model.smallest_side, shards, TABLE_IMAGES)
        shutil.rmtree(finished, ignore_errors=True)
        save_package(finished / "package", model, trained.compressor, fit_frequencies(counts))
        logger.package(content_hash(finished / "package"))
    _write_csv(finished / "history.csv", list(trained.history[0]), (row.values() for row in trained.history))
    _write_csv(finished / "centers.csv", ["channel", "center", "count", "share"], _usage(counts))
    _publish(finished / "package", Path("models") / variant)
    _publish(pictures, Path("history") / f"{variant}-pictures")
    _publish(finished / "history.csv", Path("history") / f"{variant}.csv")
    _publish(finished / "centers.csv", Path("history") / f"{variant}-centers.csv")


def resume_key(config: VariantConfig, seed: int, threads: int, shards: Path) -> str:
    """What a resume state belongs to: config, data and code. Anything else would train on under a wrong name."""
    digest = hashlib.sha256(msgspec.json.encode([config, seed, threads, str(torch.__version__)], order="sorted"))
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
