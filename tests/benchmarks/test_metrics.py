"""The benchmark of the metrics, by the one that needs no weights."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import metrics


def test_the_quick_one_measures_a_metric_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["metrics", "--quick", "--metric", "psnr", "--json", str(tmp_path / "rows.json")]
    monkeypatch.setattr("sys.argv", arguments)
    assert metrics.main() == 0
    found = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert list(found) == ["psnr: speed", "psnr: processor time", "psnr: memory with 2 pictures"]
    assert [row["unit"] for row in found.values()] == ["pictures/s", "s a picture", "MB"]
    assert all(row["value"] > 0 for row in found.values())
    said = capsys.readouterr()
    assert "psnr: speed" in said.out and "2 pairs of 768 x 512" in said.err


def test_a_metric_that_cannot_be_measured_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path))
    (row,) = metrics.rows("lpips_alex", 2, growth=False)
    assert row.value is None and "gencomp weights fetch lpips-alex" in row.note


def test_pairs_are_all_different_and_of_the_size_of_kodak() -> None:
    found = list(metrics.pairs(3))
    assert all(x.shape == y.shape == (512, 768, 3) and (x != y).any() for x, y in found)
    assert len({np.asarray(x).tobytes() for x, _ in found}) == 3
