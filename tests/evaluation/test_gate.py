"""The gate's checks, as functions of numbers."""

import json
import math
from pathlib import Path

import msgspec
import pytest

from gencomp.codec.container import Header, bound_bytes, pack
from gencomp.evaluation.gate import (
    GateConfig,
    Measured,
    SelfTest,
    Tolerances,
    Verdict,
    absolute_checks,
    compare,
    passed,
    verdict_json,
)
from gencomp.evaluation.rates import RateRow
from stages.entry import StageError
from stages.gate import Latent, bound_bpp, coded_channels

GOOD = Measured(
    images=3,
    evaluation_digest="e" * 64,
    package="a" * 64,
    bpp=0.03,
    psnr=24.0,
    ms_ssim=0.9,
    bound_violations=0,
    symbol_mismatches=0,
)
CONFIG = GateConfig(minimum_psnr=12.0)
TOLERANCES = Tolerances(psnr=0.3, ms_ssim=0.01, bpp=0.05, lpips=0.01, dists=0.02, miou=0.03)
DECODES = SelfTest(vectors=15, failed=0)


def failing(measured: Measured, package: str = "a" * 64, selftest: SelfTest = DECODES) -> list[str]:
    checks = absolute_checks(measured, package, 0.04, CONFIG, selftest)
    return [check.name for check in checks if not check.passed]


def changed(**fields: object) -> Measured:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_good_model_passes_every_check() -> None:
    assert failing(GOOD) == []
    assert failing(changed(ms_ssim=None)) == []
    assert failing(changed(bpp=0.04)) == []


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"symbol_mismatches": 1}, ["symbols"]),
        ({"bound_violations": 2}, ["files"]),
        ({"images": 0}, ["images"]),
        ({"bpp": 0.0}, ["rate"]),
        ({"bpp": 0.041}, ["rate"]),
        ({"psnr": 11.99}, ["psnr"]),
        ({"psnr": math.nan}, ["finite", "psnr"]),
        ({"psnr": math.inf}, ["finite"]),
        ({"bpp": math.nan}, ["rate", "finite"]),
        ({"ms_ssim": math.nan}, ["finite", "ms-ssim"]),
        ({"ms_ssim": -0.1}, ["ms-ssim"]),
        ({"miou": 1.1}, ["miou"]),
        ({"lpips_alex": math.nan}, ["finite"]),
        ({"lpips_vgg": math.inf}, ["finite"]),
        ({"dists": math.nan}, ["finite"]),
    ],
)
def test_each_fault_fails_the_checks_that_name_it(fields: dict[str, object], names: list[str]) -> None:
    assert failing(changed(**fields)) == names


def test_metrics_of_another_package_fail() -> None:
    assert failing(GOOD, package="b" * 64) == ["package"]


@pytest.mark.parametrize("selftest", [SelfTest(vectors=15, failed=1), SelfTest(vectors=0, failed=0)])
def test_a_codec_that_does_not_decode_the_shipped_vectors_passes_no_gate(selftest: SelfTest) -> None:
    assert failing(GOOD, selftest=selftest) == ["conformance"]


def test_every_check_says_what_was_found_and_what_was_asked_for_in_one_line() -> None:
    for check in absolute_checks(changed(psnr=9.5), "b" * 64, 0.04, CONFIG, DECODES) + compare(GOOD, GOOD, TOLERANCES):
        assert check.reason and "\n" not in check.reason
    checks = absolute_checks(changed(psnr=9.5), "b" * 64, 0.04, CONFIG, SelfTest(vectors=15, failed=2))
    reasons = {check.name: check.reason for check in checks}
    assert reasons["psnr"] == "9.5 dB, at least 12"
    assert reasons["package"] == "evaluated aaaaaaaaaaaa, at hand bbbbbbbbbbbb"
    assert reasons["conformance"] == "2 of 15 shipped vectors decode otherwise, at most 0"


def test_a_verdict_is_canonical_json_and_holds_no_nan() -> None:
    checks = absolute_checks(changed(psnr=math.nan), "a" * 64, 0.04, CONFIG, DECODES)
    verdict = Verdict("gc", "a" * 64, passed(checks), checks)
    data = verdict_json(verdict)
    assert data == verdict_json(verdict)
    parsed = json.loads(data, parse_constant=pytest.fail)
    assert parsed["passed"] is False
    assert {check["name"]: check["value"] for check in parsed["checks"]}["psnr"] is None
    assert msgspec.json.decode(data, type=Verdict).checks[0] == checks[0]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        ({"psnr": 23.71, "ms_ssim": 0.891, "bpp": 0.0314}, []),
        ({"psnr": 30.0, "ms_ssim": 0.99, "bpp": 0.001}, []),
        ({"psnr": 23.69}, ["psnr"]),
        ({"ms_ssim": 0.889}, ["ms-ssim"]),
        ({"ms_ssim": None}, ["ms-ssim"]),
        ({"bpp": 0.0316}, ["rate"]),
        ({"psnr": math.nan}, ["psnr"]),
        ({"evaluation_digest": "f" * 64}, ["pictures"]),
    ],
)
def test_a_candidate_may_be_worse_than_the_champion_only_within_the_tolerances(
    fields: dict[str, object], names: list[str]
) -> None:
    assert [check.name for check in compare(changed(**fields), GOOD, TOLERANCES) if not check.passed] == names


@pytest.mark.parametrize(
    ("field", "champion", "within", "beyond", "name"),
    [
        ("lpips_alex", 0.40, 0.4099, 0.4101, "lpips-alex"),
        ("lpips_vgg", 0.55, 0.5599, 0.5601, "lpips-vgg"),
        ("dists", 0.25, 0.2699, 0.2701, "dists"),
        ("miou", 0.60, 0.5701, 0.5699, "miou"),
    ],
)
def test_perceptual_metrics_and_miou_are_compared_where_the_champion_was_measured_by_them(
    field: str, champion: float, within: float, beyond: float, name: str
) -> None:
    def failed(candidate: float | None, other: float | None) -> list[str]:
        checks = compare(changed(**{field: candidate}), changed(**{field: other}), TOLERANCES)
        return [check.name for check in checks if not check.passed]

    assert failed(within, champion) == []
    assert failed(beyond, champion) == failed(math.nan, champion) == [name]
    assert failed(beyond, None) == failed(None, None) == []
    assert failed(None, champion) == [name]
    reasons = [check.reason for check in compare(changed(), changed(**{field: champion}), TOLERANCES)]
    assert f"not measured (none), and the champion has {champion:g}" in reasons


def test_models_that_fill_up_one_limit_are_compared_by_it_and_not_by_their_rates() -> None:
    champion, candidate = changed(bpp=0.030, max_bpp=0.036), changed(bpp=0.0359, max_bpp=0.036)
    assert passed(compare(candidate, champion, TOLERANCES))
    for other in (changed(bpp=0.0359, max_bpp=0.05), changed(bpp=0.0359), changed(bpp=0.0361, max_bpp=0.036)):
        assert [check.name for check in compare(other, champion, TOLERANCES) if not check.passed] == ["rate"]


def test_pictures_too_small_for_ms_ssim_are_compared_without_it() -> None:
    small = changed(ms_ssim=None)
    assert passed(compare(small, small, TOLERANCES))


@pytest.mark.parametrize(("width", "height", "h", "w"), [(1, 1, 2, 2), (33, 17, 2, 3), (451, 300, 19, 29)])
def test_the_bound_on_the_rate_counts_the_padding_and_the_header(width: int, height: int, h: int, w: int) -> None:
    row = RateRow("key", "gc", "static", width, height, 100, 13, 0, 20.0, None)
    latent = Latent(channels=4, levels=5, downsamplings=4)
    assert bound_bpp(latent, [row], {}) == bound_bytes(4, h, w, 5) * 8 / (width * height)
    assert bound_bpp(latent, [], {}) == 0.0


@pytest.mark.parametrize(("width", "height", "h", "w"), [(1, 1, 4, 4), (33, 17, 4, 6), (451, 300, 38, 58)])
@pytest.mark.parametrize("light", [None, {"encoder": [8, 8, 8]}], ids=["paper", "light"])
def test_the_bound_of_selective_compression_adds_its_side_information_to_a_finer_latent(
    width: int, height: int, h: int, w: int, light: dict[str, object] | None
) -> None:
    row = RateRow("key", "sc", "static", width, height, 100, 13, 77, 20.0, None)
    latent = Latent(channels=4, levels=5, downsamplings=4 if light is None else 2, light=light, mode="sc")
    assert bound_bpp(latent, [row], {}) == (bound_bytes(4, h, w, 5) + 77) * 8 / (width * height)


def test_the_bound_counts_the_channels_that_are_coded_where_that_is_known() -> None:
    rows = [RateRow(key, "gc", "static", 64, 64, 100, 13, 0, 20.0, None) for key in "ab"]
    latent = Latent(channels=8, levels=5, downsamplings=4, nested=True)
    expected = (bound_bytes(8, 4, 4, 5) + bound_bytes(3, 4, 4, 5)) / 2 * 8 / 64**2
    assert bound_bpp(latent, rows, {"b": 3}) == pytest.approx(expected)


def test_the_coded_channels_are_read_from_the_streams_that_are_there(tmp_path: Path) -> None:
    rows = [RateRow(key, "gc", "static", 64, 64, 100, 13, 0, 20.0, None) for key in "ab"]
    (tmp_path / "b.gnc").write_bytes(pack(Header(64, 64, 3, "raw", b"abcd"), b""))
    assert coded_channels(tmp_path, rows) == {"b": 3}
    (tmp_path / "a.gnc").write_bytes(b"damaged")
    with pytest.raises(StageError, match=r"^[^\n]*not a \.gnc stream"):
        coded_channels(tmp_path, rows)


def test_the_gates_strides_are_those_of_the_models() -> None:
    from gencomp.models.compressor import ModelConfig
    from gencomp.models.light import LightConfig

    light = LightConfig(encoder=(8, 8, 8), encoder_blocks=(0, 0, 0), generator=(8, 8, 8), generator_blocks=(0, 0, 0))
    for config in (
        ModelConfig(),
        ModelConfig(downsamplings=3, nested=True),
        ModelConfig(light=light),
        ModelConfig(mode="sc", classes=3),
        ModelConfig(mode="sc", classes=3, light=light),
    ):
        latent = msgspec.convert(msgspec.to_builtins(config), Latent)
        assert (latent.stride, latent.latent_stride) == (config.stride, config.latent_stride)
        assert (latent.mode, latent.nested) == (config.mode, config.nested)


def test_the_stage_judges_what_it_finds_and_a_failed_verdict_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gencomp.evaluation.rates import write_rows
    from gencomp.models.content import content_hash
    from stages import gate

    monkeypatch.chdir(tmp_path)
    for folder in ("models/gc", "evaluation/gc", "metrics", "selftest"):
        Path(folder).mkdir(parents=True)
    Path("params.yaml").write_text("threads: 1\ngate: {minimum_psnr: 12.0}\n")
    Path("models/gc/config.json").write_text('{"channels": 4, "levels": 5, "downsamplings": 4, "width": 60}')
    Path("models/gc/model.safetensors").write_bytes(b"weights")
    Path("models/gc/tables.json").write_text("{}")
    Path("selftest/cpu.json").write_text('{"vectors": 15, "failed": 0}')
    write_rows(Path("evaluation/gc/images.csv"), [RateRow("key", "gc", "static", 451, 300, 500, 13, 0, 20.0, None)])
    measured = changed(package=content_hash(Path("models/gc")), bpp=0.0296)
    for psnr, outcome in ((24.0, True), (8.0, False)):
        evaluated = msgspec.to_builtins(msgspec.structs.replace(measured, psnr=psnr))
        Path("metrics/gc.json").write_text(json.dumps(evaluated | {"fingerprint": "00000000"}))
        gate.main("gc")
        verdict = json.loads(Path("gate/gc.json").read_text())
        assert (verdict["variant"], verdict["package"], verdict["passed"]) == ("gc", measured.package, outcome)
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == ["psnr"]
