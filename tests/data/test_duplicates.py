"""Pictures that are the same to the eye are found, others are not."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image, ImageEnhance

from gencomp.cli import main
from gencomp.data.duplicates import NEAR, Hashes, hashes, near_duplicates, perceptual_hash
from gencomp.data.failure import DataError
from tests.data.conftest import stage_shards

NAMES = ("astronaut", "coffee", "chelsea", "rocket", "camera", "moon", "page", "coins")


@pytest.fixture(scope="module")
def photographs() -> dict[str, Image.Image]:
    return {name: Image.fromarray(getattr(skimage.data, name)()) for name in NAMES}


def changed(image: Image.Image) -> dict[str, Image.Image]:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=20)
    return {
        "smaller": image.resize((image.width // 3, image.height // 3), Image.Resampling.BICUBIC),
        "jpeg": Image.open(file),
        "brighter": ImageEnhance.Brightness(image).enhance(1.2),
        "grey": image.convert("L"),
    }


def apart(a: Image.Image, b: Image.Image) -> int:
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count()


def test_a_changed_picture_is_near_its_original_and_others_are_not(photographs: dict[str, Image.Image]) -> None:
    for name, image in photographs.items():
        for how, other in changed(image).items():
            assert apart(image, other) <= NEAR, (name, how)
        assert min(apart(image, other) for key, other in photographs.items() if key != name) > 2 * NEAR


def test_it_is_the_hash_that_others_compute() -> None:
    """Frozen from ImageHash 4.3.2: `imagehash.phash` of this picture."""
    ramp = np.add.outer(np.arange(64) ** 2 / 16, np.arange(64) * 2.0)
    pixels = np.clip(ramp + 40 * np.sin(np.arange(64) / 5)[None], 0, 255).astype(np.uint8)
    assert f"{perceptual_hash(Image.fromarray(pixels)):016x}" == "b81ae51acfb04f31"


def test_pairs_are_found_among_thousands() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**64, 3000, np.uint64)
    first = Hashes([str(index) for index in range(3000)], bits)
    second = Hashes(["same", "near", "far"], bits[[5, 2500, 7]] ^ np.array([0, 0b10110, 2**64 - 1], np.uint64))
    assert list(near_duplicates(first, second, 3)) == [("5", "same", 0), ("2500", "near", 3)]


def test_the_command_lists_pairs_and_fails_where_there_are_any(
    photographs: dict[str, Image.Image], tmp_path: Path
) -> None:
    for folder in ("a/deep", "b"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("coffee", "rocket"):
        photographs[name].save(tmp_path / "a" / "deep" / f"{name}.png")
    photographs["chelsea"].save(tmp_path / "b" / "cat.png")
    command = ["data", "duplicates", str(tmp_path / "a"), str(tmp_path / "b")]
    clean = CliRunner().invoke(main, command)
    assert (clean.exit_code, clean.stdout) == (0, "")
    photographs["coffee"].resize((200, 133)).save(tmp_path / "b" / "cup.jpg")
    found = CliRunner().invoke(main, command)
    assert found.exit_code == 1
    assert found.stdout.split()[:2] == ["deep/coffee.png", "cup.jpg"]
    assert "2 pictures against 2, near-duplicates: 1" in found.stderr
    (tmp_path / "b" / "broken.png").write_bytes(b"no picture")
    broken = CliRunner().invoke(main, command)
    assert broken.exit_code == 2 and "broken.png" in broken.stderr


def test_two_splits_of_one_dataset_are_compared(tmp_path: Path) -> None:
    """The last photograph of train and the first of val are one."""
    folder = stage_shards(tmp_path / "shards", [1, 4, 2])
    known = json.loads((folder / "manifest.json").read_text())
    shards = known["splits"]["train"]["shards"]
    known["splits"] = {
        "train": {"samples": 4, "shards": shards[:2]},
        "val": {"samples": 2, "shards": shards[2:]},
        "test": {"samples": 0, "shards": []},
    }
    (folder / "manifest.json").write_text(json.dumps(known))
    assert hashes(folder, "val").names == ["val/p2-0", "val/p2-1"] and hashes(folder, "test").names == []
    command = ["data", "duplicates", str(folder), str(folder), "--distance", "0"]
    found = CliRunner().invoke(main, [*command, "--training-split", "train", "--evaluation-split", "val"])
    assert (found.exit_code, found.stdout) == (1, "train/p1-1  val/p2-0  0\n")
    assert "4 pictures against 2, near-duplicates: 1" in found.stderr
    none = CliRunner().invoke(main, [*command, "--training-split", "train", "--evaluation-split", "test"])
    assert (none.exit_code, none.stdout) == (0, "")
    wrong = CliRunner().invoke(main, [*command, "--evaluation-split", "holiday"])
    assert wrong.exit_code == 2 and "no split holiday; there are " in wrong.stderr
    (tmp_path / "loose").mkdir()
    with pytest.raises(DataError, match="loose: a folder of pictures has no splits"):
        hashes(tmp_path / "loose", "val")


def test_shards_are_compared_too(shards: Path) -> None:
    found = hashes(shards)
    assert found.names == ["train/a", "train/b", "train/c"]
    assert [pair[:2] for pair in near_duplicates(found, found, 0)][:2] == [
        ("train/a", "train/a"),
        ("train/a", "train/b"),
    ]
