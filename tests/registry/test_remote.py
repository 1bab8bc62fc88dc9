"""A DVC remote: what one checkout pushes, a fresh clone pulls, trains nothing, and registers in its own empty store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gencomp.models.content import content_hash
from gencomp.registry.candidate import COMMIT_TAG
from gencomp.registry.release import versions
from gencomp.registry.store import connect
from tests.registry.conftest import ROOT
from tests.registry.project import Project

PREPARED = ("data/shards/photos", "models/gc", "evaluation/gc", "metrics/gc.json", "gate/gc.json", "history/gc.csv")
DVC_YAML = """\
stages:
  shard:
    cmd: mkdir -p data/shards && cp -r prepared/data/shards/photos data/shards/photos
    deps: [prepared/data/shards/photos]
    outs: [data/shards/photos]
  train:
    cmd: mkdir -p models history && cp -r prepared/models/gc models/gc && cp prepared/history/gc.csv history/gc.csv
    deps: [data/shards/photos, prepared/models/gc, prepared/history/gc.csv]
    outs: [models/gc, history/gc.csv]
  evaluate:
    cmd: >-
      mkdir -p evaluation metrics gate && cp -r prepared/evaluation/gc evaluation/gc
      && cp prepared/metrics/gc.json metrics/gc.json && cp prepared/gate/gc.json gate/gc.json
    deps: [models/gc, prepared/evaluation/gc, prepared/metrics/gc.json, prepared/gate/gc.json]
    outs: [evaluation/gc, gate/gc.json]
    metrics: [metrics/gc.json]
  register:
    cmd: python -m stages.register
    deps: [data/shards/photos, models/gc, evaluation/gc, metrics/gc.json, gate/gc.json, history/gc.csv]
    always_changed: true
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of DVC's processes: this Python, this checkout's code, an S3 account, and nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_", "GIT_"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path_factory.mktemp("home")),
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server on this machine with the bucket `lab`."""
    import boto3
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    account = {"aws_access_key_id": "someone", "aws_secret_access_key": "hunter2", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **account).create_bucket(Bucket="lab")
    yield endpoint
    running.stop()


@pytest.fixture(scope="module")
def computed(
    packages: tuple[Path, Path],
    empty_store: Path,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkout in which every stage ran, its lock committed."""
    root = tmp_path_factory.mktemp("remote") / "checkout"
    root.mkdir()
    Project(root).place(packages[0])
    for name in PREPARED:
        target = root / "prepared" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / name, target)
    for name in ("data", "models", "evaluation", "metrics", "gate", "history"):
        shutil.rmtree(root / name)
    shutil.copyfile(empty_store, root / "mlflow.db")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    autostage = false\n")
    (root / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (root / "dvc.yaml").write_text(DVC_YAML)
    ignored = ("data", "models", "evaluation", "metrics", "gate", "history", "mlflow.db*", "mlartifacts")
    (root / ".gitignore").write_text("".join(f"/{name}\n" for name in ignored))
    run(root, environment, "git", "init", "-q", "-b", "main")
    run(root, environment, "dvc", "repro")
    run(root, environment, "git", "add", "-A")
    run(root, environment, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "start")
    return root


def run(folder: Path, environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_a_fresh_clone_pulls_from_s3_trains_nothing_and_registers_in_an_empty_store(
    computed: Path,
    s3: str,
    environment: dict[str, str],
    empty_store: Path,
    packages: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    remote = f"[core]\n    remote = lab\n['remote \"lab\"']\n    url = s3://lab/gencomp\n    endpointurl = {s3}\n"
    (computed / ".dvc" / "config.local").write_text(remote)
    pushed = run(computed, environment, "dvc", "push")
    assert "files pushed" in pushed
    clone = tmp_path / "clone"
    run(tmp_path, environment, "git", "clone", "-q", str(computed), str(clone))
    shutil.copyfile(empty_store, clone / "mlflow.db")
    (clone / ".dvc" / "config.local").write_text(remote)
    pulled = run(clone, environment, "dvc", "pull")
    assert content_hash(clone / "models" / "gc") == content_hash(packages[0])
    said = run(clone, environment, "dvc", "repro")
    assert [line for line in said.splitlines() if line.startswith("Running stage")] == ["Running stage 'register':"]
    (version,) = versions(f"sqlite:///{clone / 'mlflow.db'}")
    assert (version.reference, version.package) == ("models:/gencomp-gc@champion", content_hash(packages[0]))
    assert "hunter2" not in pushed + pulled + said
    head = run(clone, environment, "git", "rev-parse", "HEAD").strip()
    assert commit_of(clone / "mlflow.db") == head
    for changed, tag in {"dvc.lock": head, "params.yaml": f"{head}-dirty"}.items():
        with (clone / changed).open("a") as file:
            file.write("# changed\n")
        store = Path(shutil.copyfile(empty_store, clone / f"{changed}.db"))
        run(clone, environment | {"MLFLOW_TRACKING_URI": f"sqlite:///{store}"}, "python", "-m", "stages.register")
        assert commit_of(store) == tag


def commit_of(store: Path) -> str:
    """The registered version's tag for the commit that it came from, which its card shows shortened."""
    version = connect(f"sqlite:///{store}").get_model_version("gencomp-gc", "1")
    tag = str(version.tags[COMMIT_TAG])
    assert f"| commit | `{tag[:12]}{tag[40:]}` |" in version.description
    return tag
