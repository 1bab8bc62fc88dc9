"""What the benchmark of quality takes as a model's files, and how it judges its figures."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import BARS, LIMITS, UNITS, model_files, rows
from gencomp.codec.codec import Codec
from gencomp.models.package import load_package

NESTED = Path(__file__).parents[1] / "codec" / "golden" / "nested" / "package"


def figures(**changes: float) -> list[dict[str, float]]:
    """Of two pictures, on average the changes."""
    mean = dict.fromkeys(UNITS, 0.3) | {"PSNR": 22.0} | changes
    return [{name: value * share for name, value in mean.items()} for share in (0.5, 1.5)]


def test_files_keep_the_limits_or_are_the_smallest_there_are() -> None:
    codec = Codec.from_package(load_package(NESTED))
    x = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    rates = [file.size * 8 / (240 * 320) for _, _, file in model_files(codec, x)]
    assert all(rate <= limit for rate, limit in zip(rates, LIMITS, strict=True))
    assert rates == sorted(rates) and rates[0] < rates[-1]
    tiny = [(limit, file.size) for _, limit, file in model_files(codec, x[:32, :32])]
    assert [limit for limit, _ in tiny] == list(LIMITS)
    assert len({size for _, size in tiny}) == 1


def test_a_figure_is_judged_by_its_bar_or_beside_bpgs() -> None:
    model = {("model", limit): figures(LPIPS=0.37) for limit in LIMITS}
    bpg = {("BPG", limit): figures(DISTS=0.2) for limit in LIMITS}
    found = {row.name: row for row in rows(model | bpg)}
    assert len(found) == 2 * len(LIMITS) * len(UNITS)
    assert found["model LPIPS within 0.0363 bpp"].met is True
    assert found["model LPIPS within 0.0726 bpp"].met is False
    assert found["model DISTS within 0.0726 bpp"].ratio == pytest.approx(1.5)
    assert found["model DISTS within 0.0726 bpp"].met is False
    assert found["model LPIPS-VGG16 within 0.0726 bpp"].met is True
    assert found["BPG DISTS within 0.0726 bpp"].met is None


def test_without_bpg_the_models_figures_stand_alone() -> None:
    found = {row.name: row for row in rows({("model", limit): figures() for limit in LIMITS})}
    assert found["BPG DISTS within 0.0363 bpp"].value is None
    assert found["model DISTS within 0.0363 bpp"].met is None
    assert sum(row.met is not None for row in found.values()) == len(BARS)
