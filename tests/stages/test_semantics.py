"""The semantics stage with a segmentation network that params.yaml names."""

import hashlib
import json
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from stages import download, semantics
from stages.entry import StageError


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A folder of two photographs without label maps, downloaded, and a network for params.yaml."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, colour in (("a", (200, 10, 10)), ("b", (10, 10, 200))):
        Image.new("RGB", (40, 30), colour).save(f"photos/{name}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Identity()).save("strongest.pt")  # the channels themselves as logits
    network: dict[str, object] = {
        "file": "strongest.pt",
        "format": "torchscript",
        "sha256": hashlib.sha256(Path("strongest.pt").read_bytes()).hexdigest(),
        **{"classes": ["red", "green", "blue"], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    }
    write(None)
    download.main("own")
    return network


def write(network: dict[str, object] | None) -> None:
    own = {
        "source": {"kind": "folder", "root": "photos", "validation_share": 0.0},
        "selection": {"recipe": "none", "minimum_side": 1},
        **{"shard_samples": 9, "maximum_missing": 0.0, "maximum_megabytes": 64, "maximum_megapixels": 170},
        **{"subset": {}, "watch": "photos", "pseudo_labels": network},
    }
    Path("params.yaml").write_text(yaml.safe_dump({"datasets": {"own": own}}))


def test_the_network_draws_the_maps_of_a_dataset_without_annotations(project: dict[str, object]) -> None:
    write(project)
    semantics.main("own")
    folder = Path("data/semantics/own")
    known = json.loads((folder / "manifest.json").read_text())
    assert known["network"] == {"name": "strongest.pt", "sha256": project["sha256"]}
    assert known["counts"] == {"lost": 0, "objects": 0, "pseudo-labelled": 2} and known["classes"] == 3
    assert [label["name"] for label in json.loads((folder / "classes.json").read_text())["classes"]] == project[
        "classes"
    ]


def test_without_it_there_are_no_maps_and_no_word_of_it(project: dict[str, object]) -> None:
    semantics.main("own")
    known = json.loads(Path("data/semantics/own/manifest.json").read_text())
    assert known["counts"]["unlabelled"] == 2 and "network" not in known


def test_another_file_ends_the_stage_in_one_line_that_says_its_hash(project: dict[str, object]) -> None:
    write(project | {"sha256": "0" * 64})
    with pytest.raises(StageError, match=f"strongest.pt has SHA-256 {project['sha256']}, not 000"):
        semantics.main("own")
    assert not Path("data/semantics").exists()
