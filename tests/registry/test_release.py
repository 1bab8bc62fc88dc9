"""Registered once, promoted by the gate and the champion, pulled whole: with a real store and a real server."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.tracking import MlflowClient
from PIL import Image

from gencomp.evaluation.held_out import folder_images, update_digest
from gencomp.models.content import content_hash
from gencomp.registry import candidate
from gencomp.registry.release import pull, versions
from gencomp.registry.store import PACKAGE_TAG, RegistryError, connect, experiment_id
from stages import register
from tests.registry.project import Project

NAME = "gencomp-gc"
Packages = tuple[Path, Path]


def aliases(store: str) -> dict[str, str]:
    found = connect(store).get_registered_model(NAME).aliases
    return {alias: str(version) for alias, version in found.items()}


def tags(store: str, version: int) -> dict[str, str]:
    return connect(store).get_model_version(NAME, str(version)).tags


def numbers(store: str) -> list[str]:
    return [version.version for version in versions(store)]


def test_a_first_model_is_registered_with_all_that_a_comparison_needs_and_becomes_champion(
    project: Project,
    store: str,
    packages: Packages,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = project.place(packages[0])
    register.main()
    assert capsys.readouterr().out == "gc: registered as gencomp-gc version 1, champion\n"
    assert aliases(store) == {"champion": "1"}
    found = tags(store, 1)
    assert found[PACKAGE_TAG] == content_hash(packages[0])
    assert found["gencomp.bitstream"] == "1"
    assert found["gencomp.measured.psnr"] == "25.0"
    assert found["gencomp.measured.evaluation_digest"] == f'"{measured.evaluation_digest}"'
    assert found["gencomp.gate"] == "passed"
    assert found["gencomp.gate.psnr"] == "passed: 25 dB, at least 12"
    client = connect(store)
    run = client.get_run(str(client.get_model_version(NAME, "1").run_id))
    assert run.data.params == {"dataset": "photos", "model.width": "2"}
    assert run.data.metrics["evaluation/psnr"] == 25.0
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [(10, 3.5), (20, 2.25)]
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "psnr")] == [(20, 21.5)]
    assert not list(Path("mlartifacts").rglob("__pycache__"))


def test_the_run_has_the_tables_of_the_latest_evaluation(
    project: Project, store: str, packages: Packages, tmp_path: Path
) -> None:
    files = {
        "metrics.json": "metrics/gc.json",
        "rates.csv": "report/rates.csv",
        "centers.csv": "history/gc-centers.csv",
    }
    client = connect(store)
    for number, psnr in enumerate((25.0, 24.0)):
        project.place(packages[0], psnr=psnr)
        register.main()
        run = str(client.get_model_version(NAME, "1").run_id)
        there = client.download_artifacts(run, "evaluation", str((tmp_path / f"got{number}").absolute()))
        assert {path.name: path.read_bytes() for path in Path(there).iterdir()} == {
            name: Path(file).read_bytes() for name, file in files.items()
        }
    assert numbers(store) == ["1"]
    project.place(packages[1])
    Path("report/rates.csv").unlink()
    register.main()
    run = str(client.get_model_version(NAME, "2").run_id)
    names = [file.path for file in client.list_artifacts(run, "evaluation")]
    assert sorted(names) == ["evaluation/centers.csv", "evaluation/metrics.json"]


def test_every_number_of_the_latest_evaluation_is_a_metric_and_the_latest_is_shown(
    project: Project, store: str, packages: Packages
) -> None:
    client = connect(store)
    means = {"seam": 1.5, "psnr_outside": None}
    evaluations: list[dict[str, object]] = [
        {"ssimulacra2": 40.5, "kid": 0.01, "fid": 7.5, "selective": means, "intervals": {"psnr": [24.0, 26.0]}},
        {"ssimulacra2": 41.5, "kid": 0.01, "selective": means | {"psnr_outside": 12.0}, "protocols": {"kid": {}}},
        {"ssimulacra2": 41.5, "kid": 0.01, "selective": means | {"psnr_outside": 12.0}, "protocols": {}},
    ]
    for psnr, further in zip((25.0, 24.0, 24.0), evaluations, strict=True):
        project.place(packages[0], psnr=psnr, further=further)
        register.main()
        run = client.get_run(str(client.get_model_version(NAME, "1").run_id))
        shown = {name: value for name, value in run.data.metrics.items() if name.startswith("evaluation/")}
        assert shown["evaluation/psnr"] == psnr and shown["evaluation/kid"] == 0.01
        assert shown["evaluation/ssimulacra2"] == further["ssimulacra2"]
        assert shown["evaluation/selective/seam"] == 1.5
        assert not {"evaluation/max_bpp", "evaluation/package", "evaluation/protocols/kid"} & shown.keys()
    assert numbers(store) == ["1"]
    assert shown["evaluation/selective/psnr_outside"] == 12.0

    def steps(name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, f"evaluation/{name}")]

    assert steps("psnr") == [(0, 25.0), (1, 24.0)]  # the third evaluation has other words and the same numbers
    assert steps("kid") == [(0, 0.01), (1, 0.01)]
    assert steps("intervals/psnr/low")[0] == (0, 24.0) and steps("intervals/psnr/high")[0] == (0, 26.0)
    (first, last) = steps("fid")
    assert first == (0, 7.5) and last[0] == 1 and math.isnan(last[1])  # it was not measured again


def test_a_second_registration_registers_nothing_and_moves_nothing(
    project: Project,
    store: str,
    packages: Packages,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.place(packages[0])
    register.main()
    before = Path("mlflow.db").read_bytes()
    register.main()
    assert capsys.readouterr().out.splitlines()[1] == "gc: is gencomp-gc version 1, champion"
    assert Path("mlflow.db").read_bytes() == before


def test_a_better_model_takes_the_place_of_the_champion_and_a_worse_one_waits(
    project: Project,
    store: str,
    packages: Packages,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.place(packages[0], psnr=25.0)
    register.main()
    project.place(packages[1], psnr=20.0)
    register.main()
    assert aliases(store) == {"champion": "1", "challenger": "2"}
    assert tags(store, 2)["gencomp.comparison"] == "worse than version 1"
    assert tags(store, 2)["gencomp.comparison.psnr"] == "failed: 20 dB, at least 24.7"
    before = Path("mlflow.db").read_bytes()
    register.main()
    assert Path("mlflow.db").read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == (
        "gc: is gencomp-gc version 2, challenger; worse than version 1; psnr: 20 dB, at least 24.7"
    )
    project.place(packages[1], psnr=24.8)
    register.main()
    assert aliases(store) == {"champion": "2"}
    assert tags(store, 2)["gencomp.comparison"] == "not worse than version 1"
    project.place(packages[0], psnr=25.0)
    register.main()
    assert (aliases(store), numbers(store)) == ({"champion": "1"}, ["1", "2"])


def test_a_model_that_fails_the_gate_is_kept_with_its_reasons_and_no_alias(
    project: Project,
    store: str,
    packages: Packages,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project.place(packages[0], psnr=8.0)
    register.main()
    assert aliases(store) == {}
    assert tags(store, 1)["gencomp.gate"] == "failed"
    assert tags(store, 1)["gencomp.gate.psnr"] == "failed: 8 dB, at least 12"
    assert "rejected; psnr: 8 dB, at least 12" in capsys.readouterr().out
    project.place(packages[1], psnr=25.0)
    register.main()
    assert aliases(store) == {"champion": "2"}


class Interrupted:
    """A real client that is interrupted before its `count`-th call of `method`."""

    def __init__(self, client: MlflowClient, method: str, count: int) -> None:
        self._client, self._method, self._left = client, method, count

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt
        return getattr(self._client, name)


def interrupt(monkeypatch: pytest.MonkeyPatch, store: str, method: str, count: int = 0) -> bool:
    """Whether registering was interrupted there."""
    with monkeypatch.context() as patch:
        patch.setattr(candidate, "connect", lambda uri: Interrupted(connect(store), method, count))
        try:
            register.main()
        except KeyboardInterrupt:
            return True
    return False


def test_a_registration_interrupted_anywhere_ends_in_one_version_and_one_run(
    project: Project,
    store: str,
    packages: Packages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.place(packages[0])
    calls = ("log_batch", "set_terminated", "log_artifacts", "create_registered_model", "create_model_version")
    for call in (*calls, "set_model_version_tag", "set_registered_model_alias"):
        assert interrupt(monkeypatch, store, call), call
    register.main()
    client = connect(store)
    assert (numbers(store), aliases(store)) == (["1"], {"champion": "1"})
    runs = client.search_runs([experiment_id(client, store)])
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert len(client.get_metric_history(runs[0].info.run_id, "loss")) == 2


def test_a_promotion_interrupted_anywhere_leaves_a_champion(
    project: Project,
    store: str,
    packages: Packages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.place(packages[0])
    register.main()
    project.place(packages[1], psnr=26.0)
    seen = []
    for method, count in (
        ("set_registered_model_alias", 0),
        ("set_registered_model_alias", 1),
        ("delete_registered_model_alias", 0),
    ):
        interrupted = interrupt(monkeypatch, store, method, count)
        seen.append((interrupted, aliases(store)))
    register.main()
    assert seen == [
        (True, {"champion": "1"}),
        (True, {"champion": "1", "challenger": "2"}),
        (True, {"champion": "2", "challenger": "2"}),
    ]
    assert aliases(store) == {"champion": "2"}


@pytest.mark.parametrize("other", ["pictures", "encoder"])
def test_a_champion_of_another_evaluation_is_evaluated_again_on_the_current_one(
    other: str,
    project: Project,
    store: str,
    packages: Packages,
    python_env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYTHONPATH", python_env["PYTHONPATH"])
    Path("pictures").mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (33, 17, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("pictures/noise.png")
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["evaluation"] = {"split": "val", "images": "pictures", "entropy": "static"}
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    (picture,) = folder_images(Path("pictures"))
    pictures = hashlib.sha256()
    update_digest(pictures, picture)
    digest = pictures.hexdigest()
    project.place(packages[0], psnr=50.0, **({"digest": digest} if other == "encoder" else {}))
    register.main()
    project.place(packages[1], psnr=25.0, digest=digest, encoder=1 if other == "encoder" else 0)
    register.main()
    assert aliases(store) == {"champion": "2"}
    assert tags(store, 1)["gencomp.measured.evaluation_digest"] == f'"{digest}"'
    assert float(tags(store, 1)["gencomp.measured.psnr"]) < 25.0


def test_a_pulled_package_is_the_registered_one(
    project: Project,
    store: str,
    packages: Packages,
    tmp_path: Path,
) -> None:
    project.place(packages[0])
    register.main()
    for place, reference in enumerate((f"models:/{NAME}@champion", f"models:/{NAME}/1")):
        pulled = pull(reference, tmp_path / "pulled" / str(place))
        assert content_hash(pulled) == content_hash(packages[0])
        assert sorted(path.name for path in pulled.iterdir()) == ["config.json", "model.safetensors", "tables.json"]
    assert [version.reference for version in versions()] == [f"models:/{NAME}@champion"]
    assert [version.package for version in versions()] == [content_hash(packages[0])]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"models:/{NAME}@challenger", "no such alias; aliases here: none"),
        (f"models:/{NAME}/7", "no such version"),
        ("models:/other@champion", "there is no model other"),
        (f"models:/{NAME}", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        (f"models:/{NAME}/latest", "expected models:/NAME@ALIAS"),
        (f"{NAME}@champion", "expected models:/NAME@ALIAS"),
        ("models:/it's@champion", "expected models:/NAME@ALIAS"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused_in_one_line(
    reference: str, message: str, store: str, tmp_path: Path
) -> None:
    connect(store).create_registered_model(NAME)
    with pytest.raises(RegistryError, match=message) as refusal:
        pull(reference, tmp_path / "pulled", store)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "pulled").exists()


def test_a_damaged_package_is_refused_and_leaves_nothing(
    project: Project,
    store: str,
    packages: Packages,
    tmp_path: Path,
) -> None:
    project.place(packages[0])
    register.main()
    (stored,) = Path("mlartifacts").rglob("model.safetensors")
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    with pytest.raises(RegistryError, match="is damaged"):
        pull(f"models:/{NAME}@champion", tmp_path / "pulled" / "here")
    assert list((tmp_path / "pulled").iterdir()) == []


def test_pulling_replaces_no_folder_and_creates_no_store(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(RegistryError, match="name a new folder"):
        pull(f"models:/{NAME}@champion", tmp_path)
    with pytest.raises(RegistryError, match="there is no model store"):
        pull(f"models:/{NAME}@champion", tmp_path / "new", f"sqlite:///{tmp_path / 'none.db'}")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_the_stage_imports_no_network_library_and_says_one_line(
    project: Project,
    packages: Packages,
    python_env: dict[str, str],
) -> None:
    project.place(packages[0])
    code = "import runpy, sys; runpy.run_module('stages.register', run_name='__main__'); print('torch' in sys.modules)"
    finished = subprocess.run([sys.executable, "-c", code], env=python_env, capture_output=True, text=True, check=False)
    assert finished.stdout == "gc: registered as gencomp-gc version 1, champion\nFalse\n"
    assert finished.stderr == ""


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9: .*refused") as refusal:
        pull(f"models:/{NAME}@champion", tmp_path / "pulled", "http://127.0.0.1:9")
    assert "\n" not in str(refusal.value)
