"""What `gencomp data inspect` says of shards."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gencomp.cli import main
from gencomp.data import manifest
from gencomp.data.failure import DataError
from gencomp.data.manifest import (
    ClassTable,
    LabelClass,
)
from gencomp.data.overview import GAP, THUMBNAIL, overview


def test_everything_is_counted(shards: Path) -> None:
    found = overview(shards, 9)
    assert found.formats == {"png": 2, "jpg": 1}
    assert found.licenses == {"CC0": 2, "not stated": 1}
    assert (found.widths, found.heights) == ((96, 96, 200), (64, 64, 400))
    assert [tuple(share) for share in found.classes] == [
        ("class 1", 96 * 64, 1),
        ("class 0", 48 * 64, 1),
        ("unlabelled", 48 * 64, 1),
    ]


def test_the_sheet_shows_pictures_and_below_them_the_colours_of_their_classes(shards: Path) -> None:
    table = [LabelClass(id=0, name="sky", color=(0, 0, 250)), LabelClass(id=1, name="road", color=(250, 0, 0))]
    semantics = shards.parents[1] / "semantics" / "streets"
    semantics.mkdir(parents=True)
    manifest.write(semantics / "classes.json", ClassTable(classes=table))
    found = overview(shards, 9)
    assert {share.name for share in found.classes} == {"sky", "road", "unlabelled"}
    sheet = np.asarray(found.sheet).astype(int)
    assert np.abs(sheet[GAP + 10, GAP + 10] - 100).max() <= 2
    red, green, blue = sheet[GAP + 64 + 10, GAP + 10]
    assert blue > 150 > 60 > green == red
    assert sheet[GAP + 64 + 50, GAP + 10].max() < 60
    assert max(found.sheet.size) <= 3 * (THUMBNAIL + GAP) + GAP
    assert np.asarray(overview(shards, 1).sheet).shape < sheet.shape


def test_the_command_prints_and_writes(shards: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(main, ["data", "inspect", str(shards), "--sheet", str(sheet)])
    assert done.exit_code == 0, done.output
    for words in ("3 of 5 images asked for", "3 samples, shards: 1", "2 too-small", "50.00% class 1, label maps: 1"):
        assert words in done.stdout, done.stdout
    assert Image.open(sheet).size == overview(shards, 24).sheet.size
    refused = CliRunner().invoke(main, ["data", "inspect", str(shards), "--sheet", str(sheet)])
    assert refused.exit_code == 2 and "add --force" in refused.stderr
    nowhere = CliRunner().invoke(main, ["data", "inspect", str(tmp_path)])
    assert nowhere.exit_code == 2 and "no manifest.json" in nowhere.stderr and nowhere.stderr.count("\n") == 1
    with pytest.raises(DataError):
        overview(tmp_path, 3)
