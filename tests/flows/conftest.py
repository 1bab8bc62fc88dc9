"""A small real DVC checkout, a Prefect server on loopback, and flows in them."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.environment import QUIET
from flows.server import prefect_server
from tests.flows.checkouts import DVC_YAML, EVALUATE, GITIGNORE, PARAMS, TRAIN, Family, Server, clean_environment, shell


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template") / "checkout"
    root.mkdir()
    shell(root, "git", "init", "-q", "-b", "main")
    shell(root, "dvc", "init", "-q")
    files = {"dvc.yaml": DVC_YAML, "train.sh": TRAIN, "evaluate.sh": EVALUATE, "params.yaml": PARAMS}
    for name, text in (files | {".gitignore": GITIGNORE}).items():
        (root / name).write_text(text)
    shell(root, "git", "add", "-A")
    shell(root, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "start")
    return root


@pytest.fixture
def checkout(template: Path, tmp_path: Path) -> Path:
    """A git and DVC checkout of six targets, nothing reproduced."""
    return Path(shutil.copytree(template, tmp_path / "checkout"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        patch.setenv("PREFECT_HOME", str(home))
        with prefect_server(home) as api:
            yield Server(api, home)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As of `clean_environment`."""
    return clean_environment(tmp_path)


@pytest.fixture
def family(checkout: Path, environment: dict[str, str]) -> Iterator[Family]:
    """Flows without a Prefect server."""
    family = Family(checkout, environment)
    yield family
    family.end()


@pytest.fixture
def served(checkout: Path, environment: dict[str, str], server: Server) -> Iterator[Family]:
    """Flows with the tests' Prefect server."""
    family = Family(checkout, environment | {"PREFECT_API_URL": server.api, "PREFECT_HOME": str(checkout / ".prefect")})
    yield family
    family.end()


@pytest.fixture
def migrated_home(server: Server, checkout: Path) -> Path:
    """The checkout's `.prefect` with a ready database, which a first start would take long to make."""
    home = checkout / ".prefect"
    home.mkdir()
    with sqlite3.connect(server.home / "prefect.db") as source, sqlite3.connect(home / "prefect.db") as target:
        source.backup(target)
    return home
