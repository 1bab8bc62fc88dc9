"""The download stage before it asks anyone for anything."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gencomp.data.cityscapes_account import SITE, Account
from gencomp.data.remotes import public_remotes
from stages import download
from stages.entry import StageError


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CITYSCAPES_USERNAME", raising=False)
    dvc("init", "--no-scm", "--quiet")
    return tmp_path


def write(**source: object) -> None:
    streets = {
        "source": {"kind": "cityscapes", "root": "archives", **source},
        "selection": {"recipe": "none", "minimum_side": 1},
        **{"shard_samples": 9, "maximum_missing": 0.0, "maximum_megabytes": 64, "maximum_megapixels": 170},
        **{"subset": {}, "watch": "archives"},
    }
    Path("params.yaml").write_text(yaml.safe_dump({"datasets": {"streets": streets}}))


def test_remotes_that_anyone_may_read_are_found_as_dvc_writes_them(checkout: Path) -> None:
    dvc("remote", "add", "mine", "s3://bucket/data")
    dvc("remote", "add", "disk", "/mnt/data")
    assert public_remotes(checkout / ".dvc") == []
    dvc("remote", "add", "web", "https://example.org/data")
    dvc("remote", "add", "open", "s3://bucket/open")
    dvc("remote", "modify", "open", "allow_anonymous_login", "true")
    dvc("remote", "add", "quoted", "https://example.org/data,1")
    assert public_remotes(checkout / ".dvc") == ["open", "quoted", "web"]
    assert public_remotes(checkout / "nowhere") == []


@pytest.mark.usefixtures("checkout")
def test_cityscapes_is_not_fetched_into_a_checkout_with_a_public_remote() -> None:
    write()
    dvc("remote", "add", "web", "https://example.org/data")
    with pytest.raises(StageError, match="DVC remote web looks public"):
        download.main("streets")
    write(remotes_are_private=True)
    with pytest.raises(StageError, match=r"archives/leftImg8bit_trainvaltest\.zip|neither"):
        download.main("streets")


def test_the_account_is_the_environments_and_whole_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_USERNAME", "ada")
    monkeypatch.delenv("CITYSCAPES_PASSWORD", raising=False)
    assert download.account() is None
    monkeypatch.setenv("CITYSCAPES_PASSWORD", "secret")
    assert download.account() == Account("ada", "secret", SITE)
