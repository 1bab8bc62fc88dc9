"""Files that appear complete or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it becomes `path` when the block ends, and vanishes when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of its own: a worker that was given up may still be writing.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a write to a full disk does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
