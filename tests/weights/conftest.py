"""A package index, for tests to put packages on."""

from collections.abc import Iterator

import pytest

from tests.weights.index import Index, serving


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as found:
        yield found
