"""`gencomp compare` and `gencomp evaluate`: one page from pictures at hand, and nothing computed twice."""

import dataclasses
import html
import io
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from benchmarks.browser import Browser, chromium
from gencomp import Codec
from gencomp.cli import main
from gencomp.codec.container import describe
from gencomp.codec.rate import DEFAULT_MAX_BPP
from gencomp.evaluation.anchors import AnchorsConfig
from gencomp.evaluation.cache import NoCache, ResultCache, picture_digest
from gencomp.evaluation.cached import CachedAnchors
from gencomp.evaluation.classical import CODECS, ClassicalCodec
from gencomp.evaluation.distribution import read_sets
from gencomp.evaluation.ladders import LADDERS
from gencomp.evaluation.metrics import METRICS
from gencomp.evaluation.practicality import Cost, Practicality, write_practicality
from gencomp.evaluation.rates import read_rows
from gencomp.models.inception import Inception
from gencomp.weights.catalogue import KNOWN
from tests.evaluation.conftest import make_package, photograph
from tests.models.judges import random_judge


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def without_weights(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path_factory.getbasetemp() / "no-weights"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs, small."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("chelsea", "rocket"):
        Image.fromarray(photograph(name, 192, 176)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    make_package(folder, seed=5)
    return folder


@pytest.fixture
def count_encodings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codecs that encoded, one entry a picture."""
    calls: list[str] = []
    original = ClassicalCodec.round_trip

    def counted(self: ClassicalCodec, pixels: np.ndarray, setting: float) -> tuple[bytes, np.ndarray]:
        calls.append(self.name)
        return original(self, pixels, setting)

    monkeypatch.setattr(ClassicalCodec, "round_trip", counted)
    return calls


def test_compare_ends_in_one_page_whose_codecs_are_at_equal_bytes(folder: Path, tmp_path: Path) -> None:
    done = run("compare", folder / "chelsea.png", folder / "rocket.png", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out/index.html'}: 2 pictures" in done.output
    assert "lpips_alex is left out: no lpips-alex weights" in done.output
    results = tmp_path / "out/pictures"
    (own,) = results.glob("light-*")
    models = {row.key: row for row in read_rows(own / "images.csv")}
    for key, row in models.items():
        data = (own / "streams" / f"{key}.gnc").read_bytes()
        assert len(data) == row.size == describe(data).total_bytes
        with Image.open(own / "decoded" / f"{key}.png") as image:
            assert image.size == (row.width, row.height)
    anchors = read_rows(results / "anchors/images.csv")
    assert {row.codec for row in anchors} >= {"jpeg", "webp", "jpeg2000"}
    assert len(anchors) == len({(row.codec, row.key) for row in anchors})
    for row in anchors:
        lowest = row.setting == f"{CODECS[row.codec].lowest:g}"
        assert row.size <= models[row.key].size or lowest, f"{row.codec} {row.setting} is larger than it need be"
    page = (tmp_path / "out/index.html").read_text()
    assert "On a picture, light-" in page and "Cannot go this low" in page
    assert "s, found by halving: where files" in page


def test_evaluate_makes_curves_over_folders_and_a_second_run_encodes_nothing(
    folder: Path, model: Path, tmp_path: Path, count_encodings: list[str]
) -> None:
    arguments = ("evaluate", folder, "--model", model, "--output", tmp_path / "out")
    assert run(*arguments).exit_code == 0
    assert len(count_encodings) >= 2 * 15
    count_encodings.clear()
    before = (tmp_path / "out" / folder.name / "anchors/images.csv").read_bytes()
    assert run(*arguments).exit_code == 0
    assert count_encodings == []
    assert (tmp_path / "out" / folder.name / "anchors/images.csv").read_bytes() == before
    rows = read_rows(tmp_path / "out" / folder.name / "small/images.csv")
    assert [row.codec for row in rows] == ["small", "small"]
    assert "found by halving" not in (tmp_path / "out/index.html").read_text()
    assert json.loads((tmp_path / "out/plan.json").read_text())["model"] == "small"


def test_a_models_encoder_may_take_its_time_and_its_files_are_kept_apart(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = random_judge()
    monkeypatch.setattr("gencomp.codec.codec.load_judge", lambda device: judge)
    monkeypatch.setattr("gencomp.codec.search.WINDOW", 48)
    arguments = ("compare", folder / "chelsea.png", "--model", model, "--output", tmp_path / "out", "--effort", "2")
    for _ in range(2):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
        monkeypatch.setattr("gencomp.codec.codec.load_judge", None)  # the second time finds all that it needs
    (row,) = read_rows(tmp_path / "out/pictures/small-effort-2/images.csv")
    searched = (tmp_path / "out/pictures/small-effort-2/streams/chelsea.gnc").read_bytes()
    plain = Codec.from_reference(model).compress(Image.open(folder / "chelsea.png"), max_bpp=DEFAULT_MAX_BPP)
    assert row.size == len(searched) and searched != plain
    assert json.loads((tmp_path / "out/plan.json").read_text())["effort"] == 2
    assert "small-effort-2" in (tmp_path / "out/index.html").read_text()


def test_without_the_networks_that_a_search_needs_it_is_refused_in_a_line(
    folder: Path, model: Path, tmp_path: Path
) -> None:
    done = run("compare", folder / "rocket.png", "--model", model, "--output", tmp_path / "out", "--effort", "3")
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert "no lpips-vgg weights at" in done.output and "run `gencomp weights fetch lpips-vgg`" in done.output


def test_the_page_and_a_file_beside_it_say_how_all_was_made_and_by_how_many_threads(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.commands.evaluate.threads", lambda: 2)
    assert run("evaluate", folder, "--model", model, "--output", tmp_path / "out").exit_code == 0
    found = json.loads((tmp_path / "out/protocols.json").read_text())
    used = [codec for codec in CODECS.values() if LADDERS.ladder(codec) and codec.missing() is None]
    page = html.unescape((tmp_path / "out/index.html").read_text())
    assert list(found["metrics"]) == ["psnr", "ms_ssim", "ssimulacra2"] and list(found["codecs"]) == [
        codec.name for codec in used
    ]
    for codec in used:
        record = found["codecs"][codec.name]
        assert (record["protocol"], record["version"]) == (codec.protocol, codec.version())
        settings = ", ".join(record["settings"])
        assert f"<dt>{codec.title}</dt><dd>{codec.protocol}; {codec.version()}; settings {settings}</dd>" in page
    assert f"<dt>PSNR</dt><dd>{METRICS['psnr'].protocol}</dd>" in page
    assert ", 2 threads, " in page


@pytest.fixture
def random_inception(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of KID at hand, with random weights."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_file(Inception().state_dict(), folder / "inception.safetensors")
    own = [dataclasses.replace(known, sha256=None) if known.name == "inception" else known for known in KNOWN]
    monkeypatch.setattr("gencomp.weights.catalogue.KNOWN", own)
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(folder))


@pytest.mark.usefixtures("random_inception")
def test_kid_is_of_one_setting_of_each_codec_and_in_full_of_all_within_reach(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = AnchorsConfig(jpeg=(1, 5), webp=(), jpeg2000=(0.02, 0.05, 0.1), avif=(), bpg=())
    monkeypatch.setattr("gencomp.evaluation.ladders.LADDERS", few)
    monkeypatch.setattr("gencomp.evaluation.ladders.FULL_LADDERS", few)
    (tmp_path / "two").mkdir()
    for name in ("chelsea", "rocket"):
        Image.fromarray(photograph(name, 256, 256)).save(tmp_path / "two" / f"{name}.png")
    looked_at: dict[str, list[tuple[str, str]]] = {}
    for way in ("quick", "full"):
        out = tmp_path / way
        done = run("evaluate", tmp_path / "two", "--model", model, "--output", out, *(["--full"] * (way == "full")))
        assert done.exit_code == 0, done.output
        rows = read_sets(out / "two/sets.csv")
        assert all(row.figures.patches == 2 and row.figures.kid is not None for row in rows)
        looked_at[way] = [(row.codec, row.setting) for row in rows]
        page = (out / "index.html").read_text()
        assert "Each patch meets its own" in page
        assert ("--full has all within reach" in page) == (way == "quick")
    assert [codec for codec, _ in looked_at["quick"]] == ["small", "jpeg", "jpeg2000"]
    assert set(looked_at["quick"]) < set(looked_at["full"])
    assert {("jpeg", "1"), ("jpeg2000", "0.001"), ("jpeg2000", "0.02")} <= set(looked_at["full"])


@pytest.mark.usefixtures("random_inception")
def test_pictures_without_two_patches_have_no_table_of_kid(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = AnchorsConfig(jpeg=(1,), webp=(), jpeg2000=(), avif=(), bpg=())
    monkeypatch.setattr("gencomp.evaluation.ladders.LADDERS", few)
    assert run("evaluate", folder, "--model", model, "--output", tmp_path / "out").exit_code == 0
    assert "Each patch meets its own" not in (tmp_path / "out/index.html").read_text()


def test_costs_that_were_measured_are_a_table_of_the_page(folder: Path, model: Path, tmp_path: Path) -> None:
    times = {"encode_ms": 12.0, "decode_ms": 34.0, "first_ms": 5.0, "encode_peak": 60.0, "decode_peak": 70.0}
    cost = Cost(codec="AVIF", setting="9", is_model=False, bpp=0.1, size=900.0, lpips=0.4, weights=0, **times)
    known = Practicality(hardware="an abacus", images=3, protocol="alone", costs=(cost,))
    write_practicality(tmp_path / "costs.json", known)
    (tmp_path / "damaged.json").write_text("{}")
    arguments = "evaluate", folder, "--model", model, "--output", tmp_path / "out", "--costs"
    for name, reason in (("none.json", "none.json"), ("damaged.json", "damaged.json")):
        refused = run(*arguments, tmp_path / name)
        assert refused.exit_code == 2 and reason in refused.output and not (tmp_path / "out").exists()
    assert run(*arguments, tmp_path / "costs.json").exit_code == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "What it costs" in page and "an abacus, 3 pictures: alone." in page and ">AVIF 9<" in page


def test_a_picture_too_large_for_a_codec_and_for_the_page_ends_nothing(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.evaluation.page.PAGE_BYTES", 1000)
    wide = np.tile(photograph("chelsea", 192, 32), (1, 86, 1))[:, :16_400]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    arguments = (tmp_path / "wide.png", folder / "chelsea.png", "--model", model, "--output", tmp_path / "out")
    done = run("compare", *arguments)
    assert done.exit_code == 0, done.output
    assert "MB, more than 0.001 MB: show fewer or smaller pictures\n" in done.output
    rows = read_rows(tmp_path / "out/pictures/anchors/images.csv")
    assert [row.key for row in rows if row.codec == "webp"] == ["chelsea"]
    assert {row.key for row in rows if row.codec == "jpeg"} == {"chelsea", "wide"}
    page = html.unescape((tmp_path / "out/index.html").read_text())
    assert "left out: where a side has more than 16,383 pixels, as 1 picture has" in page
    assert "shown reduced, 99.9 % of its width and height" in page


def test_the_number_of_threads_changes_no_result(
    folder: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for count in (1, 3):
        monkeypatch.setattr("gencomp.commands.evaluate.threads", lambda count=count: count)
        output = tmp_path / f"by-{count}"
        assert run("evaluate", folder, "--model", model, "--output", output, "--cache", f"{output}-kept").exit_code == 0
        files = sorted(path for path in (output / folder.name).rglob("*") if path.is_file())
        found.append({path.relative_to(output): path.read_bytes() for path in files})
    assert len(found[0]) >= 2 * 2 + 3 and found[0] == found[1]


@pytest.mark.parametrize("name", ["jpeg", "heic"])
def test_a_kept_file_has_the_picture_that_was_decoded(name: str, tmp_path: Path) -> None:
    codec, pixels = CODECS[name], photograph("chelsea", 64, 48)
    if reason := codec.missing():
        pytest.skip(reason)
    anchors = CachedAnchors([codec], ResultCache(tmp_path))
    made, kept = (anchors.file(pixels, picture_digest(pixels), codec, 20).file for _ in range(2))
    assert (made.data, made.digest) == (kept.data, kept.digest)
    for file in (made, kept):
        assert picture_digest(file.pixels()) == file.digest
        with Image.open(io.BytesIO(file.png())) as image:
            assert picture_digest(np.asarray(image)) == file.digest


def test_a_run_that_was_broken_off_leaves_nothing_and_goes_on(
    folder: Path, model: Path, tmp_path: Path, count_encodings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCOMP_RESULTS", str(tmp_path / "results"))
    arguments = ("evaluate", folder, "--model", model, "--output", tmp_path / "out")
    counted = ClassicalCodec.round_trip

    def broken(self: ClassicalCodec, pixels: np.ndarray, setting: float) -> tuple[bytes, np.ndarray]:
        if len(count_encodings) >= 20:
            raise KeyboardInterrupt
        return counted(self, pixels, setting)

    with monkeypatch.context() as patched:
        patched.setattr(ClassicalCodec, "round_trip", broken)
        assert run(*arguments).exit_code == 1
    for thread in threading.enumerate():  # what was under way is not waited for
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(60)
    done = len(count_encodings)
    assert not (tmp_path / "out").exists()
    assert run(*arguments).exit_code == 0
    whole = len(read_rows(tmp_path / "out" / folder.name / "anchors/images.csv"))
    assert len(count_encodings) == whole and done >= 20


def test_a_signal_ends_it_in_the_midst_of_a_part_and_it_goes_on_to_the_same_end(
    folder: Path, model: Path, tmp_path: Path, count_encodings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts are WebP's, which take ten minutes each."""
    program = """
import sys, time
from gencomp import cli
from gencomp.evaluation.classical import ClassicalCodec

round_trip = ClassicalCodec.round_trip

def slowly(self, pixels, setting):
    if self.name == "webp":
        print("in the midst of it", flush=True)
        time.sleep(600)
    return round_trip(self, pixels, setting)

ClassicalCodec.round_trip = slowly
cli.main(sys.argv[1:])
"""
    monkeypatch.setattr("gencomp.commands.evaluate.threads", lambda: 2)
    arguments = ("evaluate", folder, "--model", model, "--output", tmp_path / "out")
    command = [sys.executable, "-c", program, *map(str, arguments), "--cache", str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "in the midst of it\n"
        begun = time.monotonic()
        process.terminate()
        said = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 128 + signal.SIGTERM and time.monotonic() - begun < 20
    kept = "what was coded and measured is kept, and the same command goes on from there"
    assert said[-1] == f"gencomp: ended early; {kept}" and all(" is left out: " in line for line in said[:-1])
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]

    def evaluated(cache: str) -> tuple[dict[Path, bytes], int]:
        count_encodings.clear()
        assert run(*arguments, "--cache", tmp_path / cache).exit_code == 0
        files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
        minute = rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
        return {path: re.sub(minute, b"", path.read_bytes()) for path in files}, len(count_encodings)

    resumed, rest = evaluated("kept")
    unbroken, whole = evaluated("anew")
    assert resumed == unbroken and 0 < rest < whole


def test_what_is_wrong_is_refused_in_a_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("four years")
    (tmp_path / "text.png").write_text("no picture")
    new = tmp_path / "new"
    for arguments, reason in (
        (("compare", folder / "chelsea.png", "--output", tmp_path / "mine"), "holds other files: name a new folder"),
        (("compare", folder / "none.png", "--output", new), "no such file"),
        (("compare", tmp_path / "text.png", "--output", new), "not a readable picture"),
        (("compare", folder / "chelsea.png", folder / "chelsea.png", "--output", new), "would share the key chelsea"),
        (("compare", folder / "chelsea.png", "--output", new, "--model", "heavy"), "neither a folder nor a shipped"),
        (("evaluate", tmp_path / "mine", "--output", new), "no pictures"),
        (("evaluate", folder, folder, "--output", new), "another folder is called"),
        (("evaluate", folder, "--output", new, "--rates", "0.1,many"), "expected bits per pixel joined by commas"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2 and reason in done.output, done.output
        assert "Traceback" not in done.output
    assert (tmp_path / "mine/thesis.txt").read_text() == "four years" and not new.exists()


def test_the_fitted_file_is_the_largest_that_is_not_above_the_bytes() -> None:
    pixels = photograph("chelsea", 160, 128)
    jpeg = CODECS["jpeg"]
    anchors, settings = CachedAnchors([jpeg], NoCache()), tuple(range(1, 96))
    sizes = [len(jpeg.round_trip(pixels, setting)[0]) for setting in settings]
    for most in (sizes[0] - 1, sizes[0], 3000, 10**6):
        found = len(anchors.fitted(pixels, picture_digest(pixels), jpeg, settings, most).file.data)
        fitting = [size for size in sizes if size <= most]
        assert found == (sizes[0] if not fitting else max(fitting))


def test_the_page_opens_from_a_file_and_compares(folder: Path, tmp_path: Path) -> None:
    command = chromium()
    if command is None:
        pytest.skip("no Chromium is on the path; GENCOMP_CHROMIUM may name one")
    assert run("compare", folder / "chelsea.png", "--output", tmp_path / "out").exit_code == 0
    browser = Browser(command, tmp_path / "browser")
    try:
        browser.open((tmp_path / "out/index.html").as_uri(), 375, 800, touch=True)
        assert browser.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        browser.value("document.querySelector('.shot.model button').click()")
        browser.wait("viewer.open")
        tags = browser.value("[...document.querySelectorAll('.tag')].map(one => one.textContent)")
        assert tags[0].startswith("Original") and tags[1].startswith("light-") and "bytes" in tags[1]
        assert browser.complaints() == []
    finally:
        browser.close()
