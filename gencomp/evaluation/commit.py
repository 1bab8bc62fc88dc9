"""The git commit of a checkout."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit(root: Path, besides: Sequence[str] = ()) -> str | None:
    """The 40 hex digits of the commit that is checked out, with `-dirty` where a tracked file was changed since.

    Changes of the files `besides`, relative to `root`, do not count. None outside of a checkout.
    """
    head = _git(root, "rev-parse", "HEAD")
    paths = [":/", *(f":!{name}" for name in besides)]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *paths)
    return f"{head}-dirty" if head and changed else head


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it fails, or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
