"""The page, in a headless Chromium, and its colours."""

import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import Browser
from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from gencomp.serving.page import page
from tests.serving.browser import browsing
from tests.serving.pictures import scene
from tests.serving.served import PATIENCE, Served

DONE = "!document.body.classList.contains('busy') && !document.querySelector('#result').hidden"
ROWS = """Object.fromEntries([...document.querySelectorAll('#figures div')].map(
    (row) => [row.querySelector('dt').textContent, row.querySelector('dd').firstChild.textContent]))"""
SIZE = "300 \u00d7 200"
BORDER = "parseFloat(document.querySelector('#stage').style.getPropertyValue('--at'))"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser, server: Served) -> Iterator[Browser]:
    """With the page open, which must ask for nothing but its server and complain of nothing."""
    chrome.events.clear()
    chrome.open(server.url, 1200, 900)
    chrome.wait("document.querySelector('#model').textContent !== ''")
    yield chrome
    assert {
        url for url in chrome.requests() if not url.startswith((server.url, f"blob:{server.url}", "data:"))
    } == set()
    assert chrome.complaints() == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    scene(300, 200).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def downloaded(browser: Browser, selector: str, name: str) -> bytes:
    """The file that a link gives."""
    target = browser.downloads / name
    target.unlink(missing_ok=True)
    browser.value(f"document.querySelector('{selector}').click()")
    deadline = time.monotonic() + PATIENCE
    while not target.exists():
        assert time.monotonic() < deadline, list(browser.downloads.iterdir())
        time.sleep(0.05)
    return target.read_bytes()


def test_a_picture_that_is_chosen_is_compressed_shown_and_offered(browser: Browser, codec: Codec, photo: Path) -> None:
    browser.choose("#file", photo)
    browser.wait(DONE)
    expected = codec.compress(scene(300, 200), max_bpp=0.036)
    rows = browser.value(ROWS)
    assert rows["Original file"] == f"{photo.stat().st_size:,} bytes"
    assert rows["Stream"] == f"{len(expected)} bytes"
    assert float(rows["Rate"].removesuffix(" bpp")) == pytest.approx(describe(expected).bpp, rel=0.01)
    assert rows["Channels"] == str(describe(expected).channels)
    assert rows["Size"] == SIZE
    assert re.fullmatch(r"[\d,]+ ms", rows["Encoding"]) and re.fullmatch(r"[\d,]+ ms", rows["Decoding"])
    assert rows["Model"] == codec.package.fingerprint.hex()[:8]
    for picture in ("#before", "#after"):
        assert browser.value(f"document.querySelector('{picture}').naturalWidth") == 300
    assert downloaded(browser, "#stream", "photo.gnc") == expected
    downloaded(browser, "#picture", "photo.png")
    with Image.open(browser.downloads / "photo.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(codec.decompress(expected)))


def test_a_stream_that_is_dropped_is_shown(browser: Browser, codec: Codec, tmp_path: Path) -> None:
    stream = tmp_path / "some.gnc"
    stream.write_bytes(codec.compress(scene(300, 200), channels=2))
    browser.drop("#choose", stream)
    browser.wait(DONE)
    rows = browser.value(ROWS)
    assert (rows["Channels"], rows["Size"], "Original file" in rows) == ("2", SIZE, False)
    shown = browser.value("[...document.querySelectorAll('#before, #after, #slide, #stream')]"
                          ".filter((one) => one.checkVisibility()).map((one) => one.id)")  # fmt: skip
    assert shown == ["after"]


def test_a_picture_that_is_dropped_is_compressed_and_what_is_left_out_of_it_said(
    browser: Browser, codec: Codec, tmp_path: Path
) -> None:
    animation, first = tmp_path / "moving.gif", scene(300, 200).quantize(16)
    first.save(animation, save_all=True, append_images=[Image.new("RGB", (300, 200), "lime")])
    browser.drop("#choose", animation)
    browser.wait(DONE)
    with Image.open(animation) as image:
        expected = codec.compress(image, max_bpp=0.036)
    rows = browser.value(ROWS)
    assert (rows["Original file"], rows["Size"]) == (f"{animation.stat().st_size:,} bytes", SIZE)
    assert rows["Stream"] == f"{len(expected)} bytes"
    shown = browser.value("[...document.querySelectorAll('#before, #after, #slide, #stream')]"
                          ".filter((one) => one.checkVisibility()).map((one) => one.id)")  # fmt: skip
    assert sorted(shown) == ["after", "before", "slide", "stream"]
    assert downloaded(browser, "#stream", "moving.gnc") == expected
    said = browser.value("document.querySelector('#status').textContent")
    assert said.endswith("It has more than one frame: only the first is taken.")


def test_a_photograph_that_is_dropped_is_compressed(browser: Browser, codec: Codec, photo: Path) -> None:
    browser.drop("#choose", photo)
    browser.wait(DONE)
    assert downloaded(browser, "#stream", "photo.gnc") == codec.compress(scene(300, 200), max_bpp=0.036)
    assert browser.value("document.querySelector('#status').textContent") == "Done. Move the border to compare."


def test_the_rate_is_chosen_by_bits_bytes_or_channels(browser: Browser, codec: Codec, photo: Path) -> None:
    browser.choose("#file", photo)
    browser.wait(DONE)
    for kind, amount in (("channels", 2), ("max_bytes", 150), ("max_bpp", 0.5)):
        browser.value(f"document.querySelector('[value={kind}]').click()")
        browser.value(
            f"(() => {{ const amount = document.querySelector('#amount'); amount.value = {amount};"
            "amount.dispatchEvent(new Event('change')); })()"
        )
        browser.wait(DONE)
        expected = describe(codec.compress(scene(300, 200), **{kind: amount}))  # type: ignore[arg-type]
        browser.wait(f"({ROWS})['Stream'] === '{expected.total_bytes:,} bytes'")
        assert browser.value(ROWS)["Channels"] == str(expected.channels)


def test_the_border_moves_by_key_by_mouse_and_by_finger(browser: Browser, server: Served, photo: Path) -> None:
    browser.choose("#file", photo)
    browser.wait(DONE)
    assert browser.value(BORDER) == 50
    browser.value("document.querySelector('#slide').focus()")
    browser.press("ArrowLeft", "ArrowLeft")
    assert 40 <= browser.value(BORDER) < 50
    browser.press("End")
    assert browser.value(BORDER) == 100
    box = browser.box("#stage")
    at = {"x": box["x"] + box["width"] / 4, "y": box["y"] + box["height"] / 2, "button": "left", "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, **at)
    assert browser.value(BORDER) == pytest.approx(25, abs=1)
    clip = browser.value("getComputedStyle(document.querySelector('#after')).clipPath")
    assert float(re.findall(r"[\d.]+(?=%)", clip)[-1]) == pytest.approx(25, abs=1)
    said = browser.value("document.querySelector('#slide').getAttribute('aria-valuetext')")
    assert said == "25 % original"

    browser.open(server.url, 390, 844, touch=True)
    browser.choose("#file", photo)
    browser.wait(DONE)
    box = browser.box("#stage")
    y = box["y"] + box["height"] / 2
    browser.swipe([(box["x"] + box["width"] * part, y) for part in (0.5, 0.55, 0.65, 0.75)])
    browser.wait(f"Math.abs({BORDER} - 75) < 2")


def test_what_is_refused_is_said(browser: Browser, tmp_path: Path, photo: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    browser.choose("#file", tmp_path / "note.png")
    browser.wait("!document.querySelector('#error').hidden")
    said = browser.value("document.querySelector('#error').textContent")
    assert said.startswith("Not a picture of a kind that is read: PNG, JPEG") and said.endswith(".")
    browser.choose("#file", photo)
    browser.wait(DONE)
    assert browser.value("document.querySelector('#error').hidden")


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_is_readable_at_any_width(browser: Browser, server: Served, photo: Path, width: int) -> None:
    browser.open(server.url, width, 844, touch=width < 800)
    browser.choose("#file", photo)
    browser.wait(DONE)
    assert browser.value("document.documentElement.scrollWidth") <= width
    boxes = browser.value("[...document.querySelectorAll('.kinds label, #amount, .take a, #choose')]"
                          ".map((one) => one.getBoundingClientRect().toJSON())")  # fmt: skip
    assert all(box["height"] >= 36 and box["left"] >= 0 and box["right"] <= width for box in boxes)
    smallest = browser.value(
        "Math.min(...[...document.querySelectorAll('main *')].filter((one) => one.checkVisibility())"
        ".map((one) => parseFloat(getComputedStyle(one).fontSize)))"
    )
    assert smallest >= 12


def test_everything_that_can_be_used_has_a_name(browser: Browser, photo: Path) -> None:
    browser.choose("#file", photo)
    browser.wait(DONE)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    found = {
        (node["role"]["value"], node["name"]["value"])
        for node in nodes
        if not node["ignored"]
        and node.get("role", {}).get("value") in ("button", "link", "radio", "slider", "spinbutton")
    }
    assert all(name for _, name in found)
    assert {
        ("radio", "bits/pixel"),
        ("radio", "bytes"),
        ("radio", "channels"),
        ("spinbutton", "The most that the stream may take"),
        ("slider", "Border between the original, left, and the reconstruction"),
        ("link", "Download .gnc"),
        ("link", "Download reconstruction"),
        ("button", "A picture to compress, or a .gnc stream to see"),
    } <= found


def test_all_of_it_is_reached_by_the_tab_key(browser: Browser, photo: Path) -> None:
    browser.choose("#file", photo)
    browser.wait(DONE)
    browser.value("document.activeElement.blur()")
    reached = []
    for _ in range(6):
        browser.press("Tab")
        reached.append(browser.value("document.activeElement.id || document.activeElement.value"))
    assert reached == ["file", "amount", "max_bpp", "slide", "stream", "picture"]


def test_only_what_is_in_the_page_may_run(server: Served) -> None:
    answer = server.ask("/")
    assert answer.headers["Content-Security-Policy"] == page().policy
    assert "default-src 'none'" in page().policy and "unsafe" not in page().policy
    assert answer.body.decode() == page().html
    assert re.findall(r"(?:src|href)=\"(?!data:,)[^\"]", page().html) == []


def test_text_stands_out_from_its_ground_in_light_and_dark() -> None:
    palettes = re.findall(r":root \{(.*?)\}", page().html, re.DOTALL)
    assert len(palettes) == 2
    for palette in palettes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", palette))
        for text, ground in (
            *(("ink", "back"), ("ink", "card"), ("soft", "back"), ("soft", "card")),
            *(("accent", "card"), ("accent", "back"), ("on-accent", "accent"), ("wrong", "wrong-back")),
        ):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        assert min(contrast(colours["edge"], colours[ground]) for ground in ("back", "card")) >= 3


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of #rrggbb."""
    parts = (int(colour[a:b], 16) / 255 for a, b in pairwise((1, 3, 5, 7)))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
