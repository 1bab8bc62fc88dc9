"""`python -m stages.validate` holds every profile, and says in one line what is wrong with one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def validate(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages.validate"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid(tmp_path: Path, profile: Path) -> None:
    (tmp_path / "params.yaml").write_text(profile.read_text())
    result = validate(tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("threads",), None, "threads"),
        (("variants", "gc", "model", "width"), -4, "variants.gc"),
        (("variants", "gc", "training", "epochs"), 3, "epochs"),
        (("variants", "mse", "dataset"), "kodak", "no dataset 'kodak'"),
        (("datasets", "photos", "selection", "recipe"), "best", "best"),
        (("anchor",), {}, "anchor"),
    ],
    ids=str,
)
def test_a_wrong_key_is_named_in_one_line(tmp_path: Path, keys: tuple[str, ...], value: object, words: str) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    section = params
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    result = validate(tmp_path)
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert words in result.stderr


def test_the_committed_params_are_the_laptop_profile() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "profiles/laptop.yaml").read_text()
