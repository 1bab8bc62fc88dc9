"""The train stage around the training: where it starts from, and several processes."""

import csv
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from PIL import Image

from gencomp.codec.codec import Codec
from gencomp.config import ConfigError
from gencomp.models.package import load_package
from gencomp.registry.store import connect, experiment_id
from stages import train
from stages.entry import StageError
from tests.listening import listening

MODEL = {"channels": 4, "nested": True, "light": {"encoder": [8, 8, 8], "generator": [8, 8, 8]}}
TRAINING = {
    "steps": 4,
    "batch": 2,
    "crop": 64,
    "log_every": 2,
    "checkpoint_every": 2,
    "picture_every": 4,
    "adversarial_from": 2,
    "discriminator": {"width": 4, "scales": 2},
}


PICTURES = {"step-0000004.png", "centers-0000004.png"}


@pytest.fixture
def project(photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with shards, params, and an MLflow store of its own."""
    shutil.copytree(photo_shards, tmp_path / "data/shards/photos")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    write(base={"dataset": "photos", "model": MODEL, "training": TRAINING, "half_precision": True})
    yield tmp_path
    torch.set_flush_denormal(False)  # which a training sets for its process, and hypothesis' floats cannot do with


def write(**variants: object) -> None:
    datasets = {"photos": {"source": {"kind": "folder"}}}
    params = {"seed": 1, "threads": 1, "datasets": datasets, "variants": variants}
    Path("params.yaml").write_text(yaml.safe_dump(params))


@pytest.mark.usefixtures("project")
def test_a_variant_starts_from_the_package_that_init_names(capfd: pytest.CaptureFixture[str]) -> None:
    train.main("base")
    base = load_package(Path("models/base"))
    write(tuned={"dataset": "photos", "init": "models/base", "training": TRAINING | {"learning_rate": 1e-12}})
    train.main("tuned")
    tuned = load_package(Path("models/tuned"))
    assert tuned.config == base.config
    pairs = zip(base.compressor.state_dict().values(), tuned.compressor.state_dict().values(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    assert Codec.from_reference("models/tuned").package.fingerprint != base.fingerprint
    assert not list(Path(".scratch/train").glob("*/resume.pt"))


@pytest.mark.usefixtures("project")
def test_a_context_network_is_learned_and_goes_on_from_that_of_init(capfd: pytest.CaptureFixture[str]) -> None:
    context = {"steps": 40, "hidden": [8, 4], "batch": 2}
    write(base={"dataset": "photos", "model": MODEL, "training": TRAINING, "context": context})
    train.main("base")
    base = load_package(Path("models/base"))
    assert base.network is not None and base.network.hidden == (8, 4) and base.contexts is None
    assert "base context 40/40" in capfd.readouterr().out
    few = {"steps": 1, "hidden": [8, 4], "learning_rate": 1e-9}
    tuned = {"dataset": "photos", "init": "models/base", "training": TRAINING | {"learning_rate": 1e-12}}
    write(same=tuned | {"context": few}, other=tuned | {"context": few | {"hidden": [6, 4]}})
    train.main("same")
    train.main("other")
    same, other = (load_package(Path("models") / name).network for name in ("same", "other"))
    assert same is not None and np.array_equal(same.middle, base.network.middle)
    assert other is not None and other.hidden == (6, 4)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    codec = Codec.from_reference("models/base")
    assert np.array_equal(codec.decode_symbols(codec.compress(picture, channels=4)), codec.symbols(picture))


@pytest.mark.usefixtures("project")
def test_an_encoder_trained_for_a_decoder_makes_files_that_the_old_package_reads() -> None:
    context = {"steps": 40, "hidden": [8, 4], "batch": 2}
    write(base={"dataset": "photos", "model": MODEL, "training": TRAINING, "context": context, "half_precision": True})
    train.main("base")
    alone = {"adversarial": 0, "feature_matching": 0, "rate": 2.0}
    tuned = {
        "dataset": "photos",
        "init": "models/base",
        "training": TRAINING | {"part": "encoder", "steps": 20, "ema": 0.5, "learning_rate": 1e-2, "losses": alone},
    }
    write(tuned=tuned)
    train.main("tuned")
    base, tuned_codec = (Codec.from_reference(f"models/{name}") for name in ("base", "tuned"))
    assert tuned_codec.package.fingerprint == base.package.fingerprint
    assert train.content_hash(Path("models/tuned")) != train.content_hash(Path("models/base"))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
    stream = tuned_codec.compress(picture, channels=4)
    assert stream != base.compress(picture, channels=4)
    assert base.decompress(stream).tobytes() == tuned_codec.decompress(stream).tobytes()
    write(tuned=tuned | {"half_precision": True})
    with pytest.raises(ConfigError, match="takes all but E from `init`"):
        train.main("tuned")
    write(grown=tuned | {"model": MODEL | {"channels": 5}})
    with pytest.raises(StageError, match="leave `model` out"):
        train.main("grown")


@pytest.mark.usefixtures("project")
def test_selective_compression_starts_from_the_layers_of_a_gc() -> None:
    train.main("base")
    selective = {"mode": "sc", "classes": 4, "channels": 2, "light": MODEL["light"]}
    training = TRAINING | {"learning_rate": 1e-12}
    write(kept={"dataset": "photos", "init": "models/base", "model": selective, "training": training})
    train.main("kept")
    base, kept = (load_package(Path("models") / name).compressor for name in ("base", "kept"))
    for ours, theirs in zip(list(kept.G.layers)[1:], list(base.G.layers)[1:], strict=True):
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)


@pytest.mark.usefixtures("project")
def test_pictures_of_shards_that_may_not_be_passed_on_are_not_logged() -> None:
    """A second training is of the same shards, whose manifest now tells of such a licence."""
    store = os.environ["MLFLOW_TRACKING_URI"]
    client = connect(store)
    known = Path("data/shards/photos/manifest.json")
    logged: list[set[str]] = []
    seen: set[str] = set()
    for reserved in (False, True):
        known.write_text(json.dumps(json.loads(known.read_text()) | {"reserved": reserved}))
        train.main("base")
        assert {path.name for path in Path("history/base-pictures").iterdir()} == PICTURES
        runs = {run.info.run_id for run in client.search_runs([experiment_id(client, store)])}
        (run,) = runs - seen
        seen |= runs
        logged.append({file.path for file in client.list_artifacts(run, "pictures")})
    assert logged == [{"pictures/centers", "pictures/reconstructions"}, {"pictures/centers"}]


@pytest.mark.usefixtures("project")
def test_an_init_that_is_not_there_or_of_another_shape_is_one_line() -> None:
    write(tuned={"dataset": "photos", "init": "models/nothing", "training": TRAINING})
    with pytest.raises(StageError, match="models/nothing is not a model package"):
        train.main("tuned")
    train_base = {"dataset": "photos", "model": MODEL, "training": TRAINING | {"steps": 2}}
    write(base=train_base)
    train.main("base")
    write(tuned={"dataset": "photos", "init": "models/base", "model": {"width": 4}, "training": TRAINING})
    with pytest.raises(StageError, match="`model` is not the config of models/base"):
        train.main("tuned")


@contextmanager
def watched() -> Iterator[set[str]]:
    """The addresses on which processes below this one listen; complete at the end of the block."""
    found: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            found.update(address for address, _ in listening(psutil.Process().children(recursive=True)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_processes_of_torchrun_share_the_batch_on_loopback_and_the_first_one_writes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    train.main("base")
    with Path("history/base.csv").open() as file:
        alone = [float(row["loss"]) for row in csv.DictReader(file)]
    shutil.rmtree("models")
    monkeypatch.setenv("GENCOMP_PROCESSES", "2")
    with watched() as addresses:
        train.main("base")
    assert addresses == {"127.0.0.1"}
    with Path("history/base.csv").open() as file:
        together = [float(row["loss"]) for row in csv.DictReader(file)]
    assert together == pytest.approx(alone, rel=1e-3)
    assert json.loads(Path("models/base/config.json").read_text())["channels"] == 4
    assert {path.name for path in Path("history/base-pictures").iterdir()} == PICTURES
