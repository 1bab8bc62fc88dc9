"""Training masks preserve a quarter of the instances or a uniform box, and the distortion sees what they preserve."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import mse_loss

from gencomp.data.loader import UNLABELLED, Batch
from gencomp.data.semantics import instance_edges
from gencomp.training.losses import masked_mse
from gencomp.training.masks import SHARE, draw_masks, instances, random_box, random_instance

sides = st.integers(1, 24)
seeds = st.integers(0, 2**32 - 1)


def draws(count: int, seed: int = 0) -> list[np.random.Generator]:
    return np.random.default_rng(seed).spawn(count)


def blocks(rows: int, columns: int, side: int) -> NDArray[np.int64]:
    """A grid of squares, each with a number of its own."""
    return np.kron(np.arange(rows * columns).reshape(rows, columns), np.ones((side, side), np.int64))


def batch(labels: NDArray[np.int64] | None, edges: NDArray[np.bool_] | None, count: int, side: int = 32) -> Batch:
    return Batch(
        [str(i) for i in range(count)],
        torch.zeros(count, 3, side, side, dtype=torch.uint8),
        None if labels is None else torch.from_numpy(labels).expand(count, -1, -1),
        None if edges is None else torch.from_numpy(edges).float().expand(count, 1, -1, -1),
    )


def test_touching_objects_of_one_class_are_parted_by_their_edges_and_each_keeps_its_border() -> None:
    squares = blocks(2, 3, 8)
    numbers = instances(np.zeros_like(squares), instance_edges(squares) > 0)
    assert numbers.max() + 1 == 6
    pairs = set(zip(numbers.flat, squares.flat, strict=True))
    assert len(pairs) == 6


def test_without_edges_instances_are_the_connected_regions_of_a_class() -> None:
    labels = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 0]])
    numbers = instances(labels, None)
    assert numbers.max() + 1 == 5
    assert numbers[0, 0] == numbers[1, 1] != numbers[0, 3] == numbers[1, 3] != numbers[2, 0]


def test_a_pole_that_is_all_edge_is_one_instance_and_so_is_its_surrounding_on_either_side() -> None:
    labels = np.zeros((20, 21), np.int64)
    labels[:, 10] = 5
    numbers = instances(labels, instance_edges(labels) > 0)
    assert [len(np.unique(numbers[:, columns])) for columns in (slice(10), slice(10, 11), slice(11, 21))] == [1, 1, 1]
    assert numbers.max() + 1 == 3


@settings(deadline=None)
@given(seeds, sides, sides, st.integers(1, 4), st.sampled_from(["none", "borders", "any", "all"]))
def test_every_pixel_is_in_one_instance_of_its_own_class_and_numbers_have_no_gaps(
    seed: int, height: int, width: int, classes: int, kind: str
) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, (height, width))
    edges = {
        "none": None,
        "borders": instance_edges(labels) > 0,
        "any": draw.random((height, width)) < 0.3,
        "all": np.ones((height, width), np.bool_),
    }[kind]
    numbers = instances(labels, edges)
    assert numbers.shape == labels.shape
    assert np.unique(numbers).tolist() == list(range(int(numbers.max()) + 1))
    assert all(len(np.unique(labels[numbers == number])) == 1 for number in np.unique(numbers))
    mask = random_instance(labels, edges, draw)
    assert all(len(np.unique(mask[numbers == number])) == 1 for number in np.unique(numbers))


@pytest.mark.parametrize("count", [1, 3, 16])
def test_a_quarter_of_the_instances_is_preserved_on_average_whatever_their_number(count: int) -> None:
    labels = blocks(1, count, 4)
    shares = np.array([random_instance(labels, None, draw).mean() for draw in draws(4000)])
    assert shares.mean() == pytest.approx(SHARE, abs=0.025)
    assert set(np.round(shares * count).astype(int)) == ({4} if count == 16 else {0, 1})


def test_each_instance_has_the_same_chance_whatever_its_area() -> None:
    labels = np.zeros((16, 16), np.int64)
    labels[0, 0], labels[8, 8], labels[4, 12] = 1, 2, 3
    chances = np.mean([random_instance(labels, None, draw)[[0, 1, 8, 4], [0, 1, 8, 12]] for draw in draws(4000)], 0)
    assert chances == pytest.approx(np.full(4, SHARE), abs=0.03)


def test_the_corners_of_a_box_are_uniform() -> None:
    """A pixel at row i is left out when both rows lie on one side of it, and rows do not depend on columns."""
    height, width, count = 12, 7, 20_000
    draw = np.random.default_rng(1)
    covered = np.mean([random_box(height, width, draw) for _ in range(count)], 0)

    def chance(side: int) -> NDArray[np.float64]:
        i = np.arange(side)
        return 1 - (i / side) ** 2 - ((side - 1 - i) / side) ** 2

    expected = np.outer(chance(height), chance(width))
    assert np.abs(covered - expected).max() < 4 * 0.5 / count**0.5


@given(seeds, sides, sides)
def test_a_box_is_one_filled_rectangle(seed: int, height: int, width: int) -> None:
    mask = random_box(height, width, np.random.default_rng(seed))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask.shape == (height, width)
    assert mask.sum() == len(rows) * len(columns) > 0
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_half_of_the_masks_are_instances_and_half_are_boxes() -> None:
    checkers = np.indices((32, 32)).sum(0) % 2 * np.arange(1024).reshape(32, 32)
    masks = draw_masks(batch(checkers, None, 400), draws(400))[:, 0].bool()
    boxes = [bool(m.sum() == m.any(0).sum() * m.any(1).sum()) for m in masks]
    assert np.mean(boxes) == pytest.approx(0.5, abs=0.08)


def test_masks_are_zeros_and_ones_of_the_batchs_size_and_boxes_without_a_label_map() -> None:
    masks = draw_masks(batch(None, None, 60), draws(60))
    assert masks.shape == (60, 1, 32, 32) and masks.dtype == torch.float32
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert all(m.sum() == m.any(0).sum() * m.any(1).sum() for m in masks[:, 0].bool())


def test_an_image_without_labels_among_others_gets_a_box_and_changes_no_other_draw() -> None:
    squares = blocks(4, 4, 8)
    whole = batch(squares % 3, instance_edges(squares) > 0, 40)
    assert whole.labels is not None
    labels = whole.labels.clone()
    labels[::2] = UNLABELLED
    masks, alone = draw_masks(whole._replace(labels=labels), draws(40)), draw_masks(whole, draws(40))
    assert torch.equal(masks[1::2], alone[1::2]) and not torch.equal(masks, alone)
    assert all(m.sum() == m.any(0).sum() * m.any(1).sum() for m in masks[::2, 0].bool())
    without = draw_masks(whole._replace(labels=None), draws(40))
    assert torch.equal(masks[::2], without[::2])


def test_a_slice_of_the_batch_draws_what_the_whole_batch_does() -> None:
    squares = blocks(4, 4, 8)
    labels, edges = squares % 3, instance_edges(squares) > 0
    whole = draw_masks(batch(labels, edges, 6), draws(6))
    assert torch.equal(whole, draw_masks(batch(labels, edges, 6), draws(6)))
    assert torch.equal(whole[2:4], draw_masks(batch(labels, edges, 2), draws(6)[2:4]))
    with pytest.raises(ValueError):
        draw_masks(batch(labels, edges, 2), draws(3))


def test_the_masked_distortion_is_the_mean_over_preserved_pixels() -> None:
    x, x_hat = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    x_hat[:, :, 2:] = 3
    m = torch.zeros(2, 1, 4, 4)
    m[0, :, 1:3] = 1  # a row of errors 1 and one of 3
    assert masked_mse(x, x_hat, m).item() == pytest.approx((1 + 9) / 2)
    assert masked_mse(x, x_hat, torch.ones_like(m)).item() == pytest.approx(mse_loss(x_hat, x).item())


def test_the_masked_distortion_is_zero_when_nothing_is_preserved_and_moves_no_masked_pixel() -> None:
    x, x_hat = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4, requires_grad=True)
    m = torch.zeros(1, 1, 4, 4)
    nothing = masked_mse(x, x_hat, m)
    nothing.backward()
    assert nothing.item() == 0
    assert x_hat.grad is not None and x_hat.grad.eq(0).all()
    m[..., 0, 0] = 1
    masked_mse(x, x_hat, m).backward()
    assert x_hat.grad[..., 0, 0].ne(0).all()
    assert x_hat.grad[..., 1:, :].eq(0).all()
