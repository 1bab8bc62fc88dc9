"""A model evaluated by real files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from gencomp.codec.codec import Codec
from gencomp.codec.container import Entropy, describe
from gencomp.evaluation.cache import ResultCache
from gencomp.evaluation.evaluate import evaluate, metrics_json
from gencomp.evaluation.held_out import HeldOutError, HeldOutImage, HeldOutSample
from gencomp.evaluation.metrics import psnr
from gencomp.evaluation.rates import read_rows
from gencomp.evaluation.segmentation import PROTOCOL, Confusion, load_network
from gencomp.models.content import content_hash
from gencomp.models.package import PackageError
from stages import evaluate as evaluate_stage
from stages.entry import StageError
from tests.evaluation.conftest import make_package

COFFEE = np.asarray(Image.fromarray(data.coffee()).resize((181, 177)))
IMAGES = [
    HeldOutSample(HeldOutImage("coffee", COFFEE)),
    HeldOutSample(HeldOutImage("dot", COFFEE[:1, :1])),
    HeldOutSample(HeldOutImage("strip", COFFEE[:33, :17])),
]


def test_rates_are_those_of_the_files_and_quality_is_that_of_the_decoded_pictures(
    package: Path, tmp_path: Path
) -> None:
    metrics = evaluate(package, IMAGES, "static", "gc", tmp_path / "x")
    rows = read_rows(tmp_path / "x" / "images.csv")
    codec = Codec.from_reference(package)
    for (image, _, _), row in zip(IMAGES, rows, strict=True):
        stream = (tmp_path / "x" / "streams" / f"{image.key}.gnc").read_bytes()
        decoded = np.asarray(Image.open(tmp_path / "x" / "decoded" / f"{image.key}.png"))
        assert (row.key, row.codec, row.setting) == (image.key, "gc", "static")
        assert row.size == len(stream)
        assert (decoded == np.asarray(codec.decompress(stream))).all()
        assert row.psnr == pytest.approx(psnr(image.pixels, decoded), abs=1e-4)
        assert (row.header_bytes, row.side_bytes) == (describe(stream).header_bytes, 0)
    assert metrics.bpp == pytest.approx(np.mean([row.bpp for row in rows]), abs=1e-6)
    assert metrics.payload_bpp + metrics.header_bpp + metrics.side_bpp == pytest.approx(metrics.bpp, abs=2e-6)
    assert metrics.psnr == pytest.approx(np.mean([row.psnr for row in rows]), abs=1e-3)
    assert metrics.ms_ssim == rows[0].ms_ssim
    assert (metrics.images, metrics.symbol_mismatches, metrics.bound_violations) == (3, 0, 0)


def test_metrics_name_the_model_and_have_the_keys_that_others_read(package: Path, tmp_path: Path) -> None:
    metrics = json.loads(metrics_json(evaluate(package, IMAGES[1:], "raw", "gc", tmp_path / "x")))
    assert list(metrics) == [
        *("images", "evaluation_digest", "package", "fingerprint", "bpp", "payload_bpp", "header_bpp", "side_bpp"),
        *("psnr", "ms_ssim", "lpips_alex", "lpips_vgg", "dists", "ssimulacra2"),
        *("bound_violations", "symbol_mismatches", "max_bpp", "encoder", "miou", "miou_of_originals"),
        *("pixel_accuracy", "pixel_accuracy_of_originals", "kid", "fid"),
        *("intervals", "protocols", "segmentation", "selective"),
    ]
    assert metrics["package"] == content_hash(package)
    stream = (tmp_path / "x" / "streams" / "dot.gnc").read_bytes()
    assert metrics["fingerprint"] == describe(stream).fingerprint
    assert metrics["ms_ssim"] is None and metrics["selective"] is None


def test_evaluating_twice_gives_the_same_bytes_and_leaves_nothing_of_the_first(package: Path, tmp_path: Path) -> None:
    first = evaluate(package, IMAGES, "static", "gc", tmp_path / "x")
    (tmp_path / "x" / "streams" / "stale.gnc").write_bytes(b"left over")
    second = evaluate(package, IMAGES, "static", "gc", tmp_path / "x")
    third = evaluate(package, IMAGES, "static", "gc", tmp_path / "y")
    assert first == second == third
    files = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "x", tmp_path / "y")
    ]
    assert files[0] == files[1]
    assert len(files[0]) == 2 * len(IMAGES) + 1


def test_the_digest_of_an_evaluation_is_that_of_its_pictures_not_of_the_model(package: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[HeldOutSample], Entropy]] = [
        (IMAGES[1:], "static"),
        (IMAGES[1:], "raw"),
        (IMAGES[2:], "raw"),
    ]
    digests = [evaluate(package, *case, "gc", tmp_path / "x").evaluation_digest for case in cases]
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_without_a_model_and_no_pictures_are_refused_and_leave_nothing(package: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError):
        evaluate(tmp_path, IMAGES, "static", "gc", tmp_path / "x")
    with pytest.raises(HeldOutError, match="no pictures"):
        evaluate(package, [], "static", "gc", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_network_still_sees_is_counted_over_the_pictures_that_have_labels(
    package: Path, described: Path, tmp_path: Path
) -> None:
    network = load_network(described)
    labels = network.draw(COFFEE).copy()
    labels[:50] = 255  # unlabelled
    samples = [IMAGES[0]._replace(labels=labels), IMAGES[2]]
    metrics = evaluate(package, samples, "static", "gc", tmp_path / "x", network=network)
    expected = Confusion(3)
    expected.add(labels, network.draw(np.asarray(Image.open(tmp_path / "x" / "decoded" / "coffee.png"))))
    assert metrics.miou == pytest.approx(expected.scores().miou, abs=1e-6)
    assert metrics.miou_of_originals == 1 and metrics.segmentation == network.sha256
    assert metrics.pixel_accuracy == pytest.approx(expected.scores().pixel_accuracy, abs=1e-6)
    assert metrics.pixel_accuracy_of_originals == 1 and 0 < metrics.pixel_accuracy < 1
    for name in ("miou", "pixel_accuracy"):  # of one picture
        assert metrics.intervals[name] == pytest.approx((getattr(metrics, name),) * 2, abs=1e-6)
    for name in ("miou", "pixel_accuracy"):
        record = metrics.protocols[name]
        assert record.weights == {network.name: network.sha256} and PROTOCOL in record.protocol
        assert "labels of red, green, blue" in record.protocol
    unlabelled = evaluate(package, IMAGES[2:], "static", "gc", tmp_path / "x", network=network)
    assert unlabelled.miou is unlabelled.pixel_accuracy is unlabelled.pixel_accuracy_of_originals is None
    assert not {"miou", "pixel_accuracy"} & set(unlabelled.intervals)


def test_a_network_looks_once_at_the_originals_of_two_models(package: Path, described: Path, tmp_path: Path) -> None:
    network, looked = load_network(described), list[bytes]()

    def draw(pixels: NDArray[np.uint8]) -> NDArray[np.integer]:
        looked.append(pixels.tobytes())
        return network.draw(pixels)

    make_package(tmp_path / "other", seed=7)
    samples = [one._replace(labels=network.draw(one.image.pixels)) for one in IMAGES[::2]]
    cache, watched = ResultCache(tmp_path / "kept"), network._replace(draw=draw)
    for model in (package, tmp_path / "other"):
        evaluate(model, samples, "static", "gc", tmp_path / "x", cache=cache, network=watched)
    assert [looked.count(one.image.pixels.tobytes()) for one in samples] == [1, 1]
    assert len(set(looked)) == len(looked) > 2 * len(samples)  # something of either model too


def test_the_stage_takes_the_network_that_is_named_and_no_other(
    package: Path, photo_shards: Path, described: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, there in (("data/shards/photos", photo_shards), ("models/gc", package)):
        Path(path).parent.mkdir(parents=True)
        Path(path).symlink_to(there, target_is_directory=True)
    digest = load_network(described).sha256

    def measured(sha256: str) -> dict[str, Any]:
        network = f"{{file: {described}, sha256: {sha256}}}"
        params = f"{{split: val, images: null, entropy: static, segmentation: {{photos: {network}}}}}"
        Path("params.yaml").write_text(f"variants: {{gc: {{dataset: photos}}}}\nevaluation: {params}\n")
        evaluate_stage.main("gc")
        found: dict[str, Any] = json.loads(Path("metrics/gc.json").read_text())
        return found

    metrics = measured(digest)
    assert metrics["segmentation"] == digest and 0 <= metrics["miou"] <= 1
    with pytest.raises(StageError, match=rf"has SHA-256 {digest}, not the one in params.yaml"):
        measured("f" * 64)
