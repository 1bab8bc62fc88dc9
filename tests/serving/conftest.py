"""The servers that tests ask."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gencomp.codec.codec import Codec
from tests.serving.served import NESTED, Served


@pytest.fixture(scope="session")
def codec() -> Codec:
    """What the servers compress with."""
    return Codec.from_reference(NESTED)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts servers, which end with the module."""
    started: list[Served] = []

    def start(*options: object, model: Path | str = NESTED) -> Served:
        started.append(Served(tmp_path_factory.mktemp("served"), *options, model=model))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture(scope="module")
def server(serve: Callable[..., Served]) -> Served:
    """Bodies of up to 300 kB, pictures of up to 1024 x 1024."""
    return serve("--max-body", 300_000, "--max-pixels", 1 << 20)
