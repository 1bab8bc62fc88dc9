"""The cache gives what the catalogue pins, or says what to do."""

from pathlib import Path

import pytest

from gencomp.weights.cache import weights_folder, weights_hash, weights_path
from gencomp.weights.catalogue import KNOWN
from gencomp.weights.failure import MissingWeightsError


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_chosen_one_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GENCOMP_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert weights_folder() == tmp_path / "home/.cache/gencomp/weights"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert weights_folder() == tmp_path / "cache/gencomp/weights"
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path / "chosen"))
    assert weights_folder() == tmp_path / "chosen"


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("lpips-alex", "set losses.lpips to 0 or leave lpips_alex out of evaluation.metrics"),
        ("vgg19", "set losses.vgg to 0"),
        ("dists", "set losses.dists to 0 or leave dists out of evaluation.metrics"),
    ],
)
def test_missing_weights_say_what_to_do(empty: Path, name: str, cure: str) -> None:
    with pytest.raises(MissingWeightsError) as error:
        weights_path(name)
    way = f"run `gencomp weights fetch {name}`, or {cure}"
    assert str(error.value) == f"no {name} weights at {empty / name}.safetensors: {way}"


def test_other_content_under_a_known_name_is_refused(empty: Path) -> None:
    (empty / "vgg19.safetensors").write_bytes(b"other")
    with pytest.raises(MissingWeightsError, match="is not the known file of vgg19 weights: run `gencomp weights"):
        weights_path("vgg19")


def test_all_but_torchvisions_weights_are_pinned_by_hash(empty: Path) -> None:
    for weights in KNOWN:
        if weights.package:
            assert len(weights_hash(weights.name)) == len(weights.package.sha256) == 64
    (empty / "vgg19-torchvision.safetensors").write_bytes(b"")
    assert weights_hash("vgg19-torchvision").startswith("e3b0c44298fc1c14")


def test_fetched_weights_are_the_pinned_ones() -> None:
    there = [weights.name for weights in KNOWN if (weights_folder() / f"{weights.name}.safetensors").is_file()]
    if not there:
        pytest.skip("no weights in the cache: run `gencomp weights fetch`")
    for name in there:
        assert weights_path(name).is_file()
