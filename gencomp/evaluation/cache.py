"""Results of measurements, kept by the content that they were computed from, so that a second run costs nothing.

A key is a digest over what a result depends on, but for the machine: pictures, settings, weights, and the code that
computes it, which is PyTorch's version and our own source files, or a classical codec's protocol and version. So where
the cache lies, and whether there is one, changes no result: this is why a stage may read it, and why this module,
unlike the rest of the library, may read the environment.
"""

import contextlib
import functools
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
"""Of the package's source files."""
LIMIT = 4_000_000_000
"""Bytes; when a cache is opened with more in it, what was not used for longest goes until it holds half of that."""


def results_folder() -> Path:
    """GENCOMP_RESULTS, or gencomp/results under XDG_CACHE_HOME or else under ~/.cache."""
    if chosen := os.environ.get("GENCOMP_RESULTS"):
        return Path(chosen)
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "gencomp" / "results"


def digest(*parts: str | bytes) -> str:
    """SHA-256 (hex) over the parts and where each ends."""
    result = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        result.update(len(data).to_bytes(8, "little"))
        result.update(data)
    return result.hexdigest()


def picture_digest(x: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) over the shape and the pixels of an (H, W, 3) picture."""
    return digest(str(x.shape), np.ascontiguousarray(x).tobytes())


@functools.cache
def code_digest(*names: str) -> str:
    """SHA-256 (hex) over source files of this package, or all of folders in it: other code, other results.

    Names are relative to the package's folder. Files are read once in a process.
    """
    result = hashlib.sha256()
    for name in names:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            result.update(f"{file.relative_to(ROOT)}\n".encode() + file.read_bytes())
    return result.hexdigest()


class ResultCache:
    """A folder of results, one file for each key; used by any number of threads and processes at once.

    A result that cannot be written, on a full disk or in a folder that may not be written to, is not kept.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self._trim(limit)

    def get(self, key: str) -> bytes | None:
        """What was kept under a digest; None where nothing was."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)  # used now
        except OSError:
            return None
        return data

    def put(self, key: str, data: bytes) -> None:
        """Keep a result under a digest, in place of an earlier one."""
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(temporary, path)
            except OSError:
                Path(temporary).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _trim(self, limit: int) -> None:
        found = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process may trim too
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, size, _ in found) - limit
        if excess <= 0:
            return
        excess += limit // 2
        for _, size, path in sorted(found):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


class NoCache:
    """Keeps nothing."""

    def get(self, key: str) -> bytes | None:
        """None."""
        return None

    def put(self, key: str, data: bytes) -> None:
        """Nothing happens."""


Cache = ResultCache | NoCache
