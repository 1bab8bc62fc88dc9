"""What a SIGKILL, a loss of power or a full disk may leave half-written: DVC writes dvc.lock and the table of its locks
in place, and where they are cut short it refuses every later command."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

LOCK = "dvc.lock"
EMPTY = "schema: '2.0'\n"
"""A dvc.lock without a target."""
KEPT = Path(".dvc") / "tmp" / "dvc.lock.kept"
"""A copy of dvc.lock as it was before the last target: of a worktree its own, unlike `.scratch`."""
LOCKS_TABLE = Path(".dvc") / "tmp" / "rwlock"
_SETTLING_SECONDS = 2.0
"""Time in which another dvc would have finished the file that it is writing."""
_BAD_LOCK = re.compile(r"'(\./)?dvc\.lock' (is invalid|validation failed)")
_BAD_TABLE = re.compile(r"RWLock-file '\S*rwlock'(\. JSON structure is corrupted| format error)")


def keep(root: Path) -> None:
    """Keep a copy of dvc.lock before it is written; not of one that is cut short, and not on a full disk."""
    lock, kept = root / LOCK, root / KEPT
    with contextlib.suppress(OSError, yaml.YAMLError):
        text = lock.read_text() if lock.exists() else EMPTY
        if isinstance(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)), dict) and text.endswith("\n"):
            kept.parent.mkdir(parents=True, exist_ok=True)
            new = kept.with_suffix(".new")
            new.write_text(text)
            os.replace(new, kept)


def mend(root: Path, said: Sequence[str]) -> str:
    """Mend what dvc said that it cannot read, and say what was done; nothing where that is not the trouble.

    What the kept dvc.lock does not know yet is in DVC's run cache, so no target is computed again.
    """
    with contextlib.suppress(OSError):  # a disk that is still full
        if any(_BAD_LOCK.search(line) for line in said) and (root / KEPT).exists() and _abandoned(root / LOCK):
            shutil.copyfile(root / KEPT, new := root / KEPT.with_suffix(".new"))
            os.replace(new, root / LOCK)
            return "dvc.lock was cut short; took the one from before"
        if any(_BAD_TABLE.search(line) for line in said) and _abandoned(root / LOCKS_TABLE):
            (root / LOCKS_TABLE).unlink()
            return "the table of DVC's locks was cut short; DVC makes a new one"
    return ""


def _abandoned(path: Path) -> bool:
    """Whether nobody is writing the file: a dvc that was started by hand may be."""
    before = path.read_bytes()
    time.sleep(_SETTLING_SECONDS)
    return path.read_bytes() == before
