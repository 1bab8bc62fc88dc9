"""What the benchmark of training measures on, and that it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.bare_loop import BareLoop
from benchmarks.clock import matrix_product_ceiling, peak_bytes
from benchmarks.photographs import write_shards
from benchmarks.training import LIGHT_TERMS, PAPER_TERMS, Workload
from gencomp.data.loader import Loader, scaled
from gencomp.models.compressor import ModelConfig
from gencomp.training.trainer import DiscriminatorConfig, TrainingConfig

CPU = torch.device("cpu")
D = DiscriminatorConfig(width=4, scales=1)
PAPER = Workload("paper", ModelConfig(), TrainingConfig(steps=1, discriminator=D), (1, 512, 1024), PAPER_TERMS)


def test_terms_are_switched_on_by_name() -> None:
    first, whole = PAPER.losses(["distortion"]), PAPER.losses(list(PAPER_TERMS))
    assert (first.distortion, first.vgg, first.lpips, first.adversarial, first.feature_matching) == (10, 0, 0, 0, 0)
    assert [getattr(whole, term) for term in PAPER_TERMS] == list(PAPER_TERMS.values())
    light = PAPER._replace(terms=LIGHT_TERMS).losses(["lpips_vgg", "dists"])
    assert (light.lpips_vgg, light.dists, light.vgg16_images, light.distortion, light.vgg) == (2, 2, 1, 0, 0)


def test_the_trainer_gets_a_square_of_about_as_many_pixels() -> None:
    assert PAPER.crop == 720
    assert abs(PAPER.crop**2 / (512 * 1024) - 1) < 0.02


@pytest.mark.parametrize("terms", [["distortion"], ["distortion", "adversarial", "feature_matching"]])
def test_a_bare_step_changes_what_it_trains_and_counts_its_flops(terms: list[str]) -> None:
    config = TrainingConfig(steps=1, losses=PAPER.losses(terms), discriminator=D)
    loop = BareLoop(ModelConfig(width=4, blocks=0, channels=2, nested=True), config, (2, 64, 64), CPU)
    networks = {"compressor": loop.compressor, "D": loop.D}
    before = {name: [p.clone() for p in network.parameters()] for name, network in networks.items()}
    flops = loop.flops()
    changed = {
        name: any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True))
        for name, network in networks.items()
    }
    assert changed == {"compressor": True, "D": "adversarial" in terms}
    forward = 2 * 2 * 64 * 64 * 3 * 4 * 49  # of E's first layer alone, two images
    assert 3 * forward < flops < 300 * forward


def test_made_up_photographs_can_be_trained_on(tmp_path: Path) -> None:
    write_shards(tmp_path, images=3, width=120, height=80)
    batch = next(Loader(tmp_path, "train", 2, 64, 0).batches(0))
    assert batch.images.shape == (2, 3, 64, 64)
    assert 0.05 < scaled(batch.images).std() < 1


def test_the_ceiling_and_the_peak_are_of_this_machine() -> None:
    assert 1e7 < matrix_product_ceiling(CPU, torch.float32, 128, 3) < 1e14
    peak = peak_bytes(CPU)
    assert peak is None or peak > 1e7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "inference"])
def test_a_quick_run_reports_rows_and_an_exit_code_that_fits_them(tmp_path: Path, name: str) -> None:
    """Whether the bars are met is not asked: this machine may be busy."""
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", str(tmp_path / "rows.json")]
    done = subprocess.run([*command, "--threads", "1"], capture_output=True, text=True, timeout=280)
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert done.returncode == int(any(row["met"] is False for row in rows)), done.stderr
    assert all(row["name"] in done.stdout for row in rows)
    assert any(row["value"] for row in rows)
