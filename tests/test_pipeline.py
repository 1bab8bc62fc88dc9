"""`dvc repro`, end to end on a small configuration: run, run again, killed and run on, pulled into a fresh clone.

Three checkouts of the working tree: one runs undisturbed, one is killed in the middle of shard and of train, one gets
the first one's cache and an empty MLflow store.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
MADE = ("models", "history", "evaluation", "metrics", "selftest", "gate", "report")
OUTPUTS = ("data/raw", "data/semantics", "data/shards", *MADE)
STAGES = ("download", "semantics", "shard", "train", "evaluate", "selftest", "gate")
TRAINING = {
    "steps": 24,
    "batch": 2,
    "crop": 64,
    "adversarial_from": 12,
    "log_every": 4,
    "checkpoint_every": 4,
    "picture_every": 12,
    "discriminator": {"width": 8, "scales": 2},
}
LIMIT = 300
"""Seconds that one command may take."""
pytestmark = pytest.mark.timeout(900)
PLANTED = ("planted-in-the-environment", "planted-in-the-configuration")
"""Secrets: an access key that every command sees, and the password of a DVC remote."""
REMOTE = f"""\
['remote "lab"']
    url = https://lab.example.org/gencomp
    auth = basic
    user = someone
    password = {PLANTED[1]}
"""
CHAMPIONS = {f"gencomp-{variant}": [("1", ["champion"])] for variant in ("gc", "mse", "sc")}
"""What one run registers."""


def checkout(folder: Path, photos: Path) -> Path:
    """A copy of the working tree in a git repository of its own, with small params, the photos as a folder source."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    shutil.copytree(photos, folder / "own-photos")
    (folder / "params.yaml").write_text(yaml.safe_dump(small_params(), sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def small_params() -> dict[str, object]:
    params = yaml.safe_load((ROOT / "profiles/laptop.yaml").read_text())
    photos, gc = params["datasets"]["photos"], params["variants"]["gc"]
    source = {"kind": "folder", "root": "own-photos", "validation_share": 0.4, "classes": ["dark", "bright"]}
    selection = {"recipe": "clean", "seed": 1, "shorter_side": 64, "minimum_downscale": 1.0}
    selection |= {"maximum_saturation": 1.0, "maximum_brightness": 1.0}
    own = photos | {
        "source": source,
        "selection": selection,
        "shard_samples": 1,
        "watch": "own-photos",
        "maximum_missing": 0.5,
    }
    training = gc["training"] | TRAINING
    model = {"width": 4, "downsamplings": 3, "blocks": 1, "channels": 2, "normalisation": "channel"}
    selective = model | {"mode": "sc", "classes": 2}
    baseline = training | {"losses": {"adversarial": 0.0, "feature_matching": 0.0}, "steps": 8}
    params["datasets"] = {"photos": photos, "own": own}
    params["variants"] = {
        "gc": {"dataset": "photos", "model": model, "training": training},
        "mse": {"dataset": "own", "model": model, "training": baseline},
        "sc": {"dataset": "own", "model": selective, "training": baseline},
    }
    params["anchors"] = {name: settings[:2] for name, settings in params["anchors"].items()}
    params["evaluation"]["preserve"] = "classes:1"
    params["gate"] = {"minimum_psnr": 1.0}
    params["threads"] = 1
    return params


def environment(folder: Path) -> dict[str, str]:
    """The environment of a command in a checkout: this interpreter, this checkout's code, no telemetry, a secret."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_SECRET_ACCESS_KEY": PLANTED[0],
    }


def run(folder: Path, *command: str) -> str:
    """Output of a command in a checkout; fails the test with it when the command fails."""
    with (folder / "output.txt").open("w+") as output:
        result = subprocess.run(
            command, cwd=folder, env=environment(folder), stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT
        )
        output.seek(0)
        text = output.read()
    assert result.returncode == 0, text[-4000:]
    return text


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every declared output file."""
    files = (file for out in OUTPUTS for file in sorted((folder / out).rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def registered(folder: Path) -> dict[str, list[tuple[str, list[str]]]]:
    """Versions and their aliases of every registered model, read in a process of its own."""
    program = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
names = sorted(model.name for model in client.search_registered_models())
aliases = {name: client.get_registered_model(name).aliases for name in names}
print(json.dumps({name: sorted(
    (str(v.version), sorted(a for a, n in aliases[name].items() if str(n) == str(v.version)))
    for v in client.search_model_versions(f"name='{name}'")) for name in names}))
"""
    found = json.loads(run(folder, sys.executable, "-c", program).splitlines()[-1])
    return {name: [(version, aliases) for version, aliases in versions] for name, versions in found.items()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one's own photos: four pictures, one of them with a label map beside it, and one broken file."""
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()[..., :3]).resize((120, 90)).save(folder / f"{name}.png")
    Image.open(folder / "coffee.png").convert("L").point(lambda v: int(v > 128)).save(folder / "coffee.labels.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no photograph")
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A checkout that ran undisturbed, with a password in DVC's local configuration."""
    folder = checkout(tmp_path_factory.mktemp("first"), photos)
    (folder / ".dvc" / "config.local").write_text(REMOTE)
    (folder / "said.txt").write_text(run(folder, "dvc", "repro"))
    return folder


def test_one_run_ends_in_a_champion_of_each_variant_a_report_and_metrics(first: Path) -> None:
    assert registered(first) == CHAMPIONS
    assert (first / "report/index.html").stat().st_size > 10_000
    shown = run(first, "dvc", "metrics", "show")
    assert "metrics/gc.json" in shown and "psnr" in shown
    run(first, "dvc", "plots", "show", "-o", "plots")
    assert "vega" in (first / "plots/index.html").read_text()


def test_the_folder_source_went_through_the_same_stages(first: Path) -> None:
    manifest = json.loads((first / "data/shards/own/manifest.json").read_text())
    assert {(reject["id"], reject["reason"]) for reject in manifest["rejects"]} == {("broken.jpg", "corrupt")}
    assert sum(split["samples"] for split in manifest["splits"].values()) == 4


def test_no_secret_is_in_anything_that_was_made_or_said(first: Path) -> None:
    assert PLANTED[1] in run(first, "dvc", "config", "remote.lab.password")  # so the pipeline could have told it
    places = [first / name for name in (*MADE, "mlartifacts", "mlflow.db", "dvc.lock", "said.txt")]
    files = {place: [file for file in (place, *place.rglob("*")) if file.is_file()] for place in places}
    assert all(files.values())
    everything = [file for found in files.values() for file in found]
    assert [file for file in everything if any(secret.encode() in file.read_bytes() for secret in PLANTED)] == []


def test_no_scratch_is_left(first: Path) -> None:
    assert [path for path in (first / ".scratch").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_second_run_trains_nothing_and_registers_nothing(first: Path) -> None:
    before = hashes(first)
    text = run(first, "dvc", "repro")
    for stage in STAGES:
        assert f"Running stage '{stage}" not in text
    assert "Running stage 'register'" in text
    assert registered(first) == CHAMPIONS
    assert hashes(first) == before


def test_the_champion_compresses_a_held_out_photograph(first: Path) -> None:
    text = run(first, sys.executable, "-m", "stages.first_picture")
    stream = next((first / "first-picture").glob("*.gnc"))
    assert f"{stream.stat().st_size}" in text
    for word in ("bpp", "PSNR", "MS-SSIM", "report/index.html"):
        assert word in text


def test_a_changed_seed_retrains_and_a_changed_gate_does_not(first: Path) -> None:
    def would_run(change: dict[str, object]) -> set[str]:
        original = (first / "params.yaml").read_text()
        (first / "params.yaml").write_text(yaml.safe_dump(small_params() | change, sort_keys=False))
        try:
            return set(json.loads(run(first, "dvc", "status", "--json")))
        finally:
            (first / "params.yaml").write_text(original)

    assert {"train@gc", "train@mse"} <= would_run({"seed": 2})
    assert would_run({"gate": {"minimum_psnr": 2.0}}) - {"register"} == {"gate@gc", "gate@mse", "gate@sc"}


def test_the_outputs_of_a_pulled_cache_end_in_a_champion_with_nothing_trained(
    first: Path, photos: Path, tmp_path: Path
) -> None:
    run(first, "dvc", "remote", "add", "--force", "--default", "--local", "store", str(tmp_path / "store"))
    run(first, "dvc", "push")
    clone = checkout(tmp_path / "clone", photos)
    shutil.copy(first / "dvc.lock", clone / "dvc.lock")
    run(clone, "dvc", "remote", "add", "--default", "--local", "store", str(tmp_path / "store"))
    run(clone, "dvc", "pull")
    text = run(clone, "dvc", "repro")
    assert [line for line in text.splitlines() if line.startswith("Running stage")] == ["Running stage 'register':"]
    assert registered(clone) == CHAMPIONS
    assert hashes(clone) == hashes(first)


def test_a_clone_killed_in_shard_and_in_train_ends_in_the_same_bytes(
    first: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """First the whole process group is killed, then dvc alone, which leaves an orphan that the next run must end."""
    clone = checkout(tmp_path_factory.mktemp("killed"), photos)
    with started(clone, "dvc", "repro", "shard@own") as dvc:
        wait_for(clone, ".scratch/shard/*/parts/*.json", dvc)
        os.killpg(dvc.pid, signal.SIGKILL)
    with started(clone, "dvc", "repro", "train@gc") as dvc:
        wait_for(clone, ".scratch/train/*/resume.pt", dvc)
        orphans = [
            child for child in psutil.Process(dvc.pid).children(recursive=True) if "stages.train" in child.cmdline()
        ]
        dvc.kill()
    assert orphans and orphans[0].is_running()
    run(clone, "dvc", "repro", "shard@own", "train@gc")
    assert not orphans[0].is_running()
    found, whole = hashes(clone), hashes(first)
    assert {"data/shards/own/manifest.json", "models/gc/model.safetensors", "history/gc.csv"} <= found.keys()
    assert found == {name: whole[name] for name in found}


@contextlib.contextmanager
def started(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, which must be dead at the end of the block."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    assert process.wait(timeout=30) == -signal.SIGKILL


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Until a file that matches appears, while the process runs."""
    deadline = time.monotonic() + LIMIT
    while not any(folder.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, f"no {pattern}"
        time.sleep(0.005)
