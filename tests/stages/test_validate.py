"""`python -m stages.validate` holds every profile, and says in one line what is wrong with one."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gencomp.config import ConfigError
from stages.entry import StageError
from stages.validate import main

ROOT = Path(__file__).resolve().parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Path) -> None:
    (tmp_path / "params.yaml").write_text(profile.read_text())
    monkeypatch.chdir(tmp_path)
    main()


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("threads",), None, "threads"),
        (("variants", "streets-sc", "model", "width"), -4, "variants.streets-sc"),
        (("variants", "streets-sc", "model", "nested"), True, "mode sc goes without nested channels"),
        (("variants", "streets-sc", "model"), None, "a variant needs `model`, or `init`"),
        (("variants", "gc", "training", "epochs"), 3, "epochs"),
        (("variants", "gc", "training", "checkpoint_every"), 55, "no multiple of log_every"),
        (("variants", "mse", "training", "losses", "feature_matching"), 1.0, "needs adversarial > 0"),
        (("variants", "mse", "dataset"), "kodak", "no dataset 'kodak'"),
        (("datasets", "photos", "selection", "recipe"), "best", "best"),
        (("anchor",), {}, "anchor"),
    ],
    ids=str,
)
def test_a_wrong_key_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...], value: object, words: str
) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    section = params
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ConfigError, StageError)) as error:
        main()
    assert "\n" not in str(error.value)
    assert words in str(error.value)


def test_the_command_prints_the_line_and_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.validate"]
    environment = {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert result.stderr == "validate: params.yaml: no such file\n"


def test_the_committed_params_are_the_laptop_profile() -> None:
    assert (ROOT / "params.yaml").read_text() == (ROOT / "profiles/laptop.yaml").read_text()
