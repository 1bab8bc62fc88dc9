"""Results kept by the content that they were made from, so that making them again costs nothing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from gencomp.data.atomic import replacing

DIGEST_BYTES = 32


class ContentCache:
    """Byte strings in a folder, each under the hash of what it was made from; it may be deleted at any time.

    One that was damaged is as good as none. Several processes may use one folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        """What is kept under a key of `key_of`; None when there is nothing."""
        try:
            stored = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        digest, data = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        return data if hashlib.sha256(data).digest() == digest else None

    def put(self, key: str, data: bytes) -> None:
        """Keep it."""
        with replacing(self._path(key)) as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)

    def made(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What is kept under the key, or what `make` makes, which is kept then."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key[2:]


def key_of(kind: str, **parts: str | int | float | list[str] | None) -> str:
    """The key of a result of some kind, from all that it depends on."""
    return hashlib.sha256(json.dumps([kind, parts], sort_keys=True).encode()).hexdigest()


def code_digest(*folders: str) -> str:
    """SHA-256 (hex) over the source files of folders or files of this package, such as `codec`: other code, other
    results."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for name in folders:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(root)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
