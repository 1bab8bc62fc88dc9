"""Who reigns: promoted and rolled back by hand, remembered, killed between any two steps; and streams of old ones."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from PIL import Image

from gencomp.cli import main
from gencomp.codec.codec import Codec
from gencomp.registry.candidate import lock_digest
from gencomp.registry.champions import (
    GATE_TAG,
    WITHDRAWN_TAG,
    Reign,
    history,
    predecessors,
    promote_by_hand,
    record,
    roll_back,
)
from gencomp.registry.release import FINGERPRINT_TAG, made_by
from gencomp.registry.store import RegistryError, connect, experiment_id
from stages import register
from tests.registry.project import Project, verdict_of

NAME = "gencomp-gc"
Packages = tuple[Path, Path]

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Where a store writes absolute paths."""
KILLING = """
import os, signal, sqlite3, sys
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
from gencomp.registry import candidate, champions, release
from gencomp.registry.store import connect, store_uri
from stages import register

MOVES = ("set_registered_model_alias", "delete_registered_model_alias", "set_registered_model_tag")
TAGS = ("set_model_version_tag", "delete_model_version_tag")
HANDS = (champions.CROWNING_TAG, champions.WITHDRAWN_TAG)

class Mortal:
    def __init__(self, client, writes):
        self._client, self._left = client, writes
    def __getattr__(self, name):
        found = getattr(self._client, name)
        if name not in MOVES + TAGS:
            return found
        def write(*arguments):
            if name in MOVES or arguments[2] in HANDS:
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self._left -= 1
            return found(*arguments)
        return write

def act(writes):
    candidate.connect = champions.reader = lambda uri: Mortal(connect(uri), writes)
    if sys.argv[1] == "register":
        register.main()
    else:
        champions.roll_back("gencomp-gc", "a test")

for writes in range(20):
    child = os.fork()
    if child == 0:
        act(writes)
        os._exit(0)
    ended = os.waitpid(child, 0)[1]
    query = "SELECT version FROM registered_model_aliases WHERE alias = 'champion'"
    found = [row[0] for row in sqlite3.connect("mlflow.db").execute(query)]
    print("killed" if ended == signal.SIGKILL else ended, *found)
    if ended == 0:
        break
"""
"""Does it again and again, each time killed one step later than before, until it is done."""


@pytest.fixture(scope="module")
def template(packages: Packages, empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has versions 1 and 2, registered by the pipeline, and 3, without verdict; 2 is champion."""
    folder = tmp_path_factory.mktemp("template")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        project = Project(folder)
        for package, psnr in zip(packages, (25.0, 26.0), strict=True):
            project.place(package, psnr=psnr)
            register.main()
    client = connect(f"sqlite:///{folder / 'mlflow.db'}")
    second = client.get_model_version(NAME, "2")
    client.create_model_version(NAME, second.source, run_id=second.run_id)
    return folder


@pytest.fixture
def three(template: Path, project: Project, store: str) -> MlflowClient:
    """A client of a copy of that store, in a copy of that project."""
    shutil.copytree(template, project.folder, dirs_exist_ok=True)
    with sqlite3.connect(project.folder / "mlflow.db") as database:
        for table, column in PLACES:
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(template), str(project.folder))
            )
    return connect(store)


def aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()}


def reigns() -> list[tuple[str, str]]:
    return [(reign.version, reign.how) for reign in history(NAME)]


def gencomp(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_the_history_tells_who_reigned_since_when_how_and_why(three: MlflowClient) -> None:
    first, second = history(NAME)
    assert (first.version, first.how, first.reason) == ("1", "promoted", "there was no champion")
    assert (second.version, second.how, second.reason) == ("2", "promoted", "not worse than version 1")
    assert second.time > first.time
    listed = gencomp("models", "history", NAME)
    assert listed.exit_code == 0
    assert [line[21:] for line in listed.stdout.splitlines()] == [
        "version 1    promoted     there was no champion",
        "version 2    promoted     not worse than version 1",
    ]


def test_a_rollback_holds_against_the_pipeline_and_is_taken_back_by_hand(
    three: MlflowClient, project: Project, packages: Packages, capsys: pytest.CaptureFixture[str]
) -> None:
    done = gencomp("models", "rollback", NAME, "--reason", "washed-out skies")
    assert (done.exit_code, done.output) == (0, f"{NAME}: version 1 is the champion again, version 2 was\n")
    project.place(packages[1], psnr=26.0)
    capsys.readouterr()
    register.main()
    assert aliases(three) == {"champion": "1"}
    said = capsys.readouterr().out
    assert "withdrawn; rolled back by hand: washed-out skies; `gencomp models promote models:/gencomp-gc/2`" in said
    again = gencomp("models", "promote", f"models:/{NAME}/2", "--reason", "they were meant to be")
    assert (again.exit_code, again.output) == (0, f"{NAME}: version 2 is the champion, version 1 was\n")
    register.main()
    assert aliases(three) == {"champion": "2"}
    assert WITHDRAWN_TAG not in three.get_model_version(NAME, "2").tags
    assert reigns() == [("1", "promoted"), ("2", "promoted"), ("1", "rolled back"), ("2", "promoted")]
    assert history(NAME)[-1].reason == "by hand: they were meant to be"


def test_a_version_promoted_by_hand_holds_against_the_one_that_would_win(
    three: MlflowClient, project: Project, packages: Packages
) -> None:
    promote_by_hand(f"models:/{NAME}/1", "we know better")
    project.place(packages[1], psnr=26.0)
    register.main()
    assert aliases(three) == {"champion": "1"}
    assert promote_by_hand(f"models:/{NAME}@champion", "again").after == "1"
    assert reigns() == [("1", "promoted"), ("2", "promoted"), ("1", "promoted")]


def test_what_did_not_pass_the_gate_is_promoted_by_force_alone(
    three: MlflowClient, project: Project, packages: Packages
) -> None:
    refused = gencomp("models", "promote", f"models:/{NAME}/3", "--reason", "a try")
    assert refused.exit_code == 1
    assert refused.output.count("\n") == 1 and "did not pass the gate (it has no verdict): --force" in refused.output
    measured = project.place(packages[1], psnr=8.0)
    record(three, three.get_model_version(NAME, "3"), measured, verdict_of(measured))
    with pytest.raises(RegistryError, match=r"\(psnr: 8 dB, at least 12\): --force"):
        promote_by_hand(f"models:/{NAME}/3", "a try")
    assert aliases(three) == {"champion": "2"}
    assert gencomp("models", "promote", f"models:/{NAME}/3", "--reason", "a try", "--force").exit_code == 0
    assert aliases(three) == {"champion": "3"}
    assert three.get_model_version(NAME, "3").tags[GATE_TAG] == "failed"


def test_rolling_back_further_and_further_ends_at_the_first_champion_in_one_line(three: MlflowClient) -> None:
    promote_by_hand(f"models:/{NAME}/3", "newest", force=True)
    assert roll_back(NAME, "one").after == "2"
    assert roll_back(NAME, "two").after == "1"
    with pytest.raises(RegistryError, match=r"no champion before version 1 is known: `gencomp models promote"):
        roll_back(NAME, "three")
    assert aliases(three) == {"champion": "1"}


def test_a_deleted_version_is_passed_over_and_a_champion_from_elsewhere_is_noted(three: MlflowClient) -> None:
    three.set_registered_model_alias(NAME, "champion", "3")
    three.delete_model_version(NAME, "2")
    assert roll_back(NAME, "a hole").after == "1"
    assert [(reign.version, reign.reason) for reign in history(NAME)][2:] == [
        ("3", "not by gencomp"),
        ("1", "by hand: a hole"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1", []),
        ("1 2 3", ["2", "1"]),
        ("1 2 3 <2", ["1"]),
        ("1 2 3 <2 <1", []),
        ("1 2 <1 3", ["1"]),
        ("1 3 1", ["3", "1"]),
        ("1 3 1 <3", ["1"]),
    ],
)
def test_one_rolls_back_to_those_before_and_not_to_what_was_rolled_back(line: str, expected: list[str]) -> None:
    reigns = [
        Reign(entry.lstrip("<"), time, "rolled back" if entry[0] == "<" else "promoted", "")
        for time, entry in enumerate(line.split())
    ]
    assert predecessors(reigns) == expected


@pytest.mark.parametrize("command", ["promote models:/other/1", "rollback other", "history other"])
def test_unknown_models_are_refused_in_one_line(three: MlflowClient, command: str) -> None:
    reason = [] if command.startswith("history") else ["--reason", "none"]
    refused = gencomp("models", *command.split(), *reason)
    assert refused.exit_code == 1
    assert refused.output.count("\n") == 1 and "there is no model other" in refused.output


def test_killed_between_any_two_steps_there_is_one_champion_and_the_end_is_the_same(
    project: Project, store: str, packages: Packages, python_env: dict[str, str]
) -> None:
    def until_done(action: str) -> list[list[str]]:
        finished = subprocess.run(
            [sys.executable, "-c", KILLING, action], env=python_env, capture_output=True, text=True, check=True
        )
        return [line.split() for line in finished.stdout.splitlines() if line.startswith(("killed", "0"))]

    project.place(packages[0], psnr=25.0)
    register.main()
    project.place(packages[1], psnr=26.0)
    client = connect(store)
    for action, before, after in (("register", "1", "2"), ("rollback", "2", "1")):
        seen = until_done(action)
        champions = [versions for _, *versions in seen]
        assert len(seen) > 3 and [state for state, *_ in seen] == ["killed"] * (len(seen) - 1) + ["0"]
        assert champions == sorted(champions, reverse=before > after) and [before] in champions
        assert champions[-1] == [after]
        assert aliases(client) == {"champion": after}
    assert reigns() == [("1", "promoted"), ("2", "promoted"), ("1", "rolled back")]


def test_a_stream_of_an_old_champion_is_decoded_with_the_registry_alone(
    three: MlflowClient, store: str, packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert three.get_model_version(NAME, "2").aliases == ["champion"]
    old = Codec.from_reference(packages[0])
    pixels = np.random.default_rng(2).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    stream = old.compress(Image.fromarray(pixels))
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty / "cache"))
    Path("old.gnc").write_bytes(stream)
    lost = gencomp("decompress", "old.gnc", "old.png")
    assert lost.exit_code == 2
    assert "not in ./models, and there is no model store: give it with --model REF, or set MLFLOW_" in lost.output
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    found = gencomp("decompress", "old.gnc", "old.png")
    assert (found.exit_code, found.output) == (0, "old.png: 45 x 30\n")
    assert np.array_equal(np.asarray(Image.open("old.png")), np.asarray(old.decompress(stream)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # it was kept, so nobody is asked again
    assert gencomp("decompress", "old.gnc", "again.png").exit_code == 0


def test_a_stream_that_no_registered_model_made_is_refused_in_one_line(
    three: MlflowClient, store: str, packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = three.get_model_version(NAME, "1").tags[FINGERPRINT_TAG]
    assert made_by(bytes.fromhex(fingerprint), store) == f"models:/{NAME}/1"
    assert made_by(b"none", store) is None
    three.delete_model_version(NAME, "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    picture = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
    Path("old.gnc").write_bytes(Codec.from_reference(packages[0]).compress(picture))
    Path("models/gc").rename("moved")
    refused = gencomp("decompress", "old.gnc", "old.png")
    assert refused.exit_code == 2
    assert refused.output.count("\n") == 1
    assert f"made by model {fingerprint}, which is not shipped, not pulled" in refused.output
    assert "and not registered" in refused.output


def test_the_version_tells_where_it_comes_from_and_shows_pictures(
    project: Project, store: str, packages: Packages, tmp_path: Path
) -> None:
    Path("dvc.lock").write_text("stages: {shard@photos: {cmd: x}, register: {cmd: y}}\n")
    measured = project.place(packages[0])
    register.main()
    client = connect(store)
    version = client.get_model_version(NAME, "1")
    tags = version.tags
    assert tags[FINGERPRINT_TAG] == measured.fingerprint
    assert tags["gencomp.dataset"] == "photos"
    assert tags["gencomp.data"] == project.manifest_digest()
    Path("dvc.lock").write_text("stages: {shard@photos: {cmd: x}, register: {cmd: changed}}\n")
    assert tags["gencomp.lock"] == lock_digest(Path("dvc.lock"))
    card = str(version.description)
    for part in ("| PSNR | 25.00 dB |", "passed, 9 checks", "models:/gencomp-gc@champion", tags["gencomp.lock"][:16]):
        assert part in card
    assert f"get-artifact?path=card%2Fpictures.png&run_uuid={version.run_id}" in card
    shown = Path(client.download_artifacts(version.run_id, "card/pictures.png", str(tmp_path)))
    assert Image.open(shown).size == (40 + 8 + 40, 30)
    (data,) = client.get_run(str(version.run_id)).inputs.dataset_inputs
    assert data.dataset.digest == project.manifest_digest()[:32]
    project.place(packages[0], psnr=24.0)
    register.main()
    assert "| PSNR | 24.00 dB |" in str(client.get_model_version(NAME, "1").description)


@pytest.mark.parametrize("told", ["source", "licence"])
def test_pictures_that_may_not_be_passed_on_are_not_in_the_card(
    project: Project, store: str, packages: Packages, told: str
) -> None:
    """Whether the source is known for that, or the licence of a sample in the shards says so."""
    project.place(packages[0])
    known, config = Path("data/shards/photos/manifest.json"), Path("params.yaml")
    if told == "source":
        params = yaml.safe_load(config.read_text())
        params["datasets"]["photos"]["source"]["kind"] = "cityscapes"
        config.write_text(yaml.safe_dump(params))
    else:
        known.write_text(json.dumps(json.loads(known.read_text()) | {"reserved": True}))
    register.main()
    client = connect(store)
    assert "get-artifact" not in str(client.get_model_version(NAME, "1").description)
    (run,) = client.search_runs([experiment_id(client, store)])
    kept = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert sorted(kept) == ["data", "evaluation", "model"]
    tables = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "evaluation")]
    assert sorted(tables) == ["centers.csv", "metrics.json", "rates.csv"]
