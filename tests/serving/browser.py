"""A headless Chromium for tests."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from benchmarks.browser import Browser, chromium


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its files in `folder`; the test is skipped where there is none."""
    command = chromium()
    if command is None:
        pytest.skip("no Chromium is on the path; GENCOMP_CHROMIUM may name one")
    with closing(Browser(command, folder)) as browser:
        yield browser
