"""The report of a repository: its content and its determinism. What a browser makes of it is in test_page.py."""

import csv
import html
import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gencomp.config import read_yaml
from gencomp.data.failure import DataError
from gencomp.evaluation.accounts import license_name
from gencomp.evaluation.cache import ResultCache
from gencomp.evaluation.classical import CODECS, setting_name
from gencomp.evaluation.distribution import PROTOCOL, SetFigures, SetRow, write_sets
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutError, held_out_samples
from gencomp.evaluation.metrics import METRICS, records
from gencomp.evaluation.page import PAGE_BYTES, EntryPart, Fact, Page, SetPart, render, too_large
from gencomp.evaluation.provenance import locked
from gencomp.evaluation.rates import METRIC_NAMES, read_rows
from gencomp.evaluation.report import Inputs, Report, build_report
from gencomp.evaluation.segmentation import Confusion, interval, load_network
from gencomp.evaluation.segmentation import records as segmentation_records
from gencomp.evaluation.selective import SEAM, selective_records
from gencomp.evaluation.summary import listed
from gencomp.weights.cache import weights_hash
from tests.evaluation.conftest import ANCHORS, EVALUATION, VARIANTS

ROOT = Path(__file__).parents[2]


def inputs(root: Path) -> Inputs:
    return Inputs(root, VARIANTS, EVALUATION, [Fact("params, variants", "ab" * 32)])


@pytest.fixture(scope="module")
def report(repository: Path) -> Report:
    return build_report(inputs(repository))


def test_the_same_inputs_give_the_same_bytes(repository: Path, report: Report) -> None:
    assert build_report(inputs(repository)) == report


def test_the_page_loads_nothing(report: Report) -> None:
    page = report.html.decode()
    assert "default-src 'none'" in page
    references = re.findall(r"""<[^>]*\b(?:src|href)\s*=\s*["']?([^"'\s>]+)""", page)
    assert len(references) > 12
    assert all(reference.startswith(("data:image/webp;base64,", "#")) for reference in references)
    assert "@import" not in page and "url(" not in page and "http://" not in page and "https://" not in page


def test_every_picture_is_shown_with_its_bytes_and_a_flag_where_a_codec_cannot_go_this_low(
    repository: Path, report: Report
) -> None:
    page = html.unescape(report.html.decode())
    for row in read_rows(repository / "evaluation/gc/images.csv"):
        assert f"{row.size:,} bytes,</i> <i>{row.bpp:.4f} bpp" in page
    lowest = min(row.size for row in read_rows(repository / "anchors/photos/images.csv") if row.codec == "jpeg")
    assert f"{lowest:,} bytes" in page
    assert page.count("cannot go this low</span>") >= 4


def test_what_others_wrote_is_text_and_never_markup(report: Report) -> None:
    page = report.html.decode()
    assert "A &lt;b&gt;uthor&lt;/b&gt;, CC BY 2.0" in page
    assert "<b>uthor" not in page


def test_the_page_accounts_for_the_data_and_names_what_it_was_computed_from(repository: Path, report: Report) -> None:
    page = html.unescape(report.html.decode())
    table = re.search(r'<table class="outcomes">(.*?)</table>', page, re.DOTALL)
    assert table is not None
    rows = [re.findall(r"<t[hd][^>]*>(?:<span[^>]*>)?([^<]*)", row) for row in table[1].split("<tr>")[1:]]
    assert rows == [
        ["Pictures", "train", "val", "all", "share"],
        ["asked for", "2", "2", "4", ""],
        ["kept", "0", "2", "2", ""],
        ["refused: greyscale", "1", "0", "1", ""],
        ["lost: missing", "1", "0", "1", ""],
    ]
    for variant in VARIANTS:
        assert json.loads((repository / f"metrics/{variant}.json").read_text())["package"] in page
    assert "ab" * 32 in page
    assert "Channel 0 never uses 0" in page
    missing = [codec.title for codec in CODECS.values() if not ANCHORS.ladder(codec) or codec.missing()]
    assert f"Not measured here: {listed(missing)}." in page


def test_the_verdicts_of_the_gate_are_told_with_their_reasons(report: Report) -> None:
    page = html.unescape(report.html.decode())
    assert page.count("The gate let it pass.") == 1
    assert "The gate refused it: 9.0 is less than <10>." in page


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://creativecommons.org/licenses/by/2.0/", "CC BY 2.0"),
        ("https://creativecommons.org/licenses/by-sa/4.0/legalcode", "CC BY-SA 4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "Public domain 1.0"),
        ("mine", "mine"),
    ],
)
def test_licences_are_shown_by_their_short_names(text: str, name: str) -> None:
    assert license_name(text) == name


def test_the_rate_points_are_a_table_for_plots(report: Report) -> None:
    rows = list(csv.DictReader(report.rates_csv.decode().splitlines()))
    assert list(rows[0]) == ["dataset", "codec", "setting", "bpp", *METRIC_NAMES]
    assert {"gc", "mse", "jpeg", "webp", "jpeg2000"} <= {row["codec"] for row in rows}
    assert all(float(row["bpp"]) > 0 and float(row["psnr"]) > 0 for row in rows)


def test_kid_stands_on_the_page_where_it_was_measured(repository: Path) -> None:
    assert b"KID and FID" not in build_report(inputs(repository)).html
    files = [repository / "evaluation/gc/sets.csv", repository / "anchors/photos/sets.csv"]
    try:
        for file, codec, setting in zip(files, ("gc", "jpeg"), ("static", "1"), strict=True):
            write_sets(file, [SetRow(codec, setting, SetFigures(2, 4, 0.0125, 0.01, 0.015))])
        page = build_report(inputs(repository)).html.decode()
    finally:
        for file in files:
            file.unlink(missing_ok=True)
    table = page[page.index("KID and FID") :]
    assert re.search(r">gc</td>.*?>12\.50<small>10\.00 to 15\.00</small>.*?>JPEG 1</td>", table, re.S)


def test_what_a_network_sees_is_a_table_of_originals_variants_and_codecs_at_their_bytes(
    repository: Path, described: Path, tmp_path: Path
) -> None:
    looked, network = list[int](), load_network(described)

    def draw(pixels: NDArray[np.uint8]) -> NDArray[np.integer]:
        looked.append(1)
        return network.draw(pixels)

    watched = network._replace(draw=draw)
    seeing = inputs(repository)._replace(networks={"photos": watched}, cache=ResultCache(tmp_path))
    assert b"segmentation network" not in build_report(seeing).html and not looked  # nothing was measured by it
    metrics = repository / "metrics/gc.json"
    before = metrics.read_bytes()
    try:
        metrics.write_text(json.dumps(json.loads(before) | {"miou": 0.5}))
        first = build_report(seeing)
        assert looked and not looked.clear()
        assert build_report(seeing) == first and not looked
    finally:
        metrics.write_bytes(before)
    page = html.unescape(first.html.decode())
    table = page[page.index("What a segmentation network still sees") :]
    cells = re.compile(r">([^<]*)</td>|>([^<]*)<small>([^<]*)</small></td>")
    lines = [
        [a or f"{b} ({c})" for a, b, c in cells.findall(line)]
        for line in table[: table.index("</table>")].split("<tr>")[2:]
    ]
    assert [line[0] for line in lines[:3]] == ["Originals", "gc", "JPEG beside gc"]
    assert {"mse", "JPEG 2000 beside mse"} <= {line[0] for line in lines}
    expected = Confusion(3)
    for (image, labels, _), key in zip(
        held_out_samples(repository / "data/shards/photos", "val"), ("chelsea", "rocket"), strict=True
    ):
        assert image.key == key and labels is not None
        expected.add(labels, network.draw(np.asarray(Image.open(repository / f"evaluation/gc/decoded/{key}.png"))))
    figures = (
        (expected.scores().miou, expected.resampled_miou()),
        (
            expected.scores().pixel_accuracy,
            expected.resampled_pixel_accuracy(),
        ),
    )
    for cell, (value, resampled) in zip(lines[1][2:4], figures, strict=True):
        low, high = interval(resampled)
        assert cell == f"{value:.3f} ({low:.3f} to {high:.3f})"


def test_the_provenance_says_how_figures_and_files_were_made_when_they_were(repository: Path, described: Path) -> None:
    """Of KID and SSIMULACRA2, which this repository did not measure, as their records would be."""
    metrics = repository / "metrics/gc.json"
    before = metrics.read_bytes()
    known = {name: msgspec.to_builtins(record) for name, record in records(["ssimulacra2", "kid"]).items()}
    known["ssimulacra2"]["version"] = "0.2.9"
    network = load_network(described)
    others = {**segmentation_records(network), **selective_records(["psnr"])}
    known |= {name: msgspec.to_builtins(record) for name, record in others.items()}
    try:
        metrics.write_text(json.dumps(json.loads(before) | {"protocols": known}))
        page = html.unescape(build_report(inputs(repository)).html.decode())
    finally:
        metrics.write_bytes(before)
    inception = f"weights inception <code>{weights_hash('inception')}</code>"
    assert f"<dt>KID and FID</dt><dd>{PROTOCOL}; {inception}</dd>" in page
    assert f"<dt>SSIMULACRA2</dt><dd>{METRICS['ssimulacra2'].protocol}; version 0.2.9</dd>" in page
    seen = f"{others['miou'].protocol}; weights {network.name} <code>{network.sha256}</code>"
    assert f"<dt>mIoU and Pixel accuracy</dt><dd>{seen}</dd>" in page
    assert f"<dt>Seam</dt><dd>{SEAM}</dd>" in page
    assert f"<dt>MSE inside and PSNR inside and PSNR outside</dt><dd>{others['psnr_inside'].protocol}</dd>" in page
    assert page.count(f"<dt>PSNR</dt><dd>{METRICS['psnr'].protocol}</dd>") == 1
    for name in ("jpeg", "webp", "jpeg2000"):
        codec = CODECS[name]
        settings = ", ".join(setting_name(setting) for setting in ANCHORS.ladder(codec))
        assert f"<dt>{codec.title}</dt><dd>{codec.protocol}; {codec.version()}; settings {settings}</dd>" in page


@pytest.mark.parametrize(
    ("here", "note"),
    [
        ([False], "own protocol and on other pictures; they"),
        ([False, True], "own protocol: the stronger ones on pictures of this name, the others on other pictures; they"),
    ],
)
def test_the_note_on_crosses_tells_of_this_set_and_of_others(here: list[bool], note: str) -> None:
    part = SetPart("kodak", 1, [METRICS["psnr"]], METRICS["psnr"], [], {}, [], [], [], {}, "", "", searched=False)
    entry = EntryPart(Entry("gc", "gc", "model-0", "gc", {}), [])
    crosses = [{"here": one, "figures": {}} for one in here]
    chart = {"metrics": [], "curves": [], "arrows": [], "published": crosses}
    assert note in render(Page("gc", [], [part._replace(entries=[entry], chart=chart)], [])).decode()


def test_few_pictures_are_put_in_order_and_not_called_ten(report: Report) -> None:
    options = re.findall(r'<option value="(all|worst|best)">([^<]*)<', report.html.decode())
    assert options == [("all", "all 2"), ("worst", "the worst first"), ("best", "the best first")]


def test_a_gallery_over_its_budget_shows_the_first_pictures_and_says_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.evaluation.report.GALLERY_BYTES", 1)
    page = build_report(inputs(repository)).html.decode()
    assert page.count('class="scene"') == 1
    assert "1 of 2 pictures are shown, the worst and the best of gc by MS-SSIM first." in page


def test_a_picture_that_is_shown_reduced_says_so(
    repository: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "shown reduced" not in report.html.decode()
    monkeypatch.setattr("gencomp.evaluation.gallery.MOST_PIXELS", 192 * 128)
    page = build_report(inputs(repository)).html.decode()
    (scene,) = (part for part in page.split("<article")[1:] if "shown reduced" in part)
    assert "241 \N{MULTIPLICATION SIGN} 177 pixels" in scene
    assert scene.count("shown reduced, 75.9 % of its width and height") == scene.count("<figcaption>")


def test_a_page_that_is_too_large_is_told_in_a_line() -> None:
    assert too_large(PAGE_BYTES) is None
    assert too_large(41_260_000) == "the page has 41.3 MB, more than 40 MB: show fewer or smaller pictures"


def test_the_provenance_has_the_lock_of_every_output_that_a_report_reads(tmp_path: Path) -> None:
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]  # type: ignore[index]
    needed, outs = [path for path in stages["report"]["deps"] if not path.endswith((".py", ".jinja", ".csv"))], []
    for name, stage in stages.items():
        if "foreach" not in stage:
            continue
        made = [out for kind in ("outs", "metrics", "plots") for out in stage["do"].get(kind, [])]
        paths = [str(out if isinstance(out, str) else next(iter(out))).replace("${key}", "some") for out in made]
        outs += [(f"{name}@some", path) for path in paths]
    lock = {name: {"outs": [{"path": path, "md5": "ab"} for of, path in outs if of == name]} for name, _ in outs}
    (tmp_path / "dvc.lock").write_text(json.dumps({"stages": lock}))
    told = {fact.term.removeprefix("dvc.lock, ") for fact in locked(tmp_path / "dvc.lock")}
    read = {path for _, path in outs if path.startswith(tuple(f"{head}/" for head in needed))}
    assert len(needed) == 7 and {path.split("/")[0] for path in read} == {head.split("/")[0] for head in needed}
    assert read <= told


def test_an_input_that_is_missing_is_named(repository: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(split="test", images=None, entropy="static")
    with pytest.raises(HeldOutError, match="split `test` holds no pictures"):
        build_report(Inputs(repository, VARIANTS, config, []))
    with pytest.raises(DataError, match="run the stage before this one"):
        build_report(inputs(tmp_path))
