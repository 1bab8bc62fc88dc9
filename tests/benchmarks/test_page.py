"""A page of two dozen pictures of Kodak's size: small enough, soon there, and usable by keys alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.browser import Browser
from benchmarks.page import OPEN, PICTURES, SIZE, build, opened
from gencomp.evaluation.held_out import HeldOutImage
from tests.evaluation.conftest import photograph
from tests.serving.browser import browsing


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs and their mirror images, again and again."""
    wide = [photograph(name, 768, 512) for name in ("chelsea", "coffee")]
    pictures = [*wide, *(np.ascontiguousarray(picture[:, ::-1]) for picture in wide)]
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_bytes(build([HeldOutImage(f"p{n:02}", pictures[n % len(pictures)]) for n in range(PICTURES)]))
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


def test_all_pictures_are_on_it_within_its_megabytes(page: Path) -> None:
    assert SIZE.met_by(page.stat().st_size / 1e6)
    assert page.read_text().count('class="scene"') == PICTURES


@pytest.mark.parametrize("width", [1280, 390])
def test_two_pictures_are_compared_before_its_thread_has_worked_for_two_seconds(
    page: Path, browser: Browser, width: int
) -> None:
    tries = [opened(browser, page.as_uri(), width, 844) for _ in range(2)]
    assert OPEN.met_by(min(one.thread for one in tries)), tries


def test_keys_alone_reach_a_comparison_and_leave_it(page: Path, browser: Browser) -> None:
    browser.open(page.as_uri(), 1280, 900)
    browser.value("document.querySelector('.order select[data-act=which]').focus()")
    browser.press("Tab")
    assert browser.value("document.activeElement.closest('.shot') !== null")
    browser.press("Enter")
    browser.wait("viewer.open && document.activeElement.getAttribute('role') === 'slider'")
    browser.press("ArrowRight", "]")
    assert browser.value("[view.split, view.scene === document.querySelectorAll('.scene')[1]]") == [0.52, True]
    browser.press("Escape")
    browser.wait("!viewer.open")
    assert browser.value("document.activeElement.closest('.shot') !== null")
