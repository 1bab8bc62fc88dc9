"""What a version holds: an MLflow pyfunc by models-from-code with the package, the code that reads it, and pins."""

import shutil
import tempfile
import warnings
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import gencomp
from gencomp.models.content import PACKAGE_FILES

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REQUIREMENTS = ("constriction", "msgspec", "numpy", "pillow", "safetensors", "torch")
ARTIFACT = "model"
"""The folder of the logged model among the artifacts of its run."""


def log_and_register(
    client: "MlflowClient", name: str, package: Path, run: str, tags: dict[str, str], description: str = ""
) -> "ModelVersion":
    """Upload the model to its run, and make it a new version of the registered model, tags and description included,
    in one step.

    A repetition after an interruption writes the same files again. Runs no model and imports no network library.
    """
    with tempfile.TemporaryDirectory() as scratch:
        saved = save_model(package, Path(scratch))
        client.log_artifacts(run, str(saved), ARTIFACT)
    _create_registered_model(client, name)
    source = f"{client.get_run(run).info.artifact_uri}/{ARTIFACT}"
    return client.create_model_version(name, source, run_id=run, tags=tags, description=description or None)


def save_model(package: Path, scratch: Path) -> Path:
    """The model as a folder in `scratch` that `mlflow.pyfunc.load_model` takes."""
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    copied = scratch / "package"
    copied.mkdir()
    for file in PACKAGE_FILES:
        shutil.copyfile(package / file, copied / file)
    code = scratch / "gencomp"  # without the shipped models, which would make each version larger by all of them
    shutil.copytree(Path(gencomp.__file__).parent, code, ignore=shutil.ignore_patterns("shipped", "__pycache__"))
    data = ColSpec("string", "data")
    saved = scratch / ARTIFACT
    with warnings.catch_warnings(action="ignore"):  # it would like an input example, and run the model on it
        pyfunc.save_model(
            path=str(saved),
            python_model=str(code / "registry" / "served_model.py"),
            artifacts={"package": str(copied)},
            pip_requirements=pip_requirements(),
            code_paths=[str(code)],
            signature=ModelSignature(Schema([ColSpec("string", "op"), data]), Schema([data])),
        )
    return saved


def pip_requirements() -> list[str]:
    """What the served model needs, pinned to what is installed; a local build (`+cpu`) is named by its release."""
    return [f"{name}=={installed(name).partition('+')[0]}" for name in REQUIREMENTS]


def _create_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
