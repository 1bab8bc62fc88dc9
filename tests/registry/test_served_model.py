"""What a registered model is as MLflow saves it: nothing pickled, everything pinned."""

from pathlib import Path

import pytest

from gencomp.registry.logged_model import pip_requirements, save_model


@pytest.fixture(scope="module")
def saved(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(packages[0], tmp_path_factory.mktemp("saved"))


def test_the_model_pins_what_it_needs_by_releases_and_names_its_columns(saved: Path) -> None:
    requirements = (saved / "requirements.txt").read_text().splitlines()
    assert set(pip_requirements()) <= set(requirements)
    assert not [requirement for requirement in requirements if "+" in requirement]
    assert "python_model.pkl" not in {path.name for path in saved.rglob("*")}
    description = (saved / "MLmodel").read_text()
    assert '"name": "op"' in description and '"name": "data"' in description
