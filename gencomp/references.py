"""A model reference becomes a package folder: a folder, an MLflow URI, or the fingerprint in a stream."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gencomp.models.content import PACKAGE_FILES, content_hash

if TYPE_CHECKING:
    from gencomp.registry.release import RegisteredVersion

REGISTRY_SCHEME = "models:/"
LOCAL_MODELS = Path("models")
"""Where the pipeline leaves its packages, relative to the working directory."""


class UnknownModelError(ValueError):
    """A reference that leads to no model; the message is one line that says what to do."""


def cache_folder(cache_home: str | None) -> Path:
    """Where pulled packages are kept: under `cache_home` (as in XDG_CACHE_HOME), or under ~/.cache when it is empty."""
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "gencomp" / "models"


def resolve(ref: str | Path, *, cache: Path | None = None) -> Path:
    """The package folder that `ref` names: a folder, `models:/name@alias` or `models:/name/version`.

    Registered models are pulled into `cache` (~/.cache/gencomp/models where none is given) under their content hash.
    Raises UnknownModelError, or RegistryError when the store cannot give the model.
    """
    if isinstance(ref, str) and ref.startswith(REGISTRY_SCHEME):
        return _pull_into(cache or cache_folder(None), ref)
    folder = Path(ref)
    missing = [name for name in PACKAGE_FILES if not (folder / name).is_file()]
    if missing:
        raise UnknownModelError(f"{folder} is not a model package: it has no {missing[0]}")
    return folder


def pull(ref: str, folder: Path) -> Path:
    """Download a registered model into `folder`, checked by content hash.

    Raises UnknownModelError, or RegistryError when the store cannot give it.
    """
    if not ref.startswith(REGISTRY_SCHEME):
        raise UnknownModelError(f"{ref} is not a registered model: expected {REGISTRY_SCHEME}NAME@ALIAS or /VERSION")
    with _registry_installed():
        from gencomp.registry.release import pull

        return pull(ref, folder)


def registered() -> "list[RegisteredVersion]":
    """All registered models, from the store that the environment names. Raises UnknownModelError without MLflow."""
    with _registry_installed():
        from gencomp.registry.release import versions

        return versions()


def packages(folder: Path) -> list[Path]:
    """The package folders directly in `folder`, sorted by name; none when it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if all((entry / name).is_file() for name in PACKAGE_FILES))


def find(fingerprint: bytes, candidates: Iterable[Path]) -> Path | None:
    """The first candidate whose fingerprint begins with `fingerprint`; unusable packages are passed over."""
    from gencomp.models.package import PackageError, load_package

    for folder in candidates:
        try:
            if load_package(folder).fingerprint.startswith(fingerprint):
                return folder
        except PackageError:
            continue
    return None


@contextmanager
def _registry_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnknownModelError(f"registered models need {error.name}: pip install 'gencomp[registry]'") from None


def _pull_into(cache: Path, ref: str) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pull-") as scratch:
        pulled = pull(ref, Path(scratch) / "package")
        kept = cache / content_hash(pulled)
        if not kept.is_dir():
            os.replace(pulled, kept)
    return kept
