"""The report page: its content, its determinism, and what a real browser makes of it."""

import csv
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gencomp.evaluation.accounts import license_name
from gencomp.evaluation.classical import CODECS
from gencomp.evaluation.gallery import data_uri
from gencomp.evaluation.held_out import EvaluationConfig, HeldOutError
from gencomp.evaluation.rates import read_rows
from gencomp.evaluation.report import Inputs, Report, build_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--dump-dom"),
)
VARIANTS = {"gc": "photos", "mse": "photos"}
EVALUATION = EvaluationConfig(split="val", images=None, entropy="static")

USE_THE_PAGE = """
<script>
const report = {};
const table = document.querySelector('.sortable');
const names = () => [...table.querySelectorAll('tbody tr')].map(row => row.cells[0].dataset.value);
const heads = table.querySelectorAll('th button');
heads[1].click(); report.ascending = [...table.querySelectorAll('tbody tr')].map(row => +row.cells[1].dataset.value);
heads[1].click(); report.descending = [...table.querySelectorAll('tbody tr')].map(row => +row.cells[1].dataset.value);
heads[0].click(); report.names = names();
const radios = document.querySelectorAll('.chooser input');
radios[1].click();
report.tables = [...document.querySelectorAll('.sortable')].map(element => !element.closest('[data-when]').hidden);
report.checked = [...radios].map(radio => radio.checked);
radios[0].click();
const shots = [...document.querySelectorAll('.scene')[0].querySelectorAll('.shot')].filter(shot => !shot.hidden);
shots[3].querySelector('button').click();
const press = key => viewer.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
report.open = viewer.open;
report.sides = [left.selectedOptions[0].textContent, right.selectedOptions[0].textContent];
report.options = left.options.length;
const split = view.split; press('ArrowLeft'); report.moved = view.split < split;
const zoom = view.zoom; press('+'); report.magnified = view.zoom > zoom;
const [a, b] = [...document.querySelectorAll('.stage img')].map(image => image.style.transform);
report.together = a === b && a !== '';
press('x'); report.swapped = [left.selectedOptions[0].textContent, right.selectedOptions[0].textContent];
press('1'); report.chosen = right.selectedOptions[0].textContent;
press(']'); report.next = view.scene === document.querySelectorAll('.scene')[1];
document.querySelector('[data-act=close]').click(); report.closed = !viewer.open;
const button = document.querySelector('.legend button');
button.click(); report.faded = document.querySelectorAll('.dataset .curve.faded').length;
report.curves = document.querySelectorAll('.dataset .curve').length;
report.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
// The load event, and so the browser's dump, waits for every picture that is not lazy.
for (const image of document.images) image.loading = 'eager';
addEventListener('load', () => {
  report.pictures = [...document.querySelectorAll('.shot img')].map(image => image.naturalWidth);
  document.documentElement.dataset.report = JSON.stringify(report);
});
</script>
"""


def inputs(root: Path) -> Inputs:
    return Inputs(root, VARIANTS, EVALUATION, {"variants": "ab" * 32})


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
    missing = [codec.title for codec in CODECS.values() if codec.name == "avif" or codec.missing()]
    assert f"Not measured here: {' and '.join(missing)}" in page


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
    assert list(rows[0]) == ["dataset", "codec", "setting", "bpp", "psnr", "ms_ssim"]
    assert {"gc", "mse", "jpeg", "webp", "jpeg2000"} <= {row["codec"] for row in rows}
    assert all(float(row["bpp"]) > 0 and float(row["psnr"]) > 0 for row in rows)


def test_a_gallery_over_its_budget_shows_the_first_pictures_and_says_so(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gencomp.evaluation.report.GALLERY_BYTES", 1)
    page = build_report(inputs(repository)).html.decode()
    assert page.count('class="scene"') == 1
    assert "The first 1 of 2 pictures are shown." in page


def test_a_large_gallery_is_embedded_smaller_than_without_loss() -> None:
    import numpy as np
    from skimage import data

    coffee = np.asarray(data.coffee())
    assert len(data_uri(coffee, lossless=False)) < len(data_uri(coffee, lossless=True)) / 2


def test_an_input_that_is_missing_is_named(repository: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(split="test", images=None, entropy="static")
    with pytest.raises(HeldOutError, match="split `test` holds no pictures"):
        build_report(Inputs(repository, VARIANTS, config, {}))
    with pytest.raises(FileNotFoundError, match=r"images\.csv"):
        build_report(inputs(tmp_path))


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_works_in_a_browser_without_an_error(report: Report, tmp_path: Path, width: int) -> None:
    (tmp_path / "index.html").write_bytes(report.html.replace(b"</body>", USE_THE_PAGE.encode() + b"</body>"))
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    address = (tmp_path / "index.html").as_uri()
    done = subprocess.run([*command, address], capture_output=True, text=True, timeout=100)
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r'data-report="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["ascending"] == sorted(seen["ascending"])
    assert seen["descending"] == sorted(seen["descending"], reverse=True)
    assert seen["names"] == sorted(seen["names"], key=str.lower) and len(seen["names"]) >= 5
    assert seen["tables"] == [False, True]
    assert seen["checked"] == [False, True, False, True]
    assert seen["open"] and seen["closed"]
    assert seen["sides"] == ["gc", "JPEG"] and seen["swapped"] == ["JPEG", "gc"] and seen["chosen"] == "Original"
    assert seen["options"] >= 6
    assert seen["moved"] and seen["magnified"] and seen["together"] and seen["next"]
    assert 0 < seen["faded"] < seen["curves"]
    assert not seen["wide"]
    assert len(seen["pictures"]) >= 12 and min(seen["pictures"]) > 100
