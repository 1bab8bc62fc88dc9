"""A small repository folder as the pipeline leaves it before the report."""

import hashlib
import io
import json
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from gencomp.data.dataset import Split
from gencomp.data.manifest import RawManifest, Reject, ShardCounts, ShardFile, ShardManifest, ShardSplit, write
from gencomp.evaluation.anchors import AnchorsConfig, measure_anchors
from gencomp.evaluation.cache import code_digest
from gencomp.evaluation.evaluate import evaluate, metrics_json
from gencomp.evaluation.gate import Check, Verdict, verdict_json
from gencomp.evaluation.held_out import EvaluationConfig, evaluation_images, evaluation_samples
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.entropy import fit_frequencies
from gencomp.models.package import save_package

COLOURS = ("red", "green", "blue")
VARIANTS = {"gc": "photos", "mse": "photos"}
EVALUATION = EvaluationConfig(split="val", images=None, entropy="static")
ANCHORS = AnchorsConfig(jpeg=(1, 10, 40), webp=(0, 20), jpeg2000=(0.03, 0.06, 0.3), avif=(), bpg=(51, 37))


def photograph(name: str, width: int, height: int) -> NDArray[np.uint8]:
    """One of scikit-image's colour photographs, (height, width, 3)."""
    from skimage import data

    return np.asarray(Image.fromarray(getattr(data, name)()[..., :3]).resize((width, height), Image.Resampling.LANCZOS))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_package(folder: Path, seed: int) -> None:
    """A package of untrained networks, 3 channels of 5 centers at stride 16."""
    config = ModelConfig(width=2, blocks=1, channels=3)
    compressor = Compressor(config)
    initialise(compressor, torch.Generator().manual_seed(seed))
    save_package(folder, config, compressor, fit_frequencies(np.ones((3, 5), np.int64)))


@pytest.fixture
def read_code_again() -> Iterator[None]:
    """What hashes of source files were remembered is forgotten, before and after."""
    code_digest.cache_clear()
    yield
    code_digest.cache_clear()


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    make_package(folder, seed=1)
    return folder


@pytest.fixture(scope="session")
def make_shards() -> Callable[[Path, dict[str, NDArray[np.uint8]]], None]:
    """Writes a shard folder whose `val` split holds the given pictures, with label maps and JSON beside them."""

    def make(folder: Path, pictures: dict[str, NDArray[np.uint8]]) -> None:
        folder.mkdir(parents=True)
        with tarfile.open(folder / "val-000000.tar", "w") as archive:
            for key, pixels in pictures.items():
                for suffix, data in (("png", png(pixels)), ("labels.png", png(pixels[..., 0])), ("json", b"{}")):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        count = len(pictures)
        shards = [ShardFile(name="val-000000.tar", sha256="0" * 64, bytes=1, samples=count)]
        rejects = [
            Reject(id="grey", key="grey", split="train", reason="greyscale"),
            Reject(id="gone", key=None, split="train", reason="missing"),
        ]
        splits: dict[Split, ShardSplit] = {
            "train": ShardSplit(samples=0, shards=[]),
            "val": ShardSplit(samples=count, shards=shards),
        }
        counts = ShardCounts(asked=count + 2, kept=count, labelled=count, rejected={"greyscale": 1, "missing": 1})
        manifest = ShardManifest(
            dataset="photos", recipe="paper", classes=4, splits=splits, rejects=rejects, counts=counts
        )
        write(folder / "manifest.json", manifest)

    return make


@pytest.fixture(scope="session")
def repository(
    tmp_path_factory: pytest.TempPathFactory, make_shards: Callable[[Path, dict[str, NDArray[np.uint8]]], None]
) -> Path:
    """Everything that the report reads."""
    root = tmp_path_factory.mktemp("repository")
    pictures = {"chelsea": photograph("chelsea", 241, 177), "rocket": photograph("rocket", 192, 128)}
    make_shards(root / "data/shards/photos", pictures)
    rest: dict[str, object] = {
        "bytes": 1,
        "sha256": None,
        "width": 1,
        "height": 1,
        "license": "https://creativecommons.org/licenses/by/2.0/",
        "title": None,
        "part": None,
    }
    items: list[dict[str, object]] = [
        {"id": key, "key": key, "split": "val", "outcome": "ok", "reason": None, "author": "A <b>uthor</b>"}
        for key in pictures
    ]
    items += [
        {"id": "grey", "key": "grey", "split": "train", "outcome": "ok", "reason": None, "author": None},
        {"id": "gone", "key": None, "split": "train", "outcome": "rejected", "reason": "missing", "author": None},
    ]
    raw = {"dataset": "photos", "source": "sample", "counts": {}, "parts": [], "annotations": []}
    raw_manifest = msgspec.convert(raw | {"items": [item | rest for item in items]}, RawManifest)
    (root / "data/raw/photos").mkdir(parents=True)
    write(root / "data/raw/photos/manifest.json", raw_manifest)
    for seed, variant in enumerate(VARIANTS):
        make_package(root / "models" / variant, seed)
        samples = evaluation_samples(EVALUATION, root / "data/shards/photos")
        metrics = evaluate(root / "models" / variant, samples, "static", variant, root / "evaluation" / variant)
        (root / "metrics").mkdir(exist_ok=True)
        (root / "metrics" / f"{variant}.json").write_bytes(metrics_json(metrics))
        _write_verdict(root / "gate", variant, metrics.package)
        _write_history(root / "history", variant)
    measure_anchors(
        evaluation_images(EVALUATION, root / "data/shards/photos"), ANCHORS, root / "anchors/photos", threads=2
    )
    return root


def _write_verdict(folder: Path, variant: str, package: str) -> None:
    folder.mkdir(exist_ok=True)
    good = Check(name="exact", passed=True, value=0.0, bound=0.0, reason="all symbols came back")
    bad = Check(name="psnr", passed=False, value=9.0, bound=10.0, reason="9.0 is less than <10>")
    checks = [good] if variant == "gc" else [good, bad]
    verdict = Verdict(variant=variant, package=package, passed=variant == "gc", checks=checks)
    (folder / f"{variant}.json").write_bytes(verdict_json(verdict))


def _write_history(folder: Path, variant: str) -> None:
    folder.mkdir(exist_ok=True)
    adversarial = variant == "gc"
    lines = [f"{step},{1 / (step + 1)},{0.25 if adversarial else ''}\n" for step in range(300)]
    (folder / f"{variant}.csv").write_text("step,distortion,loss_d\n" + "".join(lines))
    shares = [(channel, center, 0.25 if center else 0.0) for channel in range(3) for center in (-2, -1, 0, 1, 2)]
    text = "channel,center,share\n" + "".join(f"{a},{b},{c}\n" for a, b, c in shares)
    (folder / f"{variant}-centers.csv").write_text(text)


class Identity(torch.nn.Module):
    """The picture's channels as logits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="session")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of a TorchScript network that sees which colour is the strongest."""
    folder = tmp_path_factory.mktemp("network")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Identity()).save(str(folder / "colour.pt"))
    digest = hashlib.sha256((folder / "colour.pt").read_bytes()).hexdigest()
    fields = {"file": str(folder / "colour.pt"), "format": "torchscript", "sha256": digest, "classes": COLOURS}
    (folder / "colour.json").write_text(json.dumps(fields | {"mean": [0, 0, 0], "std": [1, 1, 1], "multiple": 1}))
    return folder / "colour.json"
