"""What a network still sees: each file drawn once, codecs at the bytes of each entry, and the command with it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gencomp.cli import main
from gencomp.evaluation.cache import ResultCache
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.recognised import recognise, recognised_table, true_labels
from gencomp.evaluation.segmentation import Network
from gencomp.models.espnet import ESPNet
from tests.evaluation.conftest import make_package, photograph
from tests.evaluation.test_segmentation import ESPNET

GREY = tuple(np.full((8, 10, 3), value, np.uint8) for value in (10, 100, 200))
"""Pictures in which the network below sees one class each."""


def network(seen: list[int]) -> Network:
    """Sees how bright a pixel is, in three steps; notes what it looked at."""

    def draw(pixels: NDArray[np.uint8]) -> NDArray[np.integer]:
        seen.append(int(pixels[0, 0, 0]))
        return np.asarray(pixels[..., 0] // 86)

    return Network("steps", hashlib.sha256(b"steps").hexdigest(), ("dark", "grey", "light"), draw)


def row(key: str, codec: str, setting: str, size: int) -> RateRow:
    return RateRow(key, codec, setting, 10, 8, size, None, None, 30.0, None)


def sample(key: str, step: int, label: int) -> HeldOutSample:
    return HeldOutSample(HeldOutImage(key, GREY[step]), np.full((8, 10), label, np.uint8))


def test_codecs_stand_at_the_bytes_of_each_entry_and_a_file_is_looked_at_once() -> None:
    keys = ("a", "b")
    samples = [sample("a", 0, 0), HeldOutSample(HeldOutImage("unlabelled", GREY[1])), sample("b", 2, 2)]
    entries = [
        Entry(name, "m", "model-0", name, {key: row(key, "m", name, size) for key in keys})
        for name, size in (("low", 10), ("high", 50))
    ]
    anchors = [row(key, "jpeg", str(size), size) for key in keys for size in (20, 40)]
    # The model keeps the first picture only, at both rates; JPEG both at 40 bytes and none at 20.
    pictures = {("m", "low"): (GREY[0], GREY[0]), ("m", "high"): (GREY[0], GREY[0])}
    pictures |= {("jpeg", "20"): (GREY[1], GREY[1]), ("jpeg", "40"): (GREY[0], GREY[2])}
    seen: list[int] = []
    found = recognise(
        network(seen),
        samples,
        entries,
        anchors,
        lambda one: pictures[one.codec, one.setting][keys.index(one.key)],
    )
    assert [(line.name, line.beside) for line in found] == [
        ("Originals", ""),
        *(("low", ""), ("JPEG", "low")),
        *(("high", ""), ("JPEG", "high")),
    ]
    assert [line.scores.pixel_accuracy for line in found] == [1.0, 0.5, 0.0, 0.5, 1.0]
    assert [line.too_large for line in found] == [0, 0, 2, 0, 0]
    assert found[0].bpp is None and found[4].bpp == pytest.approx(40 * 8 / 80)
    # An original, the model's file at either rate and JPEG's two; equal pixels are looked at each time without a cache.
    assert len(seen) == 2 * 5
    table = recognised_table(found, network([]))
    assert [cell.text for cell in table.rows[2]] == ["JPEG beside low", "2.0000", "0.000", "0.000", "2 of 2"]
    # Of two pictures, of which one is right: a draw can hold none of them or both.
    assert [cell.below for cell in table.rows[1][2:4]] == ["0.000 to 1.000", "0.000 to 1.000"]
    (alone,) = recognise(network([]), samples[:2], [], [], lambda one: GREY[0])
    assert [cell.below for cell in recognised_table([alone], network([])).rows[0]] == [""] * 5


def test_what_was_counted_is_kept_by_network_labels_and_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, seen = ResultCache(tmp_path / "kept"), list[int]()
    entry = Entry("m", "m", "model-0", "m", {"a": row("a", "m", "m", 10)})

    def run(one: Network, label: int) -> list[tuple[float, float]]:
        seen.clear()
        found = recognise(one, [sample("a", 0, label)], [entry], [], lambda _: GREY[1], cache)
        return [(line.scores.miou, line.scores.pixel_accuracy) for line in found]

    dark, grey = 0, 1
    first = run(network(seen), dark)
    assert first == [(1.0, 1.0), (0.0, 0.0)] and len(seen) == 2
    assert run(network(seen), dark) == first and seen == []
    assert run(network(seen), grey) == [(0.0, 0.0), (1.0, 1.0)] and len(seen) == 2
    assert run(network(seen)._replace(description="upside down"), dark) == first and len(seen) == 2
    assert run(network(seen)._replace(sha256="another"), dark) == first and len(seen) == 2
    for name, value in (("torch.__version__", "0.1"), ("gencomp.evaluation.segmentation.CODE", ("config.py",))):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            assert run(network(seen), dark) == first and len(seen) == 2
    for path in (tmp_path / "kept").glob("??/*"):
        path.write_bytes(b"damaged")
    assert run(network(seen), dark) == first and len(seen) == 2


def test_labels_that_are_missing_of_another_size_or_of_no_class_are_refused(tmp_path: Path) -> None:
    entry = Entry("m", "m", "model-0", "m", {"a": row("a", "m", "m", 10)})

    def run() -> None:
        found = HeldOutSample(HeldOutImage("a", GREY[0]), true_labels(tmp_path, "a"))
        recognise(network([]), [found], [entry], [], lambda one: GREY[0])

    with pytest.raises(HeldOutError, match=r"a.png: no readable label map"):
        run()
    for pixels, reason in (
        (np.zeros((8, 11), np.uint8), r"^a: the true labels are of \(8, 11\)"),
        (GREY[0], "one channel of class ids"),
        (np.full((8, 10), 255, np.uint8), "no pixel of these pictures is labelled"),
    ):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with pytest.raises(HeldOutError, match=reason):
            run()
    with pytest.raises(HeldOutError, match="no pixel of these pictures is labelled"):
        recognise(network([]), [HeldOutSample(HeldOutImage("a", GREY[0]))], [entry], [], lambda one: GREY[0])


def test_evaluate_with_a_network_has_its_table_and_refuses_half_of_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCOMP_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path / "no-weights"))
    pictures, labels = tmp_path / "pictures", tmp_path / "labels"
    pictures.mkdir()
    labels.mkdir()
    make_package(tmp_path / "small", seed=5)
    Image.fromarray(photograph("chelsea", 96, 64)).save(pictures / "chelsea.png")

    def evaluate(*arguments: str | Path) -> str:
        command = "evaluate", pictures, "--model", tmp_path / "small", "--output", tmp_path / "out", *arguments
        return CliRunner().invoke(main, [str(argument) for argument in command]).output

    assert "--segmentation and --labels go together" in evaluate("--labels", labels)
    if not ESPNET.is_file():
        pytest.skip("ESPNet's weights are not here")
    assert "chelsea.png: no readable label map" in evaluate("--segmentation", ESPNET, "--labels", labels)
    Image.fromarray(np.full((64, 96), 1, np.uint8)).save(labels / "chelsea.png")
    looked = list[int]()
    forward = ESPNet.forward

    def counted(self: ESPNet, x: Tensor) -> Tensor:
        looked.append(1)
        return forward(self, x)

    monkeypatch.setattr(ESPNet, "forward", counted)
    for first in (True, False):
        looked.clear()
        assert "1 picture" in evaluate("--segmentation", ESPNET, "--labels", labels)
        assert bool(looked) == first
    page = (tmp_path / "out/index.html").read_text()
    assert "What a segmentation network still sees" in page and "JPEG beside small" in page
    digest = hashlib.sha256(ESPNET.read_bytes()).hexdigest()
    assert digest in page and "<dt>mIoU and Pixel accuracy</dt>" in page
    known = json.loads((tmp_path / "out/protocols.json").read_text())["metrics"]
    assert known["miou"]["weights"] == known["pixel_accuracy"]["weights"] == {ESPNET.name: digest}
