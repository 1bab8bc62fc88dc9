"""The proof of reproducibility on a small real checkout: what is equal, what differs, what another machine may do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from benchmarks.reproduce import beside, bounds, compare, digest, main, outputs, small
from benchmarks.rows import Row, measured
from stages.train import VariantConfig
from tests.flows.checkouts import SOURCE, shell

DVC_YAML = """\
stages:
  shard:
    cmd: mkdir -p data/shards/photos && echo ${size} > data/shards/photos/train-000000.tar
    params: [size]
    outs: [data/shards/photos]
  train:
    foreach: [steady, shaky]
    do:
      cmd: mkdir -p models/${item} && sh ${item}.sh > models/${item}/model.safetensors
      deps: [data/shards/photos, "${item}.sh"]
      outs: ["models/${item}"]
  evaluate:
    foreach: [steady, shaky]
    do:
      cmd: >-
        mkdir -p metrics evaluation/${item}/streams "$GENCOMP_RESULTS"
        && test ! -e "$GENCOMP_RESULTS/${item}" && touch "$GENCOMP_RESULTS/${item}"
        && cp models/${item}/model.safetensors evaluation/${item}/streams/a.gnc
        && echo '{"psnr": 20.5, "bpp": 0.03}' > metrics/${item}.json
      deps: ["models/${item}"]
      outs: ["evaluation/${item}"]
      metrics: ["metrics/${item}.json"]
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one commit, nothing of which was ever computed; `shaky` trains to something new each time."""
    root = tmp_path_factory.mktemp("reproduce") / "source"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    files = {"dvc.yaml": DVC_YAML, "params.yaml": "size: 3\n", "steady.sh": "echo weights\n"}
    files |= {"shaky.sh": "head -c 8 /dev/urandom | od\n", ".gitignore": "/data\n/models\n/metrics\n/evaluation\n"}
    for name, text in files.items():
        (root / name).write_text(text)
    shell(root, "git", "init", "-q", "-b", "main")
    shell(root, "git", "add", "-A")
    shell(root, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "start")
    return root


@pytest.fixture(scope="module")
def proof(source: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The command's end, and the folder of its clones."""
    kept = source.parent / "kept"
    command = [sys.executable, "-m", "benchmarks.reproduce", "--source", str(source), "--keep", str(kept)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "GENCOMP_RESULTS": str(source.parent / "results")}
    done = subprocess.run(
        [*command, "--json", str(kept.parent / "rows.json")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=SOURCE,
        check=False,
        timeout=200,
    )
    return done, kept


def test_what_differs_is_named_and_what_does_not_is_equal(
    proof: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, kept = proof
    assert done.returncode == 1, done.stderr
    verdicts = {line.split()[1]: line.split()[4] for line in done.stdout.splitlines() if len(line.split()) > 4}
    assert {name: verdict for name, verdict in verdicts.items() if verdict in ("equal", "DIFFERS")} == {
        "data/shards/photos": "equal",
        "models/steady": "equal",
        "models/shaky": "DIFFERS",
        "evaluation/steady": "equal",
        "evaluation/steady/streams": "equal",
        "evaluation/shaky": "DIFFERS",
        "evaluation/shaky/streams": "DIFFERS",
        "metrics/steady.json": "equal",
        "metrics/shaky.json": "equal",
    }
    assert "models/shaky: model.safetensors" in done.stdout.splitlines()
    assert "9 outputs: 6 equal in both clones; 0 of 7 as in the commit's dvc.lock, which may be of another machine" in (
        done.stdout.splitlines()
    )
    missed = next(line for line in done.stderr.splitlines() if line.startswith("missed: "))
    assert sorted(missed.removeprefix("missed: ").split("; ")) == [
        "evaluation/shaky",
        "evaluation/shaky/streams",
        "models/shaky",
    ]
    rows = {row["name"]: row for row in json.loads((kept.parent / "rows.json").read_text())}
    weights = digest(kept / "first" / "models" / "steady")
    assert rows["models/steady"]["note"] == f"weights {weights}"
    assert rows["steady: psnr"]["value"] == 20.5


def test_no_clone_takes_a_figure_from_another_run_or_leaves_one(
    proof: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    for name in ("first", "second"):
        kept = proof[1] / name / ".dvc" / "results"
        assert sorted(path.name for path in kept.iterdir()) == ["shaky", "steady"]
    assert not (proof[1].parent / "results").exists()


def test_another_machine_may_train_otherwise_but_not_shard_otherwise(
    proof: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    first, second = (outputs(proof[1] / name) for name in ("first", "second"))
    assert [row.name for row in compare(first, second, alike=False) if row.met is False] == []
    shards = second["data/shards/photos"]._replace(digest="other")
    rows = list(compare(first, second | {"data/shards/photos": shards}, alike=False))
    assert [row.name for row in rows if row.met is False] == ["data/shards/photos"]
    del second["models/steady"]
    assert [row.name for row in compare(first, second, alike=False) if row.met is False] == [
        "models/steady: in both clones"
    ]


def test_metrics_that_are_too_far_apart_are_named(tmp_path: Path) -> None:
    for name, psnr in (("first", 20.0), ("second", 20.4)):
        (tmp_path / name / "metrics").mkdir(parents=True)
        metrics = {"psnr": psnr, "ms_ssim": None, "bpp": 0.03, "images": 3}
        (tmp_path / name / "metrics" / "gc.json").write_text(json.dumps(metrics))
    rows = {row.name: row.met for row in bounds(tmp_path / "first", tmp_path / "second")}
    assert rows == {"gc: psnr apart": False, "gc: bpp apart": True}


def test_the_table_of_another_machine_is_held_to_the_same_bounds() -> None:
    def rows(shards: str, weights: str, psnr: float) -> list[Row]:
        return [
            measured("data/shards/photos", 1.0, "equal")._replace(note=f"shards {shards}"),
            measured("models/gc", 1.0, "equal")._replace(note=f"weights {weights}"),
            measured("gc: psnr", psnr, ""),
        ]

    there = [row._asdict() for row in rows("a", "b", 20.0)]
    assert [row.met for row in beside(rows("a", "b", 20.0), there)] == [True, None, True]
    assert [row.met for row in beside(rows("c", "d", 20.4), there)] == [False, None, False]


def test_a_clone_that_fails_ends_in_one_line_that_says_why(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["reproduce", "--source", str(tmp_path)])
    assert main() == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("reproduce: git clone: ")
    broken = tmp_path / "params.yaml"
    broken.write_text("wrong: 3\n")
    monkeypatch.setattr("sys.argv", ["reproduce", "--source", str(source), "--params", str(broken)])
    assert main() == 1
    assert "reproduce: first: dvc repro failed: " in capsys.readouterr().err.splitlines()[-1]


def test_quick_parameters_are_those_of_the_commit_with_one_short_variant() -> None:
    params = yaml.safe_load(small(SOURCE))
    ((name, variant),) = params["variants"].items()
    assert variant["training"]["steps"] == 8 and list(params["datasets"]) == [variant["dataset"]]
    assert msgspec.convert(variant, VariantConfig).training.steps == 8, name
