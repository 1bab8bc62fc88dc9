"""Versions of registered models: found by content or by the fingerprint in a stream, listed and pulled."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gencomp.models.content import PACKAGE_FILES, content_hash
from gencomp.registry.store import (
    PACKAGE_TAG,
    RegistryError,
    client_class,
    connect,
    reason,
    shown,
    sqlite_file,
    store_uri,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

SCHEME = "models:/"
CHAMPION = "champion"
FINGERPRINT_TAG = "gencomp.fingerprint"
"""Tag of a version: the head of its model's fingerprint, 8 hex digits, as its streams carry it."""
PACKAGE_ARTIFACT = "artifacts/package"
"""Where the package lies in a logged model."""


class RegisteredVersion(NamedTuple):
    """One version of a registered model."""

    name: str
    version: str
    package: str
    """Content hash; empty for a version that something else registered."""
    aliases: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The model reference that names it, by alias where it has one."""
        alias = CHAMPION if CHAMPION in self.aliases else next(iter(self.aliases), None)
        return f"{SCHEME}{self.name}@{alias}" if alias else f"{SCHEME}{self.name}/{self.version}"


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into RegistryError, one line that names the store."""
    client_class()
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise RegistryError(f"{shown(uri)}: {reason(error)}") from None


def versions(uri: str | None = None) -> list[RegisteredVersion]:
    """All versions of all registered models, by name and number. Raises RegistryError."""
    uri = uri or store_uri()
    with store_errors(uri):
        client = reader(uri)
        models = {model.name: model.aliases for model in client.search_registered_models(max_results=1000)}
        found = [version for name in sorted(models) for version in client.search_model_versions(f"name = '{name}'")]
    return [
        RegisteredVersion(
            version.name,
            str(version.version),
            version.tags.get(PACKAGE_TAG, ""),
            tuple(sorted(alias for alias, to in models[version.name].items() if str(to) == str(version.version))),
        )
        for version in sorted(found, key=lambda version: (version.name, int(version.version)))
    ]


def pull(ref: str, folder: Path, uri: str | None = None) -> Path:
    """Download the package of `models:/name@alias` or `models:/name/version` to the new folder, whole or not at all.

    Its bytes are checked against the content hash of the version. Raises RegistryError.
    """
    uri = uri or store_uri()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RegistryError(f"{folder} exists: name a new folder")
    with store_errors(uri):
        client = reader(uri)
        version = find_reference(client, ref, uri)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".pull-") as scratch:
            package = _download(client, version, Path(scratch), uri)
            _check_content(package, version, ref)
            os.replace(package, folder)
    return folder


def find_version(client: "MlflowClient", name: str, content: str) -> "ModelVersion | None":
    """The oldest version of a registered model with this package."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{PACKAGE_TAG}` = '{content}'")
    return min(found, key=lambda version: int(version.version), default=None)


def made_by(fingerprint: bytes, uri: str | None = None) -> str | None:
    """The reference `models:/name/version` of the oldest version whose streams carry this fingerprint, if there is one.

    Versions keep it whatever alias they carry, so streams of former champions are readable. Raises RegistryError.
    """
    uri = uri or store_uri()
    with store_errors(uri):
        found = reader(uri).search_model_versions(f"tags.`{FINGERPRINT_TAG}` = '{fingerprint.hex()}'")
    if not found:
        return None
    first = min(found, key=lambda version: (version.creation_timestamp, version.name))
    return f"{SCHEME}{first.name}/{first.version}"


def reader(uri: str) -> "MlflowClient":
    """A client for reading: a SQLite store that does not exist is an error, not created."""
    file = sqlite_file(uri)
    if file and not file.exists():
        raise RegistryError(f"there is no model store {file}: run the pipeline, or set MLFLOW_TRACKING_URI")
    return connect(uri)


def find_reference(client: "MlflowClient", ref: str, uri: str) -> "ModelVersion":
    """The version that a model reference names. Raises RegistryError."""
    name, alias, number = _parse(ref)
    known = {model.name: model.aliases for model in client.search_registered_models(f"name = '{name}'")}
    if name not in known:
        raise RegistryError(f"{ref}: there is no model {name} in {shown(uri)}")
    if alias:
        if alias not in known[name]:
            raise RegistryError(f"{ref}: no such alias; aliases here: {', '.join(sorted(known[name])) or 'none'}")
        number = str(known[name][alias])
    found = [version for version in client.search_model_versions(f"name = '{name}'") if str(version.version) == number]
    if not found:
        raise RegistryError(f"{ref}: there is no such version in {shown(uri)}")
    return found[0]


def _parse(ref: str) -> tuple[str, str, str]:
    """(name, alias, "") or (name, "", version) of a reference."""
    name, at, alias = ref.removeprefix(SCHEME).partition("@")
    if not at:
        name, _, number = name.rpartition("/")
        if ref.startswith(SCHEME) and name and "'" not in name and number.isdecimal():
            return name, "", number
    elif ref.startswith(SCHEME) and name and alias and "'" not in name:
        return name, alias, ""
    raise RegistryError(f"{ref}: expected {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION")


def _download(client: "MlflowClient", version: "ModelVersion", scratch: Path, uri: str) -> Path:
    """The package of a version in a folder that holds its files and nothing else."""
    from mlflow.artifacts import download_artifacts

    source = client.get_model_version_download_uri(version.name, version.version)
    package = scratch / "package"
    package.mkdir()
    for file in PACKAGE_FILES:
        address = f"{source}/{PACKAGE_ARTIFACT}/{file}"
        shutil.move(download_artifacts(artifact_uri=address, dst_path=str(scratch), tracking_uri=uri), package / file)
    return package


def _check_content(package: Path, version: "ModelVersion", ref: str) -> None:
    expected, found = version.tags.get(PACKAGE_TAG), content_hash(package)
    if expected is None:
        raise RegistryError(f"{ref} carries no content hash: it was not registered by this pipeline")
    if found != expected:
        raise RegistryError(f"{ref} is damaged: its content is {found[:12]}, registered was {expected[:12]}")
