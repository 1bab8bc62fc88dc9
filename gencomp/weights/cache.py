"""The folder of the user's cache in which converted weights lie, and the way to a file in it.

A file is used only when its SHA-256 is the one in the catalogue. So where it was fetched from and where it lies change
no result: this is why a stage may read the cache, and why this module, unlike the rest of the library, may read the
environment.
"""

import hashlib
import os
from pathlib import Path

from gencomp.weights.catalogue import Weights, known
from gencomp.weights.failure import MissingWeightsError


def weights_folder() -> Path:
    """GENCOMP_WEIGHTS, or gencomp/weights under XDG_CACHE_HOME or else under ~/.cache."""
    if chosen := os.environ.get("GENCOMP_WEIGHTS"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "gencomp" / "weights"


def weights_path(name: str) -> Path:
    """The safetensors file of known weights, its SHA-256 verified. Raises MissingWeightsError."""
    weights = known(name)
    path = cached_path(weights, weights_folder())
    if not path.is_file():
        raise MissingWeightsError(f"no {name} weights at {path}: {_cure(weights)}")
    if not is_intact(weights, path):
        raise MissingWeightsError(f"{path} is not the known file of {name} weights: {_cure(weights)}")
    return path


def weights_hash(name: str) -> str:
    """SHA-256 (hex) of the safetensors file of known weights, which need be there only if nothing pins them.

    Raises MissingWeightsError.
    """
    return known(name).sha256 or _digest(weights_path(name))


def cached_path(weights: Weights, folder: Path) -> Path:
    """Where the converted weights lie in a folder."""
    return folder / f"{weights.name}.safetensors"


def is_intact(weights: Weights, path: Path) -> bool:
    """Whether there is a file with the content that the catalogue names."""
    return path.is_file() and weights.sha256 in (None, _digest(path))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cure(weights: Weights) -> str:
    otherwise = f", or {weights.otherwise}" if weights.otherwise else ""
    return f"run `gencomp weights fetch {weights.name}`{otherwise}"
