"""mIoU and pixel accuracy, and the networks that labels are drawn by."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

from gencomp.evaluation.segmentation import Confusion, SegmentationError, interval, load_network
from tests.evaluation.conftest import COLOURS

SHARED = Path(__file__).parents[3] / "shared"
ESPNET = SHARED / "weights" / "espnet_p_2_q_8_camvid.pth"
MAPS = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 3, 255]))


@given(st.lists(st.tuples(MAPS, MAPS), min_size=1, max_size=3))
def test_scores_are_those_of_scikit_learn_over_all_pictures(pairs: list[tuple[NDArray, NDArray]]) -> None:
    confusion = Confusion(3)
    for truth, drawn in pairs:
        confusion.add(truth, drawn)
    truths, drawn = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    labelled = truths < 3
    if not labelled.any():
        with pytest.raises(SegmentationError, match="no pixel"):
            confusion.scores()
        return
    scores, t, d = confusion.scores(), truths[labelled], drawn[labelled]
    expected = jaccard_score(t, d, labels=[0, 1, 2], average=None, zero_division=0)
    occurs = [bool(((t == id) | (d == id)).any()) for id in range(3)]
    assert [value is not None for value in scores.iou] == occurs
    assert [value or 0.0 for value in scores.iou] == pytest.approx(list(expected))
    assert scores.miou == pytest.approx(np.mean(expected[occurs]))
    assert scores.pixel_accuracy == pytest.approx(accuracy_score(t, d))


def test_a_bootstrap_holds_the_whole_and_pairs_the_draws_of_two_networks() -> None:
    rng = np.random.default_rng(0)
    one, other = Confusion(3), Confusion(3)
    for _ in range(20):
        truth = rng.integers(0, 3, (8, 8))
        drawn = np.where(rng.random((8, 8)) < 0.8, truth, rng.integers(0, 3, (8, 8)))
        one.add(truth, drawn)
        other.add(truth, np.where(rng.random((8, 8)) < 0.02, 2, drawn))
    low, high = interval(one.resampled_miou())
    assert low < one.scores().miou < high < low + 0.1
    apart = interval(one.resampled_miou() - other.resampled_miou())
    assert apart[1] - apart[0] < (high - low) / 2
    assert interval(one.resampled_miou() - one.resampled_miou()) == (0.0, 0.0)


def test_pixel_accuracy_is_resampled_by_the_draws_of_miou_and_pictures_without_labels_are_left_out() -> None:
    one, truth = Confusion(2), np.array([[0, 0, 1, 1]])
    for drawn in ([0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]):
        one.add(truth, np.array([drawn]))
    accuracy, miou = one.resampled_pixel_accuracy(), one.resampled_miou()
    assert {round(float(value), 6) for value in accuracy} == {round(sixth / 6, 6) for sixth in range(7)}
    # Draws of one picture alone: its own scores, by both.
    for right, iou in ((1.0, 1.0), (0.0, 0.0)):
        assert miou[accuracy == right] == pytest.approx(iou)
    assert interval(accuracy)[0] < one.scores().pixel_accuracy < interval(accuracy)[1]
    one.add(np.full((1, 4), 255), np.zeros((1, 4)))
    assert np.array_equal(one.resampled_pixel_accuracy(), accuracy) and np.array_equal(one.resampled_miou(), miou)
    bare = Confusion(2)
    bare.add(np.full((1, 4), 255), np.zeros((1, 4)))
    for resampled in (bare.resampled_miou, bare.resampled_pixel_accuracy, Confusion(2).resampled_miou):
        with pytest.raises(SegmentationError, match="no pixel"):
            resampled()


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(SegmentationError, match=r"^the true labels are of \(4, 5\), the drawn ones of \(5, 4\)"):
        Confusion(2).add(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8))


def colours(*ids: int) -> NDArray[np.uint8]:
    return np.repeat(np.eye(3, dtype=np.uint8)[list(ids)][None] * 200, 40, 0).repeat(10, 1)


def test_a_described_network_draws_the_ids_of_the_datasets_classes(described: Path) -> None:
    own = load_network(described)
    assert own.classes == COLOURS and own.name == "colour.pt"
    assert np.array_equal(own.draw(colours(0, 1, 2))[0, ::10], [0, 1, 2])
    some = load_network(described, ("blue", "red"))
    drawn = some.draw(colours(0, 1, 2))[0, ::10]
    assert (drawn[0], drawn[2]) == (1, 0) and drawn[1] >= len(some.classes)


def test_what_is_no_network_for_the_classes_is_refused_in_one_line(described: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("text")
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "other.json").write_text('{"file": "x"}')
    for file, classes, problem in (
        (tmp_path / "none.pth", (), r"none\.pth: No such file"),
        (tmp_path / "text.pth", (), r"text\.pth: not a torch file of tensors"),
        (tmp_path / "text.json", (), r"text\.json: "),
        (tmp_path / "other.json", (), r"other\.json: .*missing required field"),
        (described.with_name("colour.pt"), (), r"give ESPNet's weights \(\.pth\), or a \.json"),
        (described, ("red", "mauve"), r"knows no mauve; its classes: red, green, blue$"),
    ):
        with pytest.raises(SegmentationError, match=problem) as error:
            load_network(file, classes)
        assert "\n" not in str(error.value)


def test_espnet_sees_street_scenes_as_their_labels_say() -> None:
    """Every tenth picture of CamVid's val; all 101 give 0.700. The labels' order is that of the network's channels."""
    if not ESPNET.is_file() or not (SHARED / "camvid").is_dir():
        pytest.skip("needs CamVid and ESPNet's weights beside the project")
    network = load_network(ESPNET)
    confusion = Confusion(len(network.classes))
    for path in sorted((SHARED / "camvid" / "val").glob("*.jpg"))[::10]:
        truth = np.asarray(Image.open(SHARED / "camvid" / "val_labels" / f"{path.stem}.png"))
        drawn = network.draw(np.asarray(Image.open(path).convert("RGB")))
        assert drawn.shape == truth.shape
        confusion.add(truth, drawn)
    scores = confusion.scores()
    assert scores.miou > 0.65 and scores.pixel_accuracy > 0.9
    assert all(np.argmax(sum(confusion.pictures)[:, id]) == id for id in range(len(network.classes)))


def test_espnet_maps_are_as_large_as_pictures_of_any_size() -> None:
    if not ESPNET.is_file():
        pytest.skip("needs ESPNet's weights beside the project")
    network = load_network(ESPNET)
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 3), (33, 47, 3), (300, 701, 3)):
        assert network.draw(rng.integers(0, 256, shape, np.uint8)).shape == shape[:2]
