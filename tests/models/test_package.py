"""Packages: the same bytes for the same model, checked before use, never executed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.content import PACKAGE_FILES, content_hash
from gencomp.models.entropy import fit_frequencies
from gencomp.models.package import PackageError, load_package, save_package

CONFIG = ModelConfig(width=4, blocks=1, channels=2)


def write(folder: Path, seed: int = 0) -> Compressor:
    compressor = Compressor(CONFIG)
    initialise(compressor, torch.Generator().manual_seed(seed))
    save_package(folder, CONFIG, compressor, fit_frequencies(np.array([[1, 2, 3, 2, 1], [0, 0, 9, 1, 1]])))
    return compressor


def test_a_package_comes_back_as_it_was(tmp_path: Path) -> None:
    written = write(tmp_path)
    read = load_package(tmp_path)
    assert read.config == CONFIG
    assert read.frequencies.tolist() == fit_frequencies(np.array([[1, 2, 3, 2, 1], [0, 0, 9, 1, 1]])).tolist()
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(read.compressor(x).x_hat, written.eval()(x).x_hat)


def test_the_same_model_gives_the_same_bytes_and_holds_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(PACKAGE_FILES)


def test_another_generator_has_another_fingerprint_but_another_encoder_does_not(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    first, second = load_package(tmp_path / "a"), load_package(tmp_path / "b")
    assert first.fingerprint != second.fingerprint
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    encoder = {name: tensor + 1 if name.startswith("E.") else tensor for name, tensor in tensors.items()}
    save_file(encoder, tmp_path / "a" / "model.safetensors")
    assert load_package(tmp_path / "a").fingerprint == first.fingerprint


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PackageError, match=name):
        load_package(tmp_path)


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(PackageError) as error:
        load_package(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [{"width": 8}, {"width": 10**9}, {"channels": 3}, {"width": "4"}, {"unknown": 1}, {"blocks": -1}],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused_before_anything_is_allocated(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(PackageError):
        load_package(tmp_path)


@pytest.mark.parametrize("rows", [[[1, 2, 3, 4, 5]] * 2, [[2**24, 0, 0, 0, 0]] * 2, [[2**24]] * 2, []], ids=str)
def test_tables_that_could_not_code_are_refused(tmp_path: Path, rows: list[list[int]]) -> None:
    write(tmp_path)
    (tmp_path / "tables.json").write_text(json.dumps({"static": rows}))
    with pytest.raises(PackageError, match="tables.json"):
        load_package(tmp_path)
