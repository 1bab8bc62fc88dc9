"""The pictures of an evaluation, from shards and from a folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.held_out import (
    EvaluationConfig,
    HeldOutError,
    HeldOutImage,
    evaluation_images,
    evaluation_samples,
    folder_images,
    held_out_images,
    held_out_samples,
    update_digest,
)

MakeShards = Callable[[Path, dict[str, NDArray[np.uint8]]], None]
RAMP = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def test_the_split_of_a_shard_folder_comes_picture_by_picture_without_its_label_maps(
    tmp_path: Path, make_shards: MakeShards
) -> None:
    make_shards(tmp_path / "shards", {"a": RAMP, "b": 255 - RAMP})
    first, second = held_out_images(tmp_path / "shards", "val")
    assert (first.key, second.key) == ("a", "b")
    assert (first.pixels == RAMP).all() and (second.pixels == 255 - RAMP).all()


def test_samples_are_the_same_pictures_with_their_label_maps_and_edges(photo_shards: Path) -> None:
    samples = list(held_out_samples(photo_shards, "train"))
    images = list(held_out_images(photo_shards, "train"))
    assert [sample.image.key for sample in samples] == [image.key for image in images]
    for (image, labels, edges), alone in zip(samples, images, strict=True):
        assert labels is not None and edges is not None
        assert np.array_equal(image.pixels, alone.pixels)
        assert np.array_equal(labels, alone.pixels.mean(-1) // 64)
        assert edges.dtype == np.bool_
        assert np.array_equal(edges[:, 1:], labels[:, 1:] != labels[:, :-1])


def test_samples_without_maps_have_none(tmp_path: Path, make_shards: MakeShards) -> None:
    make_shards(tmp_path / "shards", {"shard": RAMP})
    Image.fromarray(RAMP).save(tmp_path / "file.png")
    config = EvaluationConfig(split="val", images=None, entropy="raw")
    (sample,) = evaluation_samples(config, tmp_path / "shards")
    assert sample.image.key == "shard" and sample.edges is None
    assert np.array_equal(sample.labels, RAMP[..., 0])
    config = EvaluationConfig(split="val", images=str(tmp_path), entropy="raw")
    (sample,) = evaluation_samples(config, tmp_path / "shards")
    assert sample.image.key == "file" and sample.labels is None and sample.edges is None


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_or_unknown_split_is_named_with_those_that_there_are(
    tmp_path: Path, make_shards: MakeShards, split: str
) -> None:
    make_shards(tmp_path / "shards", {"a": RAMP})
    with pytest.raises(HeldOutError, match=f"split `{split}` holds no pictures; splits here: train, val"):
        list(held_out_images(tmp_path / "shards", split))


def test_absent_shards_say_which_stage_makes_them(tmp_path: Path) -> None:
    with pytest.raises(HeldOutError, match="run the shard stage first"):
        list(held_out_images(tmp_path, "val"))


def test_a_folder_of_any_pictures_is_read_in_canonical_form(tmp_path: Path) -> None:
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "my grey.2.png")
    Image.fromarray(RAMP).save(tmp_path / "colour.PNG")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._colour.png").write_text("what macOS leaves on other systems' disks")
    os.mkfifo(tmp_path / "pipe.png")
    colour, grey = folder_images(tmp_path)
    assert (colour.key, grey.key) == ("colour", "my-grey-2")
    assert (colour.pixels == RAMP).all()
    assert (grey.pixels == RAMP[..., :1]).all()


def test_a_folder_that_cannot_be_evaluated_on_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(HeldOutError, match="no such folder"):
        list(folder_images(tmp_path / "absent"))
    with pytest.raises(HeldOutError, match="no pictures"):
        list(folder_images(tmp_path))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    with pytest.raises(HeldOutError, match=r"a\.png: not a readable picture"):
        list(folder_images(tmp_path))
    for name in ("x 1.png", "x-1.png"):
        Image.fromarray(RAMP).save(tmp_path / name)
    (tmp_path / "a.png").unlink()
    with pytest.raises(HeldOutError, match="would share the key x-1"):
        list(folder_images(tmp_path))


def test_the_config_chooses_between_split_and_folder(tmp_path: Path, make_shards: MakeShards) -> None:
    make_shards(tmp_path / "shards", {"shard": RAMP})
    Image.fromarray(RAMP).save(tmp_path / "file.png")
    config = EvaluationConfig(split="val", images=None, entropy="raw")
    assert [image.key for image in evaluation_images(config, tmp_path / "shards")] == ["shard"]
    config = EvaluationConfig(split="val", images=str(tmp_path), entropy="raw")
    assert [image.key for image in evaluation_images(config, tmp_path / "shards")] == ["file"]


def test_the_digest_tells_pictures_apart_by_key_size_and_pixels() -> None:
    changed = RAMP.copy()
    changed[0, 0, 0] += 1
    pictures = [("a", RAMP), ("b", RAMP), ("a", changed), ("a", RAMP.reshape(7, 5, 3))]
    digests = set()
    for key, pixels in pictures:
        digest = hashlib.sha256()
        update_digest(digest, HeldOutImage(key, pixels))
        digests.add(digest.hexdigest())
    assert len(digests) == len(pictures)
