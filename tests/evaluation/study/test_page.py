"""The page, in a headless Chromium, answered by raters whose preferences are known."""

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.browser import Browser, chromium
from gencomp.evaluation.study.analysis import analyse
from gencomp.evaluation.study.ballots import Ballot, read_ballots
from gencomp.evaluation.study.plan import Study
from tests.evaluation.study.served import Participant, Rater, StudyServer
from tests.serving.browser import browsing
from tests.serving.served import PATIENCE

READY = (
    "document.querySelector('#trial')?.hidden === false && document.querySelector('#choose-left')?.disabled === false"
)
PLACE = "document.querySelector('#place')?.textContent"
END = "!document.querySelector('#end').hidden"
CODES = {"ArrowLeft": 37, "ArrowRight": 39, "1": 49, "2": 50, "o": 79}


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(chrome: Browser, server: StudyServer) -> Iterator[Browser]:
    """It must ask for nothing but the study's server, and complain of nothing."""
    chrome.open("about:blank", 1200, 800)  # what was open asks for a server that is gone
    chrome.events.clear()
    yield chrome
    assert {url for url in chrome.requests() if not url.startswith((server.url, "data:", "about:"))} == set()
    assert chrome.complaints() == []


def begin(browser: Browser, server: StudyServer, width: int = 1200, height: int = 800, *, touch: bool = False) -> str:
    """Agree and begin; the participant's token."""
    browser.open(server.url, width, height, touch=touch)
    browser.value("localStorage.clear()")
    browser.open(f"{server.url}?{time.monotonic_ns()}", width, height, touch=touch)
    browser.wait("!document.querySelector('#welcome').hidden")
    assert browser.value("document.querySelector('#begin').disabled")
    browser.value("document.querySelector('#agree').click()")
    browser.value("document.querySelector('#begin').click()")
    browser.wait(READY if width > 500 else "!document.querySelector('#trial').hidden && now.since")
    return str(browser.value("location.hash")).removeprefix("#")


def press(browser: Browser, key: str) -> None:
    text = {"text": key} if len(key) == 1 else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=CODES[key], **text)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=CODES[key])


def tap(browser: Browser, selector: str) -> None:
    x, y = browser.middle(selector)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)


def answered(browser: Browser, count: int) -> None:
    browser.wait(f"session.answered.length === {count} && (({END}) || now.at === {count} && now.since)")


def votes(server: StudyServer, folder: Path) -> list[Ballot]:
    return read_ballots(folder, server.database)


def screen(browser: Browser, area: tuple[float, float, int, int], scale: float) -> np.ndarray:
    """Pixels of the screen (H, W, 3) at (left, top, width, height): CSS pixels, and pixels of the screen."""
    browser.call("Page.bringToFront")
    shot = browser.call("Page.captureScreenshot", format="png")

    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    left, top = round(area[0] * scale), round(area[1] * scale)
    return pixels[top : top + area[3], left : left + area[2]]


def test_raters_with_keys_are_recovered_within_their_intervals(
    browser: Browser, server: StudyServer, study: Study, study_folder: Path
) -> None:
    for number in range(4):
        rater = Rater(crossing=2.0, slope=1.5, seed=36 + number)
        begin(browser, server)
        for at, trial in enumerate(study.schedules[number]):
            left = rater.choice(study, trial) == "left"
            browser.wait(READY)
            assert browser.value(PLACE) == f"{at + 1} of {len(study.schedules[number])}"
            press(browser, ("1" if at % 2 else "ArrowLeft") if left else ("2" if at % 2 else "ArrowRight"))
            answered(browser, at + 1)
        browser.wait(END)
    cast = votes(server, study_folder)
    assert len(cast) == 4 * 14
    assert browser.value("document.querySelector('#code').textContent") == cast[-1].participant
    assert all(one.layout == "three" and one.pixel_ratio == 1 and one.view_width == 1200 for one in cast)
    assert all(250 <= one.client_ms <= one.server_ms + 5 for one in cast)
    results = analyse(cast, 0.8, 0)
    assert [one.counted for one in results.participants] == [True] * 4
    for one in results.preferences:
        assert one.preferred.low <= rater.probability(one.ratio or 0) <= one.preferred.high
    (crossing,) = results.crossings
    assert (crossing.low or 0) <= 2.0 <= (crossing.high or np.inf)


@pytest.mark.parametrize("scale", [1.0, 1.25, 2.0])
def test_a_pixel_of_a_picture_is_a_pixel_of_the_screen(
    server: StudyServer, study: Study, study_folder: Path, tmp_path: Path, scale: float
) -> None:
    """In a browser of that density: where it is only emulated, Chromium paints on whole CSS pixels."""
    command = chromium()
    if command is None:
        pytest.skip("no Chromium is on the path; GENCOMP_CHROMIUM may name one")
    dense = tmp_path / "chromium"
    dense.write_text(f'#!/bin/sh\nexec {command} --force-device-scale-factor={scale} --window-size=1003,800 "$@"\n')
    dense.chmod(0o755)
    with closing(Browser(str(dense), tmp_path / "browser")) as browser:
        browser.call("Page.navigate", url=server.url)
        browser.wait("document.readyState === 'complete' && !document.querySelector('#welcome').hidden")
        browser.value("document.querySelector('#agree').click(), document.querySelector('#begin').click()")
        browser.wait(f"devicePixelRatio === {scale} && {READY}")
        trial = study.schedules[0][0]
        for name, hash in zip(("left", "right", "original"), study.pictures(trial), strict=True):
            box = browser.box(f"#{name}")
            with Image.open(study_folder / "pictures" / f"{hash}.png") as image:
                expected = np.asarray(image)
            area = (box["x"], box["y"], expected.shape[1], expected.shape[0])
            assert np.array_equal(screen(browser, area, scale), expected), name
        assert browser.value("document.querySelector('#note').hidden")


def test_where_there_is_room_for_two_the_original_is_a_key_or_a_button_away(
    browser: Browser, server: StudyServer, study: Study, study_folder: Path
) -> None:
    begin(browser, server, 330, 700)
    browser.wait(READY)
    trial = study.schedules[0][0]
    left, right, original = (
        np.asarray(Image.open(study_folder / "pictures" / f"{hash}.png")) for hash in study.pictures(trial)
    )

    def seen(name: str) -> np.ndarray:
        box = browser.box(f"#{name}")
        return screen(browser, (box["x"], box["y"], left.shape[1], left.shape[0]), 1)

    assert browser.value("now.layout") == "two"
    assert np.array_equal(seen("left"), left) and np.array_equal(seen("right"), right)
    press(browser, "o")
    assert np.array_equal(seen("left"), original) and np.array_equal(seen("right"), original)
    press(browser, "o")
    assert np.array_equal(seen("left"), left)
    for _ in range(2):
        browser.value("document.querySelector('[data-look=original]').click()")
    press(browser, "2")
    answered(browser, 1)
    (one,) = votes(server, study_folder)
    assert (one.looks, one.layout, one.choice) == (2, "two", "right")


def test_a_phone_shows_one_at_a_time_and_both_before_it_takes_an_answer(
    browser: Browser, server: StudyServer, study: Study, study_folder: Path
) -> None:
    begin(browser, server, 200, 420, touch=True)
    time.sleep(0.3)
    assert browser.value("now.layout") == "one"
    assert browser.value("document.querySelector('#choose-left').disabled")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert "one after the other" in browser.value("document.querySelector('#note').textContent")
    tap(browser, "#stage")
    assert browser.value("now.look") == "right"
    tap(browser, "[data-look=original]")
    browser.wait("now.look === 'original'")
    browser.wait(READY)
    tap(browser, "#choose-right")
    answered(browser, 1)
    assert [(one.choice, one.looks, one.layout) for one in votes(server, study_folder)] == [("right", 1, "one")]


def test_one_press_is_one_vote_and_going_back_changes_none(
    browser: Browser, server: StudyServer, study_folder: Path
) -> None:
    token = begin(browser, server)
    for _ in range(3):
        browser.value("document.querySelector('#choose-left').click()")
    press(browser, "2")
    answered(browser, 1)
    browser.wait(READY)
    press(browser, "2")
    answered(browser, 2)
    browser.value("history.back()")
    time.sleep(0.3)
    browser.open(f"{server.url}#{token}", 1200, 800)
    browser.call("Page.reload")
    browser.wait(f"{READY} && {PLACE} === '3 of 14'")
    assert [one.choice for one in votes(server, study_folder)] == ["left", "right"]


def test_the_address_and_the_browser_both_lead_back(browser: Browser, server: StudyServer, study_folder: Path) -> None:
    token = begin(browser, server)
    press(browser, "1")
    answered(browser, 1)
    browser.open(f"{server.url}?again", 1200, 800)
    browser.wait("!document.querySelector('#again').hidden")
    assert "1 of 14" in browser.value("document.querySelector('#so-far').textContent")
    browser.value("document.querySelector('#go-on').click()")
    browser.wait(f"{READY} && {PLACE} === '2 of 14'")
    assert browser.value("location.hash") == f"#{token}"
    browser.open(f"{server.url}?else", 1200, 800)
    browser.wait("!document.querySelector('#again').hidden")
    browser.value("document.querySelector('#anew').click()")
    assert browser.value("!document.querySelector('#welcome').hidden && !document.querySelector('#agree').checked")
    browser.open(f"{server.url}?foreign#{'x' * 22}", 1200, 800)
    browser.wait("!document.querySelector('#error').hidden")
    assert "not of this study" in browser.value("document.querySelector('#error').textContent")


def test_a_second_window_goes_on_where_the_first_is(browser: Browser, server: StudyServer, study_folder: Path) -> None:

    token = begin(browser, server)
    elsewhere = Participant(server, token)
    for trial in (0, 1, 2):
        elsewhere.vote(trial, "right")
    press(browser, "1")
    browser.wait(f"{READY} && {PLACE} === '4 of 14'")
    assert [one.choice for one in votes(server, study_folder)] == ["right"] * 3
    elsewhere.close()


def test_a_server_that_goes_and_comes_back_loses_no_answer(
    browser: Browser, server: StudyServer, serve: Callable[..., StudyServer], study_folder: Path
) -> None:
    begin(browser, server)
    port = server.address[1]
    assert server.stop() == 0
    press(browser, "2")
    browser.wait("!document.querySelector('#error').hidden")
    assert "nothing is lost" in browser.value("document.querySelector('#error').textContent")
    again = StudyServer(study_folder, server.database, "--port", port)
    try:
        answered(browser, 1)
        assert browser.value("document.querySelector('#error').hidden")
        assert "1 participants and 0 votes so far" in again.announced
        assert [one.choice for one in votes(server, study_folder)] == ["right"]
    finally:
        again.close()


def test_the_next_pairs_are_there_before_they_are_due(browser: Browser, server: StudyServer, study: Study) -> None:
    begin(browser, server)
    due = {f"{server.url}pictures/{hash}.png" for trial in study.schedules[0][:3] for hash in study.pictures(trial)}
    deadline = time.monotonic() + PATIENCE
    while not due <= set(browser.requests()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    later = {f"{server.url}pictures/{hash}.png" for hash in study.pictures(study.schedules[0][5])}
    assert not later <= set(browser.requests())


def test_what_is_read_by_machine_names_every_part(browser: Browser, server: StudyServer) -> None:
    begin(browser, server)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node["name"]["value"]) for node in nodes if node.get("name", {}).get("value")]
    assert {("image", "The left copy"), ("image", "The original"), ("image", "The right copy")} <= set(found)
    assert ("button", "Left is better 1") in found and ("button", "Right is better 2") in found
    assert json.dumps(found).count("ours") == 0
