"""The identity of a package folder: a hash of its files, computed without loading a network."""

import hashlib
from pathlib import Path

PACKAGE_FILES = ("config.json", "model.safetensors", "tables.json")


def content_hash(folder: Path) -> str:
    """SHA-256 (hex) over names and bytes of a package's files. Raises FileNotFoundError when one is missing."""
    digest = hashlib.sha256()
    for name in PACKAGE_FILES:
        data = (folder / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
