"""Tars made by hand, of members that no honest archive has where a test wants them."""

import io
import tarfile
from collections.abc import Iterable


def add_members(tar: tarfile.TarFile, members: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    """Add files by name and content, and headers without content as they are."""
    for member in members:
        if isinstance(member, tarfile.TarInfo):
            tar.addfile(member)
        else:
            entry = tarfile.TarInfo(member[0])
            entry.size = len(member[1])
            tar.addfile(entry, io.BytesIO(member[1]))
