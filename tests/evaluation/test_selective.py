"""Selective compression evaluated and judged: real files with their side information, from shards with label maps."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from gencomp.evaluation.evaluate import evaluate
from gencomp.evaluation.held_out import HeldOutError, HeldOutSample, held_out_images, held_out_samples
from gencomp.evaluation.rates import read_rows
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.entropy import fit_frequencies
from gencomp.models.package import save_package
from gencomp.weights.failure import MissingWeightsError
from stages import evaluate as evaluate_stage
from stages import gate, selftest
from stages.entry import StageError


@pytest.fixture(scope="module")
def selective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of untrained networks of selective compression, of 3 channels and 4 classes."""
    folder = tmp_path_factory.mktemp("selective")
    config = ModelConfig(width=2, blocks=1, channels=3, mode="sc", classes=4)
    compressor = Compressor(config)
    initialise(compressor, torch.Generator().manual_seed(1))
    save_package(folder, config, compressor, fit_frequencies(np.ones((3, 5), np.int64)))
    return folder


@pytest.mark.parametrize("preserve", ["all", "none", "classes:1"])
def test_side_information_is_real_exact_and_counted(
    selective: Path, photo_shards: Path, tmp_path: Path, preserve: str
) -> None:
    samples = list(held_out_samples(photo_shards, "train"))
    metrics = evaluate(selective, samples, "static", "sc", tmp_path / "x", preserve)
    codec, rows = Codec.from_reference(selective), read_rows(tmp_path / "x" / "images.csv")
    for (image, labels, edges), row in zip(samples, rows, strict=True):
        stream = (tmp_path / "x" / "streams" / f"{image.key}.gnc").read_bytes()
        side = codec.decode_side(stream)
        assert np.array_equal(side.labels, labels) and np.array_equal(side.edges, edges)
        assert row.side_bytes == describe(stream).side_bytes > 0
    side_bpp = np.mean([8 * (row.side_bytes or 0) / (row.width * row.height) for row in rows])
    assert metrics.side_bpp == pytest.approx(side_bpp)
    assert metrics.payload_bpp + metrics.header_bpp + metrics.side_bpp == pytest.approx(metrics.bpp)
    assert (metrics.payload_bpp < 1e-9) == (preserve == "none")
    assert (metrics.symbol_mismatches, metrics.bound_violations) == (0, 0)
    found = metrics.selective
    assert found is not None and found.side_share == pytest.approx(
        np.mean([(row.side_bytes or 0) / row.size for row in rows]), abs=1e-6
    )
    assert (found.preserved == 0) == (found.psnr_inside is None) == (preserve == "none")
    assert (found.preserved == 1) == (found.psnr_outside is None) == (preserve == "all")
    assert (found.seam is None) == (preserve in ("all", "none"))
    assert {"psnr_inside", "psnr_outside", "seam"} <= set(metrics.protocols)
    assert "lpips_inside" not in metrics.protocols  # LPIPS was not asked for
    if preserve == "all":
        assert found.psnr_inside == pytest.approx(metrics.psnr, abs=1e-3)
    table = (tmp_path / "x" / "selective.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in table] == ["key", *(row.key for row in rows)]


def test_lpips_inside_and_outside_are_measured_where_lpips_is(
    selective: Path, photo_shards: Path, tmp_path: Path
) -> None:
    samples = list(held_out_samples(photo_shards, "val"))
    try:
        metrics = evaluate(
            selective, samples, "static", "sc", tmp_path / "x", "classes:1", metrics=("psnr", "lpips_alex")
        )
    except MissingWeightsError as error:
        pytest.skip(str(error))
    assert metrics.selective is not None and metrics.lpips_alex is not None
    assert metrics.selective.lpips_outside == pytest.approx(metrics.lpips_alex, rel=0.5)
    records = [metrics.protocols[name] for name in ("lpips_alex", "lpips_inside", "lpips_outside")]
    assert records[0].weights == records[1].weights == records[2].weights != {}
    assert records[0].protocol != records[1].protocol == records[2].protocol
    names, values = csv.reader((tmp_path / "x/selective.csv").read_text().splitlines())
    for name in ("lpips_inside", "lpips_outside"):
        assert float(dict(zip(names, values, strict=True))[name]) == getattr(metrics.selective, name)


def test_pictures_without_labels_and_regions_that_do_not_fit_are_refused(
    selective: Path, photo_shards: Path, tmp_path: Path
) -> None:
    bare = [HeldOutSample(image) for image in held_out_images(photo_shards, "val")]
    with pytest.raises(HeldOutError, match=r"^astronaut has no label map, [^\n]+ on shards with labels$"):
        evaluate(selective, bare, "static", "sc", tmp_path / "x")
    labelled = list(held_out_samples(photo_shards, "val"))
    for preserve in ("box:0,0,999,9", "instances:1", "nowhere.png"):
        with pytest.raises(HeldOutError, match=r"^astronaut: [^\n]+$"):
            evaluate(selective, labelled, "static", "sc", tmp_path / "x", preserve)
    assert list(tmp_path.iterdir()) == []


def test_the_stages_evaluate_and_judge_a_selective_variant(
    selective: Path, photo_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    selftest.main()
    for path, there in (("data/shards/photos", photo_shards), ("models/sc", selective)):
        Path(path).parent.mkdir(parents=True)
        Path(path).symlink_to(there, target_is_directory=True)
    params = "variants: {sc: {dataset: photos}}\ngate: {minimum_psnr: 0.0}\nevaluation: {split: val, entropy: static, "
    for preserve, images in (("", "null"), (", preserve: 'classes:1,2'", "null")):
        Path("params.yaml").write_text(f"{params}images: {images}{preserve}}}\n")
        evaluate_stage.main("sc")
        gate.main("sc")
        verdict = json.loads(Path("gate/sc.json").read_text())
        assert [check["reason"] for check in verdict["checks"] if not check["passed"]] == []
    metrics = json.loads(Path("metrics/sc.json").read_text())
    bound = next(check["bound"] for check in verdict["checks"] if check["name"] == "rate")
    side = metrics["side_bpp"]
    assert side > 0
    assert bound == pytest.approx(side + (13 + -(-10 * 12 * 3 * np.log2(5) // 8)) * 8 / (96 * 80), abs=1e-9)
    Path("params.yaml").write_text(f"{params}images: .}}\n")
    Path("folder.png").write_bytes((tmp_path / "evaluation/sc/decoded/astronaut.png").read_bytes())
    with pytest.raises(StageError, match="^folder has no label map"):
        evaluate_stage.main("sc")
