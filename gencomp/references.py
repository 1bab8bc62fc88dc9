"""A model reference becomes a package folder: a shipped name, a folder, an MLflow URI, or a stream's fingerprint."""

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
DEFAULT_REFERENCE = "light"
"""The model that is used where none is named."""
SHIPPED_MODELS = Path(__file__).parent / "shipped"
"""The packages that come with this installation, each in a folder `<name>-<number>`; there may be none."""
LOCAL_MODELS = Path("models")
"""Where the pipeline leaves its packages, relative to the working directory."""


class UnknownModelError(ValueError):
    """A reference that leads to no model; the message is one line that says what to do."""


def cache_folder(cache_home: str | None) -> Path:
    """Where pulled packages are kept: under `cache_home` (as in XDG_CACHE_HOME), or under ~/.cache when it is empty.

    Raises UnknownModelError for a user without a home.
    """
    try:
        home = Path(cache_home) if cache_home else Path.home() / ".cache"
    except RuntimeError:
        raise UnknownModelError("there is no home folder to keep models in: set XDG_CACHE_HOME") from None
    return home / "gencomp" / "models"


def cached_packages(cache: Path | None) -> list[Path]:
    """The package folders in `cache`, ~/.cache/gencomp/models where none is given; none of a user without a home."""
    try:
        return packages(cache or cache_folder(None))
    except UnknownModelError:
        return []


def resolve(ref: str | Path, *, cache: Path | None = None) -> Path:
    """The package folder that `ref` names: a shipped model, a folder, `models:/name@alias` or `models:/name/version`.

    A shipped model is named exactly, `light-1`, or as the newest of its kind, `light`; it comes before a folder of that
    name, which is reached as `./light`. Registered models are pulled into `cache` (~/.cache/gencomp/models where none
    is given) under their content hash. Raises UnknownModelError, or RegistryError when the store cannot give the model.
    """
    if isinstance(ref, str) and ref.startswith(REGISTRY_SCHEME):
        return _pull_into(cache or cache_folder(None), ref)
    if isinstance(ref, str) and "/" not in ref and os.sep not in ref:
        found = _shipped_as(ref)
        if found is not None:
            return found
        if not Path(ref).exists():
            raise UnknownModelError(
                f"{ref} is neither a folder nor a shipped model: this installation ships {_offer()}"
            )
    folder = Path(ref)
    missing = [name for name in PACKAGE_FILES if not (folder / name).is_file()]
    if missing:
        raise UnknownModelError(f"{folder} is not a model package: it has no {missing[0]}")
    return folder


def shipped() -> list[Path]:
    """The package folders that come with this installation, by name and number."""
    return sorted(packages(SHIPPED_MODELS), key=_name_and_number)


def pull(ref: str, folder: Path) -> Path:
    """Download a registered model into `folder`, checked by content hash.

    Raises UnknownModelError, or RegistryError when the store cannot give it.
    """
    if not ref.startswith(REGISTRY_SCHEME):
        raise UnknownModelError(f"{ref} is not a registered model: expected {REGISTRY_SCHEME}NAME@ALIAS or /VERSION")
    with registry_installed():
        from gencomp.registry.release import pull

        return pull(ref, folder)


def registered() -> "list[RegisteredVersion]":
    """All registered models, from the store that the environment names. Raises UnknownModelError without MLflow."""
    with registry_installed():
        from gencomp.registry.release import versions

        return versions()


@contextmanager
def registry_installed() -> Iterator[None]:
    """Turn a missing MLflow into UnknownModelError, which says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnknownModelError(f"registered models need {error.name}: pip install 'gencomp[registry]'") from None


def packages(folder: Path) -> list[Path]:
    """The package folders directly in `folder`, sorted by name; none when it does not exist or cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [entry for entry in entries if all(os.path.isfile(entry / name) for name in PACKAGE_FILES)]


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


def made_by(fingerprint: bytes, *, cache: Path | None = None, store: bool = False) -> Path | None:
    """The package of the model that made a stream with this fingerprint; None where no known one did.

    Looked for among the shipped models, the pulled ones in `cache` (as in `resolve`), those in LOCAL_MODELS, and, with
    `store`, all versions in the MLflow store that the environment names, former champions included; one that is found
    there is pulled into `cache`. Raises RegistryError when the store cannot give it, UnknownModelError without MLflow.
    """
    found = find(fingerprint, [*reversed(shipped()), *cached_packages(cache), *packages(LOCAL_MODELS)])
    if found is not None or not store:
        return found
    with registry_installed():
        from gencomp.registry.release import made_by

        ref = made_by(fingerprint)
    return None if ref is None else _pull_into(cache or cache_folder(None), ref)


def _shipped_as(name: str) -> Path | None:
    """The shipped package `<kind>-<number>`, or the one of the highest number where only the kind is given."""
    fitting = [folder for folder in shipped() if name in (folder.name, _name_and_number(folder)[0])]
    return fitting[-1] if fitting else None


def _name_and_number(folder: Path) -> tuple[str, int]:
    name, _, number = folder.name.rpartition("-")
    return (name, int(number)) if number.isdecimal() else (folder.name, 0)


def _offer() -> str:
    names = ", ".join(folder.name for folder in shipped())
    return names or f"no models, so name a package folder or {REGISTRY_SCHEME}NAME@ALIAS"


def _pull_into(cache: Path, ref: str) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".pull-") as scratch:
        pulled = pull(ref, Path(scratch) / "package")
        kept = cache / content_hash(pulled)
        if not kept.is_dir():
            os.replace(pulled, kept)
    return kept
