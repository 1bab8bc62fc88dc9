"""The page in a headless Chromium: drawn, sorted, compared, by mouse, keyboard and finger, and nothing asked for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import Browser
from gencomp.evaluation.entry import Entry
from gencomp.evaluation.gallery import Source, candidates, gather
from gencomp.evaluation.held_out import HeldOutImage, HeldOutSample
from gencomp.evaluation.page import Fact, Page, PictureSet, SetPart, make_part, render
from gencomp.evaluation.published import published
from gencomp.evaluation.rates import RateRow
from gencomp.evaluation.report import Inputs, build_report
from tests.evaluation.conftest import EVALUATION, VARIANTS
from tests.serving.browser import browsing

SIZES = [(1280, 900), (375, 800)]


@pytest.fixture(scope="module")
def address(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    report = build_report(Inputs(repository, VARIANTS, EVALUATION, [Fact("params, variants", "ab" * 32)]))
    page = tmp_path_factory.mktemp("page") / "index.html"
    page.write_bytes(report.html)
    return page.as_uri()


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]} wide")
def browser(chrome: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Browser]:
    """With the page open at a size, which must ask for nothing but itself and complain of nothing."""
    width, height = request.param
    chrome.events.clear()
    chrome.call("Page.navigate", url="about:blank")
    chrome.open(address, width, height, touch=width < 500)
    yield chrome
    assert {url for url in chrome.requests() if not url.startswith(("data:", "about:"))} == {address}
    assert chrome.complaints() == []


def focus(browser: Browser, selector: str) -> None:
    browser.value(f"document.querySelector({selector!r}).focus()")


def test_it_is_no_wider_than_the_window_and_every_picture_can_be_shown(browser: Browser) -> None:
    assert browser.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    browser.value("for (const image of document.images) image.loading = 'eager'")
    browser.wait("[...document.querySelectorAll('.shot img')].every(image => image.naturalWidth > 100)")
    assert browser.value("document.querySelectorAll('.shot img').length") >= 12


def test_curves_are_drawn_within_the_axes_for_every_metric(browser: Browser) -> None:
    for metric in ("psnr", "ms_ssim"):
        outside = browser.value(f"""(() => {{
            const select = document.querySelector('[data-act=metric]'), svg = document.querySelector('.rates svg');
            select.value = '{metric}'; select.dispatchEvent(new Event('change'));
            const [, , width, height] = svg.getAttribute('viewBox').split(' ');
            const within = d => d.x > 40 && d.x < width && d.y > 0 && d.y < height;
            return [svg.dots.length, svg.dots.filter(d => !within(d)).length]; }})()""")
        assert outside[0] >= 8 and outside[1] == 0


def test_a_metric_that_is_better_lower_or_higher_says_so(browser: Browser) -> None:
    assert "higher is better" in browser.value("document.querySelector('.rates svg').textContent")


def test_a_curve_that_is_hidden_frees_its_place(browser: Browser) -> None:
    count = "document.querySelectorAll('.rates svg')[0].dots.length"
    before = browser.value(count)
    browser.value("document.querySelector('.legend button[data-name=jpeg2000]').click()")
    assert browser.value(count) < before
    assert browser.value("document.querySelector('.legend button[data-name=jpeg2000]').ariaPressed") == "false"
    browser.value("document.querySelector('.legend button[data-name=jpeg2000]').click()")
    assert browser.value(count) == before


def test_arrow_keys_go_from_point_to_point_and_say_what_it_is(browser: Browser) -> None:
    focus(browser, ".rates svg")
    browser.press("ArrowRight")
    first = browser.value("document.querySelector('#tip').textContent")
    browser.press("ArrowRight")
    second = browser.value("document.querySelector('#tip').textContent")
    assert "bpp, " in first and "bpp, " in second and first != second
    browser.press("ArrowLeft")
    assert browser.value("document.querySelector('#tip').textContent") == first
    browser.press("Tab")
    assert browser.value("document.querySelector('#tip').hidden")


def test_tables_are_sorted_both_ways_and_missing_values_stay_last(browser: Browser) -> None:
    rows = "document.querySelector('.scroll[data-when] .sortable')"
    click = f"{rows}.querySelectorAll('th button')[{{}}].click()"
    column = f"[...{rows}.querySelectorAll('tbody tr')].map(row => row.cells[{{}}].dataset.value)"
    for index, first_down in ((1, False), (4, True)):
        browser.value(click.format(index))
        found = [float(value) for value in browser.value(column.format(index))]
        assert found == sorted(found, reverse=first_down)
        browser.value(click.format(index))
        assert [float(value) for value in browser.value(column.format(index))] == sorted(found, reverse=not first_down)
    browser.value(f"{rows}.querySelectorAll('tbody tr')[0].cells[1].dataset.value = ''")
    for _ in range(2):
        browser.value(click.format(1))
        assert browser.value(column.format(1))[-1] == ""


def test_choosing_a_model_shows_what_stands_at_its_bytes(browser: Browser) -> None:
    browser.value("document.querySelector('input[value=mse]').click()")
    hidden = browser.value("[...document.querySelectorAll('.scroll[data-when]')].map(one => one.hidden)")
    assert hidden == [True, False]
    assert browser.value("[...document.querySelectorAll('.chooser input')].map(one => one.checked)") == [
        *(False, True),
        *(False, True),
    ]


def test_the_worst_pictures_come_first_by_any_metric(browser: Browser) -> None:
    order = "[...document.querySelectorAll('.scene')].map(one => JSON.parse(one.dataset.values).gc.psnr)"
    found = []
    for which in ("worst", "best"):
        browser.value(f"""(() => {{
            const [which, by] = ['which', 'by'].map(act => document.querySelector(`[data-act=${{act}}]`));
            which.value = '{which}'; by.value = 'psnr';
            which.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()""")
        found.append(browser.value(order))
    assert found == [sorted(found[0]), sorted(found[0], reverse=True)]


def test_two_pictures_are_compared_with_one_zoom_and_their_bytes(browser: Browser) -> None:
    browser.value("document.querySelectorAll('.scene .shot:not([hidden]) button')[3].click()")
    browser.wait("viewer.open && document.activeElement.getAttribute('role') === 'slider'")
    assert browser.value("[left, right].map(one => one.selectedOptions[0].textContent)") == ["gc", "JPEG"]
    tags = browser.value("[...document.querySelectorAll('.tag')].map(one => one.textContent)")
    assert all("bytes" in tag for tag in tags) and tags[0].startswith("gc") and tags[1].startswith("JPEG")
    split = "Number(document.querySelector('.divider').ariaValueNow)"
    assert browser.value(split) == 50
    browser.press("ArrowRight", "ArrowRight")
    assert browser.value(split) == 54
    browser.press("ArrowLeft")
    assert browser.value(split) == 52
    browser.press("Home")
    assert browser.value(split) == 0
    zoom = browser.value("view.zoom")
    browser.value("document.querySelector('[data-act=in]').click()")
    assert browser.value("view.zoom") > zoom
    a, b = browser.value("[...document.querySelectorAll('.stage img')].map(image => image.style.transform)")
    assert a == b != ""
    browser.value("document.querySelector('[data-act=next]').click()")
    assert browser.value("view.scene === document.querySelectorAll('.scene')[1]")
    browser.value("document.querySelector('[data-act=close]').click()")
    assert not browser.value("viewer.open")


def test_a_drag_moves_the_divider_and_a_magnified_picture(browser: Browser) -> None:
    browser.value("document.querySelectorAll('.scene .shot:not([hidden]) button')[3].click()")
    browser.wait("viewer.open")
    x, y = browser.middle(".divider")
    touch = browser.value("innerWidth") < 500

    def drag(by: float) -> None:
        if touch:
            browser.swipe([(x, y), (x + by / 2, y), (x + by, y)])
            return
        for kind, at in (("mousePressed", x), ("mouseMoved", x + by), ("mouseReleased", x + by)):
            browser.call("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", clickCount=1, buttons=1)

    drag(80)
    assert browser.value("view.split") == pytest.approx(0.5 + 80 / browser.value("innerWidth"), abs=0.01)
    browser.value("magnify(6); view.split = 1; draw()")
    before = browser.value("view.x")
    drag(-60)
    assert browser.value("view.x") == pytest.approx(before - 60, abs=2)


def test_what_can_be_used_has_a_name_and_shows_its_focus(browser: Browser) -> None:
    named = """[...document.querySelectorAll('button, select, input, [tabindex="0"]')].filter(one => one.offsetParent &&
        !(one.ariaLabel || one.textContent.trim() || one.labels?.length)).map(one => one.outerHTML)"""
    assert browser.value(named) == []
    focus(browser, ".sortable th button")
    browser.press("Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert browser.value(outline) == "solid"


KEYS = [f"kodim{number:02}" for number in range(24)]
RATES = [f"gc {number}" for number in range(4)]


def lpips(number: int, step: float) -> float:
    """Of a picture, at a model's rate or at what a codec needs as many bytes for."""
    return 0.6 - 0.1 * step + number * 7 % 24 / 240


def made(number: int, codec: str, setting: str, step: float, size: int) -> RateRow:
    psnr = 20 + step + number / 24
    return RateRow(KEYS[number], codec, setting, 96, 64, size, None, None, psnr, None, lpips(number, step))


def crowded(*, public: bool) -> SetPart:
    """As many pictures as Kodak's, of which 20 find room: a model at four rates, BPG that needs twice its bytes for the
    same LPIPS, and JPEG that needs ten times as many."""
    numbers = range(len(KEYS))
    entries = [
        Entry(name, "gc", "model-0", name, {KEYS[n]: made(n, "gc", name, step, 100 * 2**step) for n in numbers})
        for step, name in enumerate(RATES)
    ]
    anchors = [
        made(n, codec, str(step), step, int(factor * 100 * 2**step))
        for codec, factor in (("bpg", 2), ("jpeg", 10))
        for step in range(-1, 5)
        for n in numbers
    ]
    dull = np.random.default_rng(1).integers(0, 32, (64, 96, 3), np.uint8)
    pictures = PictureSet("CLIC2020-test", entries, anchors, public=public)

    def found(budget: int) -> SetPart:
        samples = [HeldOutSample(HeldOutImage(key, dull)) for key in KEYS]
        source = Source(samples, lambda *_: dull, lambda _: dull)
        return make_part(pictures, *gather([candidates(entries, anchors, source, pictures.primary, budget)], budget))

    (one,) = found(1).scenes
    return found(20 * one.embedded + 1)


@pytest.fixture(scope="module")
def crowded_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("crowded") / "index.html"
    page.write_bytes(render(Page("gc", ["A sentence."], [crowded(public=True)], [])))
    return page


@pytest.fixture
def full(chrome: Browser, crowded_page: Path) -> Iterator[Browser]:
    """With the crowded page open."""
    chrome.events.clear()
    chrome.call("Page.navigate", url="about:blank")
    chrome.open(crowded_page.as_uri(), 1280, 900)
    yield chrome
    assert chrome.complaints() == []


def test_the_ten_worst_and_the_ten_best_are_those_of_all_or_say_of_how_many(full: Browser) -> None:
    options = full.value("[...document.querySelectorAll('[data-act=which] option')].map(one => one.textContent)")
    assert options == ["all 20 shown", "the worst ten of the 20 shown", "the best ten of the 20 shown"]
    note = "20 of 24 pictures are shown, the worst and the best of gc 0 by LPIPS first. In the tables alone: JPEG."
    assert note in full.value("document.body.textContent")
    by_lpips = [KEYS[number] for number in sorted(range(24), key=lambda number: -lpips(number, 0))]
    kept = {*by_lpips[:10], *by_lpips[-10:]}
    for metric, order in (("lpips_alex", by_lpips), ("psnr", [key for key in KEYS if key in kept])):
        for which, expected in (("worst", order[:10]), ("best", order[:-11:-1])):
            found = full.value(f"""(() => {{
                const [which, by] = ['which', 'by'].map(act => document.querySelector(`[data-act=${{act}}]`));
                which.value = '{which}'; by.value = '{metric}';
                which.dispatchEvent(new Event('change', {{ bubbles: true }}));
                return [...document.querySelectorAll('.scene')].filter(one => !one.hidden).map(one => one.dataset.key);
            }})()""")
            assert found == expected, (metric, which)


def test_what_codecs_need_for_a_models_lpips_is_a_table_and_arrows(full: Browser) -> None:
    cells = full.value("""[...document.querySelectorAll('[aria-label="Bytes for the same LPIPS"] tbody tr')].map(
        row => [row.cells[0].textContent, row.cells[4].firstChild.textContent])""")
    expected = {"BPG": "2.00", "JPEG": "10.00"}
    assert sorted(cells) == sorted(
        [f"{codec} for {rate}", times] for codec, times in expected.items() for rate in RATES
    )
    arrows = "[...document.querySelectorAll('.rates svg')].map(one => one.querySelectorAll('path.arrow').length)"
    assert full.value(arrows) == [0, 8]  # of PSNR none, of LPIPS one for each line
    ends = full.value("""[...document.querySelectorAll('.rates svg')[1].querySelectorAll('path.arrow')].map(
        one => one.getAttribute('d').match(/^M([0-9.]+) [0-9.]+H([0-9.]+)/).slice(1).map(Number))""")
    assert len(ends) == 8 and all(start < end for start, end in ends)
    said = full.value("document.querySelectorAll('.rates svg')[1].dots.map(dot => dot.title)")
    assert "BPG needs 2.00 times the bytes of gc 0 for its LPIPS" in said
    full.value("document.querySelector('.legend button[data-name=arrows]').click()")
    assert full.value(arrows) == [0, 0]
    full.value("document.querySelector('.legend button[data-name=arrows]').click()")


def test_published_figures_are_faint_crosses_and_enter_no_number(full: Browser) -> None:
    drawn = """[...document.querySelectorAll('.rates svg')[1].querySelectorAll('path.published')].map(
        one => [one.classList.contains('here'), +getComputedStyle(one).opacity])"""
    found = full.value(drawn)
    rows = [row for row in published() if row.lpips_alex is not None]
    assert sorted(here for here, _ in found) == sorted(row.dataset == "clic2020-test" for row in rows)
    assert all(opacity < 1 for _, opacity in found) and all(opacity < 0.6 for here, opacity in found if not here)
    curves = "document.querySelectorAll('.curve path.published, .curve [data-name=published]').length"
    assert full.value(curves) == 0
    full.value("document.querySelector('.legend button[data-name=published]').click()")
    assert full.value(drawn) == []
    full.value("document.querySelector('.legend button[data-name=published]').click()")
    shown, alone = crowded(public=True), crowded(public=False)
    assert shown.chart["published"] and not alone.chart["published"]
    assert len(shown.curves) == 2 and shown.curves == alone.curves  # bytes for the same LPIPS, BD-rates
    assert [shown.chart[name] for name in ("curves", "arrows")] == [alone.chart[name] for name in ("curves", "arrows")]
    assert [item.table for item in shown.entries] == [item.table for item in alone.entries]
