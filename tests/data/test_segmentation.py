"""Label maps drawn by a small network that is exported to both formats."""

import hashlib
import io
import json
import logging
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gencomp.data import manifest
from gencomp.data.archive import read_samples
from gencomp.data.dataset import DatasetConfig, FolderSource, PlainSelection, SegmentationNetwork, Subset
from gencomp.data.download import download
from gencomp.data.failure import DataError, Rejected
from gencomp.data.fetch import Fetcher
from gencomp.data.folder import Folder
from gencomp.data.folder_labels import FolderLabels
from gencomp.data.manifest import ClassTable, LabelClass, LabelManifest, RawSidecar
from gencomp.data.segmentation import network_input, segmenter
from gencomp.data.semantics import write_semantics
from gencomp.data.shards import write_shards

CLASSES = ("red", "green", "blue")
FORMATS = ("onnx", "torchscript")


class Strongest(nn.Module):
    """Which colour is the strongest, at half the resolution: its logits are the means of 2 x 2 pixels' channels."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Conv2d(3, 3, 2, stride=2, bias=False)
        with torch.no_grad():
            self.mean.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 2, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor = self.mean(x)
        return mean


class Named(Strongest):
    """The same under a name, as torchvision's networks give it."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"out": self.mean(x)}


class Broken(Strongest):
    """Logits that are no numbers where the picture is black."""

    def forward(self, x: Tensor) -> Tensor:
        return self.mean(x) / self.mean(x)


def export(folder: Path, network: nn.Module, form: str) -> Path:
    file = folder / f"{type(network).__name__}.{form}"
    network.eval()
    logger = logging.getLogger("torch.onnx")
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "torchscript":
            torch.jit.script(network).save(str(file))
        else:
            sides = {2: torch.export.Dim("rows") * 2, 3: torch.export.Dim("columns") * 2}
            torch.onnx.export(
                *(network, (torch.ones(1, 3, 32, 64),), file),
                **{"dynamic_shapes": ({0: torch.export.Dim.STATIC, **sides},), "external_data": False},
                **{"dynamo": True, "verbose": False},
            )
    return file


def named(file: Path, **fields: Any) -> SegmentationNetwork:
    form = "onnx" if file.suffix == ".onnx" else "torchscript"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    how = {"file": str(file), "format": form, "sha256": digest, "classes": CLASSES, "multiple": 2}
    return SegmentationNetwork(**(how | {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)} | fields))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {form: export(folder, Strongest(), form) for form in FORMATS}


def stripes(width: int = 90, height: int = 60) -> np.ndarray:
    """Red, green and blue from left to right, each a little of the others."""
    ids = np.arange(width) * 3 // width
    return np.broadcast_to(np.eye(3)[ids] * 150 + 40, (height, width, 3)).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def sidecar(width: int = 90, height: int = 60, orientation: int = 1) -> RawSidecar:
    about = {"id": "a", "key": "a", "author": None, "license": None, "title": None}
    return RawSidecar(**about, split="train", width=width, height=height, orientation=orientation)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMATS)
def test_a_map_is_as_large_as_the_upright_image_and_says_what_the_network_says(
    files: dict[str, Path], form: str
) -> None:
    found = segmenter(named(files[form]), None).draw(encoded(stripes()), sidecar())
    expected = np.broadcast_to(np.arange(90) * 3 // 90, (60, 90))
    assert np.array_equal(found.labels, expected) and np.array_equal(found.instances, expected)
    turned = segmenter(named(files[form]), None).draw(encoded(stripes()), sidecar(orientation=6))
    assert np.array_equal(turned.labels, np.rot90(expected, -1))


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_above_the_longest_side_is_reduced_first_and_its_map_is_whole(
    files: dict[str, Path], form: str
) -> None:
    config = named(files[form], longest_side=64, multiple=32)
    found = segmenter(config, None).draw(encoded(stripes(900, 500), "JPEG"), sidecar(900, 500))
    assert network_input(Image.fromarray(stripes(900, 500)), config).shape == (1, 3, 32, 64)
    assert found.labels.shape == (500, 900)
    wrong = (found.labels != np.arange(900) * 3 // 900).mean(0)
    assert set(np.flatnonzero(wrong)) <= {x for edge in (300, 600) for x in range(edge - 30, edge + 30)}


def test_the_input_is_scaled_normalised_and_ordered_as_it_is_told(files: dict[str, Path]) -> None:
    image = Image.new("RGB", (4, 2), (255, 51, 0))
    plain = network_input(image, named(files["onnx"], mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0)))
    assert plain.dtype == np.float32 and np.allclose(plain[0, :, 0, 0], (1.0, 1.0, 0.0))
    bgr = network_input(image, named(files["onnx"], mean=(10, 1, 5), std=(1, 1, 1), scale=1, order="BGR"))
    assert np.allclose(bgr[0, :, 0, 0], (-10, 50, 250))


def test_the_first_of_several_outputs_are_the_logits(tmp_path: Path, files: dict[str, Path]) -> None:
    plain = segmenter(named(files["torchscript"]), None)
    several = segmenter(named(export(tmp_path, Named(), "torchscript")), None)
    image = encoded(stripes())
    assert np.array_equal(plain.draw(image, sidecar()).labels, several.draw(image, sidecar()).labels)


def test_label_ids_are_those_of_the_sources_annotations_by_name(files: dict[str, Path]) -> None:
    table = ClassTable(classes=[LabelClass(id=id, name=name) for id, name in enumerate(("blue", "x", "green", "red"))])
    found = segmenter(named(files["onnx"]), table)
    assert found.table == table
    assert np.array_equal(found.draw(encoded(stripes()), sidecar()).labels[0, ::30], (3, 2, 0))
    with pytest.raises(DataError, match=r"class green, blue is none of those .*; known: red"):
        segmenter(named(files["onnx"]), ClassTable(classes=[LabelClass(id=0, name="red")]))


def test_channels_of_one_name_are_one_class(files: dict[str, Path]) -> None:
    found = segmenter(named(files["onnx"], classes=("warm", "cold", "cold")), None)
    assert [label.name for label in found.table.classes] == ["warm", "cold"]
    assert set(np.unique(found.draw(encoded(stripes()), sidecar()).labels)) == {0, 1}


def test_another_file_than_the_one_that_was_named_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(files["onnx"].read_bytes())
    config = named(copy)
    copy.write_bytes(files["torchscript"].read_bytes())
    with pytest.raises(DataError, match=f"copy.onnx has SHA-256 [0-9a-f]{{64}}, not {config.sha256}"):
        segmenter(config, None)
    copy.unlink()
    with pytest.raises(DataError, match=r"copy\.onnx: No such file"):
        segmenter(config, None)


@pytest.mark.parametrize("form", FORMATS)
def test_what_cannot_be_used_is_told_in_one_line(files: dict[str, Path], tmp_path: Path, form: str) -> None:
    noise = tmp_path / f"noise.{form}"
    noise.write_bytes(b"no network")
    for config, words in (
        (named(noise), f"noise.{form}: is no {form} network that can be opened: "),
        (named(files[form], classes=("a", "b")), "not the logits of 2 classes"),
    ):
        found = segmenter(config, None)
        with pytest.raises(DataError) as error:
            found.draw(encoded(stripes()), sidecar())
        assert words in str(error.value) and "\n" not in str(error.value)


def test_logits_that_are_no_numbers_are_a_reject_with_its_reason(tmp_path: Path) -> None:
    found = segmenter(named(export(tmp_path, Broken(), "torchscript"), mean=(0, 0, 0)), None)
    with pytest.raises(Rejected) as error:
        found.draw(encoded(np.zeros((60, 90, 3), np.uint8)), sidecar())
    assert error.value.reason == "labels-not-finite"


MEMORY = """
import resource, sys
from pathlib import Path
import msgspec
from gencomp.data.dataset import SegmentationNetwork
from gencomp.data.manifest import RawSidecar
from gencomp.data.segmentation import segmenter
found = segmenter(msgspec.json.decode(sys.argv[1], type=SegmentationNetwork), None)
peaks = []
for path in sys.argv[2:]:
    height, width = map(int, Path(path).stem.split("x"))
    about = dict.fromkeys(("author", "license", "title")) | {"id": "a", "key": "a", "split": "train"}
    drawn = found.draw(Path(path).read_bytes(), RawSidecar(**about, width=width, height=height, orientation=1))
    assert drawn.labels.shape == (height, width)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * 1024)
"""


def test_memory_is_bounded_by_the_longest_side_however_large_the_photograph(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """24 million pixels are 72 MB in 8 bits and 288 MB in float32, and their logits as much again. The map itself is
    there two times, 24 MB each."""
    for height, width in ((40, 60), (4000, 6000)):
        (tmp_path / f"{height}x{width}.jpg").write_bytes(encoded(stripes(width, height), "JPEG"))
    config = msgspec.json.encode(named(files["onnx"], longest_side=512)).decode()
    command = [
        sys.executable,
        "-c",
        MEMORY,
        config,
        *(str(tmp_path / f"{size}.jpg") for size in ("40x60", "4000x6000")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80e6


@pytest.fixture(params=FORMATS)
def made(
    request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """The semantics and the shards of eight photographs, one with a map of its own and one with a broken one."""
    monkeypatch.setattr("gencomp.data.partitions.FEW", 0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(8):
        (photos / f"{index}.png").write_bytes(encoded(np.roll(stripes(), index * 10, 1)))
    Image.new("L", (90, 60), 1).save(photos / "0.labels.png")
    Image.new("L", (90, 60), 9).save(photos / "1.labels.png")
    source = FolderSource(root=str(photos), validation_share=0.0, classes=CLASSES)
    settings: Any = {"watch": "x", "subset": Subset(), "maximum_megabytes": 1, "maximum_megapixels": 1}
    selection = PlainSelection(minimum_side=1, tile=64)
    config = DatasetConfig(source=source, selection=selection, shard_samples=2, maximum_missing=0.0, **settings)
    raw = download("own", config, Folder(source, Fetcher()), tmp_path / "raw")

    def make(workers: int, form: str = request.param) -> tuple[Path, Path]:
        monkeypatch.setenv("GENCOMP_WORKERS", str(workers))
        annotations = FolderLabels(CLASSES, raw / "annotations")
        scratch = tmp_path / f"{form}-{workers}"
        network = segmenter(named(files[form]), annotations.table)
        semantics = write_semantics("own", raw, annotations, scratch / "semantics", network)
        return semantics, write_shards("own", raw, semantics, selection, 10**6, scratch / "shards")

    return make


def test_annotations_win_and_the_network_is_named_where_it_drew(made: Any, files: dict[str, Path]) -> None:
    semantics, shards = made(1)
    labels = manifest.read(semantics / "manifest.json", LabelManifest)
    assert labels.counts["pseudo-labelled"] == 6
    assert [item.reason or item.outcome for item in labels.items][:3] == ["labelled", "labels-value", "pseudo-labelled"]
    assert labels.network is not None and labels.network.name in {file.name for file in files.values()}
    by = {"name": labels.network.name, "sha256": labels.network.sha256}
    samples = {key: found for tar in sorted(shards.glob("*.tar")) for key, found in read_samples(tar)}
    about = {key: json.loads(found["json"]) for key, found in samples.items()}
    assert {key for key, found in about.items() if found.get("labels_by") == by} == {
        f"{index}-png-0-{column}" for index in range(2, 8) for column in range(2)
    }
    assert np.unique(np.asarray(Image.open(io.BytesIO(samples["0-png-0-0"]["labels.png"])))).tolist() == [1]
    assert "labels.png" not in samples["1-png-0-0"] and "labels_by" not in about["1-png-0-0"]


def test_two_workers_draw_the_bytes_of_one(made: Any) -> None:
    one, two = (
        {path.name: path.read_bytes() for folder in made(workers) for path in folder.iterdir()} for workers in (1, 2)
    )
    assert one == two and len(one) > 8


def test_both_formats_draw_the_same_maps(made: Any) -> None:
    onnx, torchscript = (
        [member for tar in sorted(made(1, form)[0].glob("*.tar")) for member in maps(tar)] for form in FORMATS
    )
    assert onnx == torchscript and len(onnx) == 14


def maps(tar: Path) -> list[tuple[str, bytes]]:
    return [
        (f"{key}.{name}", data) for key, found in read_samples(tar) for name, data in found.items() if name != "json"
    ]
