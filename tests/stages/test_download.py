"""The download stage before it asks anyone for anything."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from gencomp.data.archive import write_tar
from gencomp.data.cityscapes_account import SITE, Account
from gencomp.data.remotes import public_remotes
from stages import download
from stages.entry import StageError
from tests.data.conftest import sidecar


def dvc(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CITYSCAPES_USERNAME", raising=False)
    dvc("init", "--no-scm", "--quiet")
    return tmp_path


CITYSCAPES: dict[str, object] = {"kind": "cityscapes", "root": "archives"}


def write(source: dict[str, object]) -> None:
    streets = {
        "source": source,
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
    write(CITYSCAPES)
    dvc("remote", "add", "web", "https://example.org/data")
    with pytest.raises(StageError, match="DVC remote web looks public"):
        download.main("streets")
    write(CITYSCAPES | {"remotes_are_private": True})
    with pytest.raises(StageError, match=r"archives/leftImg8bit_trainvaltest\.zip|neither"):
        download.main("streets")


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("kind", ["tars", "list"])
def test_pictures_whose_licence_forbids_it_are_not_fetched_either_whatever_their_source(kind: str) -> None:
    """Cityscapes' shards read again as tars, and a list that states such terms."""
    Path("archives").mkdir()
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    Path("archives/a.png").write_bytes(file.getvalue())
    Path("list.txt").write_text("a.png\n")
    free = sidecar("b", 9, 9, "CC0")
    members = [("a.png", file.getvalue()), ("a.json", sidecar("a", 9, 9, download.CITYSCAPES_TERMS))]
    write_tar(Path("archives/train-000000.tar"), [*members, ("b.png", file.getvalue()), ("b.json", free)])
    about: dict[str, dict[str, object]] = {
        "tars": {"root": "archives"},
        "list": {"list": "list.txt", "images": "archives", "license": "My terms: No redistribution."},
    }
    source = {"kind": kind, "validation_share": 0.0, **about[kind]}
    dvc("remote", "add", "web", "https://example.org/data")
    write(source)
    refused = r"a\.png \(.*o redistribution\.?\) may not be passed on, and DVC remote web looks public"
    with pytest.raises(StageError, match=refused):
        download.main("streets")
    assert not Path("data").exists()
    write(source | {"remotes_are_private": True})
    download.main("streets")
    write(source)
    dvc("remote", "remove", "web")
    download.main("streets")


def test_the_account_is_the_environments_and_whole_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CITYSCAPES_USERNAME", "ada")
    monkeypatch.delenv("CITYSCAPES_PASSWORD", raising=False)
    assert download.account() is None
    monkeypatch.setenv("CITYSCAPES_PASSWORD", "secret")
    assert download.account() == Account("ada", "secret", SITE)
