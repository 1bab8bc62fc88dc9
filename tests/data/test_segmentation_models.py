"""Label maps drawn by a model that transformers knows: a tiny real one, made here, without any network."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gencomp.data.dataset import SegmentationNetwork
from gencomp.data.failure import DataError
from gencomp.data.manifest import LabelNetwork, RawSidecar
from gencomp.data.segmentation import MODEL_FILES, network_input, segmenter

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'gencomp[transformers]'")
CLASSES, REVISION = ("sky", "road", "car"), "0123456789" * 4
WIDTH, HEIGHT = 90, 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SegFormer of a few weights, as transformers saves it."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(1)
    sides: Any = {"hidden_sizes": [8] * 4, "depths": [1] * 4, "num_attention_heads": [1] * 4, "decoder_hidden_size": 8}
    network = SegformerForSemanticSegmentation(SegformerConfig(**sides, num_labels=len(CLASSES)))
    folder = tmp_path_factory.mktemp("models") / "segformer"
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of Hugging Face's tools, which stay offline, with the model under an id."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--lab--tiny" / "snapshots" / REVISION
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(model)
    return tmp_path


def named(model: Path, **fields: Any) -> SegmentationNetwork:
    digest = hashlib.sha256(b"".join((model / name).read_bytes() for name in MODEL_FILES)).hexdigest()
    how = {"file": str(model), "format": "transformers", "sha256": digest, "classes": CLASSES}
    return SegmentationNetwork(**(how | {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)} | fields))


def picture() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (6, 9, 3), np.uint8)
    Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def sidecar() -> RawSidecar:
    about: Any = {"id": "a", "key": "a", "author": None, "license": None, "title": None}
    return RawSidecar(**about, split="train", width=WIDTH, height=HEIGHT, orientation=1)


def test_the_map_is_the_argmax_of_the_models_logits_by_folder_and_by_id(model: Path, cache: Path) -> None:
    from transformers import SegformerForSemanticSegmentation

    config = named(model)
    image = network_input(Image.open(io.BytesIO(picture())), config)
    with torch.inference_mode():
        logits = SegformerForSemanticSegmentation.from_pretrained(model).eval()(torch.from_numpy(image)).logits
    ids = Image.fromarray(logits[0].argmax(0).numpy().astype(np.uint8)).resize((WIDTH, HEIGHT), 0)
    assert len(np.unique(np.asarray(ids))) > 1
    for how, name in (
        (config, "segformer"),
        (named(model, file="lab/tiny", revision=REVISION), f"lab/tiny@{REVISION}"),
    ):
        network = segmenter(how, None)
        assert network.network == LabelNetwork(name=name, sha256=config.sha256)
        for _ in range(2):
            assert np.array_equal(network.draw(picture(), sidecar()).labels, np.asarray(ids))


def test_what_cannot_be_used_is_one_line(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = cache / "sparse"
    sparse.mkdir()
    (sparse / "config.json").write_text("{}")
    broken = cache / "broken"
    broken.mkdir()
    for name in MODEL_FILES:
        (broken / name).write_bytes(b"{}")
    for config, problem in (
        (named(model, sha256="0" * 64), r"segformer has SHA-256 \w{64}, not 0{64}$"),
        (named(model, file="lab/tiny"), "lab/tiny: no such folder; a model id needs its `revision`"),
        (named(model, file="lab/none", revision=REVISION), f"lab/none: revision {REVISION} cannot be had: "),
        (named(model, file=str(sparse)), r"sparse/model.safetensors: No such file"),
        (named(broken), "broken: is no transformers network that can be opened: "),
        (named(model, classes=("sky", "road")), r"not the logits of 2 classes"),
    ):
        with pytest.raises(DataError, match=problem) as error:
            segmenter(config, None).draw(picture(), sidecar())
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(DataError, match=r"transformers is not installed: pip install 'gencomp\[transformers\]'$"):
        segmenter(named(model), None)
