"""The order of batches is exact, whoever reads them."""

import hashlib
import io
import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from gencomp.data.archive import write_tar
from gencomp.data.loader import (
    Batch,
    Loader,
    Sample,
    Window,
    _cut,
    _transform,
    _window,
    decode,
    encoded_samples,
    scaled,
    split_size,
    stored_samples,
)
from gencomp.data.publish import publish
from tests.data.conftest import stage_shards


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


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_at_a_url_give_the_batches_of_local_ones(tmp_path: Path, s3: str, workers: int) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2, 3])
    publish(folder, s3)
    local, far = (
        list(itertools.islice(Loader(place, "train", 2, 32, 5).batches(1, workers=count), 7))
        for place, count in ((folder, 0), (s3, workers))
    )
    for a, b in zip(local, far, strict=True):
        assert a.keys == b.keys and a.metadata == b.metadata
        assert torch.equal(a.images, b.images)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(photo_shards: Path, workers: int) -> None:
    for a, b in zip(take(photo_shards, 5, start=2), take(photo_shards, 5, start=2, workers=workers), strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.images, b.images)


READER = """
import hashlib, itertools, sys, time
from pathlib import Path
from gencomp.data.loader import Loader
if __name__ == "__main__":
    shards, start, count, pause = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    for batch in itertools.islice(Loader(shards, "train", 2, 32, 5).batches(start, workers=2), count):
        pixels = hashlib.sha256(batch.images.contiguous().numpy().tobytes()).hexdigest()
        print(*batch.keys, pixels, flush=True)
        time.sleep(pause)
"""


def test_a_reader_killed_in_mid_epoch_leaves_the_samples_that_a_resumed_one_gets(tmp_path: Path) -> None:
    """Six batches an epoch, read by two workers; the kill comes after the fourth."""
    folder = stage_shards(tmp_path / "shards", [1, 2, 3, 4, 5, 6])
    (tmp_path / "reader.py").write_text(READER)

    def reader(start: int, count: int, pause: float) -> "subprocess.Popen[str]":
        command = [sys.executable, str(tmp_path / "reader.py"), str(folder), *map(str, (start, count, pause))]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    with reader(0, 100, 0.3) as killed:
        assert killed.stdout is not None
        seen = [killed.stdout.readline().split() for _ in range(4)]
        workers = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert len(workers) >= 2 and not alive
    with reader(4, 5, 0.0) as resumed:
        assert resumed.stdout is not None
        rest = [line.split() for line in resumed.stdout]
    whole = [
        [*batch.keys, hashlib.sha256(batch.images.contiguous().numpy().tobytes()).hexdigest()]
        for batch in itertools.islice(Loader(folder, "train", 2, 32, 5).batches(0), 9)
    ]
    assert seen + rest == whole
    keys = [key for *keys, _ in seen + rest for key in keys]
    assert len(set(keys[:12])) == 12 and set(keys[8:12]) == set(keys[:12]) - set(keys[:8])


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


@given(st.integers(0, 2**32 - 1), st.integers(24, 90), st.integers(24, 90), st.booleans())
def test_what_is_only_cut_and_flipped_is_what_albumentations_makes(
    seed: int, height: int, width: int, mapped: bool
) -> None:
    pixels = np.random.default_rng(seed)
    image = pixels.integers(0, 256, (height, width, 3), np.uint8)
    labels, edges = pixels.integers(0, 40_000, (height, width)), pixels.integers(0, 2, (height, width), np.uint8)
    found = _cut(Sample("k", image, *((labels, edges) if mapped else (None, None)), {}), 24, random.Random(seed))
    transform = _transform(24, 24, 0.0, small=False)
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    expected = transform(image=image, masks=[labels.astype(np.int32), edges.astype(np.int32)])
    assert np.array_equal(found.image, expected["image"]) and found.image.dtype == np.uint8
    if not mapped:
        assert found.labels is None and found.edges is None
        return
    assert found.labels is not None and found.edges is not None
    assert np.array_equal(found.labels, expected["masks"][0]) and found.labels.dtype == np.int64
    assert np.array_equal(found.edges, expected["masks"][1]) and found.edges.dtype == np.uint8


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


def write_split(folder: Path, samples: dict[str, dict[str, bytes]]) -> Path:
    """Shards of one training tar."""
    members = [(f"{key}.{name}", data) for key, files in samples.items() for name, data in files.items()]
    write_tar(folder / "train-000000.tar", members)
    split = {"samples": len(samples), "shards": [{"name": "train-000000.tar", "samples": len(samples)}]}
    (folder / "manifest.json").write_text(json.dumps({"classes": 4, "splits": {"train": split}}))
    return folder


def file(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, quality=95)
    return buffer.getvalue()


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Four samples of noise, larger and smaller than a crop, with maps."""
    draw = np.random.default_rng(7)
    samples = {}
    for number, size in enumerate(((80, 96), (64, 64), (30, 70), (200, 50))):
        image = draw.integers(0, 256, (*size, 3), np.uint8)
        labels = draw.integers(0, 4, size, np.uint8)
        edges = (labels == 0).astype(np.uint8) * 255
        samples[str(number)] = {"png": file(image), "labels.png": file(labels), "edges.png": file(edges)}
    return write_split(tmp_path, samples)


@pytest.mark.parametrize("cache", [0, 1])
def test_batches_without_reduction_are_pinned_to_their_bytes(noise: Path, cache: int) -> None:
    """Whoever resumes a training gets the crops that it began with."""
    found = hashlib.sha256()
    how = Loader(noise, "train", 3, 48, 1, cache_megabytes=cache)
    for batch in itertools.islice(how.batches(0), 6):
        assert batch.labels is not None and batch.edges is not None
        found.update(repr((batch.keys, batch.images.shape)).encode())
        for tensor in (batch.images, batch.labels, batch.edges):
            found.update(tensor.contiguous().numpy().tobytes())
    assert found.hexdigest() == "2eed7dea73db37a3437a4df49e7397a8d0b77cd59ced2744345cbe0635712ee6"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_carries_what_the_json_of_its_samples_says(tmp_path: Path, workers: int) -> None:
    image = file(np.zeros((60, 60, 3), np.uint8))
    about = {"author": "Åsa", "labels_by": {"name": "net.onnx", "sha256": "ab"}}
    shards = write_split(tmp_path, {"a": {"png": image, "json": json.dumps(about).encode()}, "b": {"png": image}})
    batch = next(Loader(shards, "train", 2, 48, 1).batches(0, workers=workers))
    assert dict(zip(batch.keys, batch.metadata, strict=True)) == {"a": about, "b": {}}
    assert isinstance(batch.metadata, tuple)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Three JPEGs and a PNG of 301 x 203 pixels, the left half dark and labelled 0, the right half bright and labelled
    1, with their border as an edge; every fourth pixel is brighter, which only an average tells."""
    across = np.arange(301)
    image = np.full((203, 301, 3), 60, np.uint8)
    image[:, across >= 150] = 190
    image[::2, ::2] += 20
    labels = np.broadcast_to((across >= 150).astype(np.uint8), (203, 301)).copy()
    edges = np.broadcast_to((across == 150).astype(np.uint8) * 255, (203, 301)).copy()
    maps = {"labels.png": file(labels), "edges.png": file(edges)}
    jpegs = {key: {"jpg": file(image, "JPEG")} | maps for key in "abc"}
    return write_split(tmp_path, jpegs | {"d": {"png": file(image)} | maps})


def reducing(shards: Path, **how: int) -> Loader:
    return Loader(shards, "train", 4, 24, 1, largest_reduction=8.4)._replace(**how)


def test_a_jpeg_is_decoded_at_the_scale_that_its_window_leaves(large: Path) -> None:
    black = np.zeros((203, 301, 3), np.uint8)
    jpg, png = {"jpg": file(black, "JPEG")}, {"png": file(black)}
    seen = Counter[int]()
    for epoch in range(200):
        window = _window(reducing(large), epoch, ("a", jpg))
        assert 24 <= window.side < 48 and window.side * window.reduction <= 202
        seen[window.reduction] += 1
        plain = _window(reducing(large), epoch, ("a", png))
        assert plain.reduction == 1 and plain.side // window.reduction == window.side
    assert set(seen) == {1, 2, 4, 8} and seen[4] > seen[2] > seen[1]


def test_a_small_image_is_not_reduced_below_the_crop(large: Path) -> None:
    small = ("s", {"jpg": file(np.zeros((47, 300, 3), np.uint8), "JPEG")})
    tiny = ("t", {"jpg": file(np.zeros((9, 9, 3), np.uint8), "JPEG")})
    for epoch in range(50):
        window = _window(reducing(large), epoch, small)
        assert window.reduction == 1 and 24 <= window.side <= 47
        assert _window(reducing(large), epoch, tiny) == Window(24, 1)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_maps_follow_an_image_that_its_decoder_reduces(large: Path, reduction: int) -> None:
    raw = next(raw for raw in encoded_samples(reducing(large), 0) if "jpg" in raw[1])
    sample = decode(raw, reduction)
    size = -(-203 // reduction), -(-301 // reduction)
    assert sample.labels is not None and sample.edges is not None
    assert sample.image.shape == (*size, 3) and sample.labels.shape == sample.edges.shape == size
    bright = sample.image.mean((0, 2)) > 125
    assert np.abs(bright.astype(int) - sample.labels[0]).sum() <= 1
    assert np.flatnonzero(sample.edges[0]).tolist() == [150 // reduction] and (sample.edges == sample.edges[0]).all()


def test_reduced_crops_are_averages_whatever_reduced_them(large: Path) -> None:
    batches = list(itertools.islice(reducing(large).batches(0), 12))
    seen = 0
    for batch in batches:
        assert batch.labels is not None and batch.images.shape == (4, 3, 24, 24)
        for image, labels in zip(batch.images, batch.labels, strict=True):
            for id, value in ((0, 65), (1, 195)):
                inside = image.float().mean(0)[labels == id]
                if len(inside) > 100:
                    assert abs(inside.median() - value) < 12
                    seen += 1
    assert seen > 40


@pytest.mark.parametrize("how", [{"workers": 2}, {"workers": 0, "cache_megabytes": 1}, {"workers": 0, "start": 5}])
def test_reduced_batches_are_the_same_for_whoever_reads_them(large: Path, how: dict[str, int]) -> None:
    """Also when what is cached came at another scale first, and in a run that begins later."""
    start, workers = how.pop("start", 0), how.pop("workers")
    whole = list(itertools.islice(reducing(large).batches(0), 12))
    other = itertools.islice(reducing(large, **how).batches(start, workers=workers), 12 - start)
    for a, b in zip(whole[start:], other, strict=True):
        assert a.keys == b.keys and torch.equal(a.images, b.images)
        assert a.labels is not None and b.labels is not None and torch.equal(a.labels, b.labels)
