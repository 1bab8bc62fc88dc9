"""The order of batches is exact, whoever reads them."""

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch

from gencomp.data.loader import Batch, Loader, scaled, split_size, stored_samples


def loader(shards: Path, batch: int = 3, seed: int = 1) -> Loader:
    return Loader(shards, "train", batch, 48, seed)


def take(shards: Path, count: int, start: int = 0, **how: int) -> list[Batch]:
    return list(itertools.islice(loader(shards).batches(start, **how), count))


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_every_epoch_holds_every_sample_once_and_epochs_differ_in_order(photo_shards: Path) -> None:
    order = keys(take(photo_shards, 16))
    epochs = [tuple(order[i : i + 4]) for i in range(0, 48, 4)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert len(set(epochs)) > 4


def test_samples_of_different_tars_are_mixed(photo_shards: Path) -> None:
    first_two = Counter(frozenset(keys(take(photo_shards, 16))[i : i + 2]) for i in range(0, 48, 4))
    assert len(first_two) > 2


def test_batches_are_equal_to_the_bit_in_two_runs_and_differ_by_seed(photo_shards: Path) -> None:
    for a, b in zip(take(photo_shards, 5), take(photo_shards, 5), strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.images, b.images)
    other = next(loader(photo_shards, seed=2).batches(0))
    assert not torch.equal(other.images, take(photo_shards, 1)[0].images)


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_resumed_run_gets_the_batches_that_were_left(photo_shards: Path, start: int) -> None:
    whole, rest = take(photo_shards, 9), take(photo_shards, 9 - start, start=start)
    for a, b in zip(whole[start:], rest, strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.images, b.images)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(photo_shards: Path, workers: int) -> None:
    for a, b in zip(take(photo_shards, 5, start=2), take(photo_shards, 5, start=2, workers=workers), strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.images, b.images)


def test_ranks_slice_the_same_batches(photo_shards: Path) -> None:
    whole = take(photo_shards, 4)
    parts = [take(photo_shards, 4, rank=rank, ranks=3) for rank in range(3)]
    for batch, *slices in zip(whole, *parts, strict=True):
        assert batch.keys == [key for part in slices for key in part.keys]
        assert torch.equal(batch.images, torch.cat([part.images for part in slices]))


def test_a_sample_is_cropped_elsewhere_in_the_next_epoch(photo_shards: Path) -> None:
    seen: dict[str, list[torch.Tensor]] = {}
    for batch in take(photo_shards, 8):
        for key, image in zip(batch.keys, batch.images, strict=True):
            seen.setdefault(key, []).append(image)
    assert all(not torch.equal(images[0], images[1]) for images in seen.values())


def test_image_label_map_and_edges_are_cropped_and_flipped_together(photo_shards: Path) -> None:
    """The fixture's label map says how bright a pixel is, so it can be made again from the crop."""
    for batch in take(photo_shards, 6):
        assert batch.labels is not None and batch.edges is not None
        brightness = batch.images.float().mean(1)
        assert torch.equal(batch.labels, (brightness // 64).long())
        assert batch.edges.shape == (3, 1, 48, 48)
        assert 0 < batch.edges.mean() < 1


def test_images_are_in_range_and_smaller_ones_are_reflected_up_to_the_crop(photo_shards: Path) -> None:
    batch = next(Loader(photo_shards, "train", 2, 112, 1).batches(0))
    assert batch.images.shape == (2, 3, 112, 112)
    images = scaled(batch.images)
    assert images.dtype == torch.float32 and torch.equal(((images + 1) * 127.5).round().byte(), batch.images)
    assert images.min() >= -1 and images.max() <= 1 and images.is_contiguous()
    assert scaled(batch.images, torch.channels_last).is_contiguous(memory_format=torch.channels_last)


def test_a_batch_that_does_not_divide_and_an_empty_split_are_refused(photo_shards: Path) -> None:
    with pytest.raises(ValueError, match="does not divide"):
        loader(photo_shards).batches(0, ranks=2)
    with pytest.raises(ValueError, match="no samples in split test"):
        next(Loader(photo_shards, "test", 1, 48, 1).batches(0))


def test_whole_samples_are_read_in_the_order_of_the_tars(photo_shards: Path) -> None:
    samples = list(stored_samples(photo_shards, "train"))
    assert [sample.key for sample in samples] == ["astronaut", "chelsea", "coffee", "rocket"]
    assert samples[0].image.shape == (80, 96, 3)
    assert split_size(photo_shards, "train") == 4
    assert split_size(photo_shards, "test") == 0


def test_colour_jitter_changes_the_colours_of_the_image_and_nothing_else(photo_shards: Path) -> None:
    plain = next(loader(photo_shards).batches(0))
    jittered = next(loader(photo_shards)._replace(colour_jitter=0.5).batches(0))
    assert plain.keys == jittered.keys
    assert plain.labels is not None and jittered.labels is not None
    assert torch.equal(plain.labels, jittered.labels)
    assert not torch.equal(plain.images, jittered.images)
