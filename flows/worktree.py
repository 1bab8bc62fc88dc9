"""A git worktree of the checkout as it stands, uncommitted changes included, that shares its DVC cache.

Uncommitted changes are copied and not refused: reproducing writes dvc.lock, so a checkout is dirty as soon as its first
target ran, and "edit params.yaml, run" is what people do all day. The worktree's `.scratch` is the checkout's own, so
that training that was killed here resumes there and the other way round.
"""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(".scratch") / "worktrees"
_LINKS = "reflink,hardlink,symlink,copy"
"""Inputs are read only, so a worktree links them instead of copying shards."""


class WorktreeError(RuntimeError):
    """A worktree cannot be made; one line that says why."""


def create(root: Path, name: str, cache: Path) -> Path:
    """Make the worktree `name` of `root` with DVC's cache at `cache`; returns its folder, without any cached output."""
    folder = root / FOLDER / name
    remove(root, name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _git(root, "worktree", "add", "--detach", str(folder), "HEAD")
    _mirror(root, folder)
    (folder / ".scratch").symlink_to(root / ".scratch", target_is_directory=True)
    _configure(root, folder, cache)
    return folder


def remove(root: Path, name: str) -> None:
    """Remove the worktree `name`; nothing happens when there is none."""
    shutil.rmtree(root / FOLDER / name, ignore_errors=True)
    _git(root, "worktree", "prune")


def sweep(root: Path) -> None:
    """Remove every worktree that a killed flow left; the caller holds the checkout."""
    if (root / FOLDER).exists():
        shutil.rmtree(root / FOLDER)
        _git(root, "worktree", "prune")


def _mirror(root: Path, folder: Path) -> None:
    changed = _git(root, "diff", "--name-only", "--no-renames", "-z", "HEAD")
    added = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    for name in filter(None, (changed + added).split("\0")):
        source, target = root / name, folder / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
        elif not source.exists():
            target.unlink(missing_ok=True)


def _configure(root: Path, folder: Path, cache: Path) -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(root / ".dvc" / "config.local")
    if not config.has_section("cache"):
        config.add_section("cache")
    config["cache"]["dir"] = str(cache)
    config["cache"]["type"] = _LINKS
    with (folder / ".dvc" / "config.local").open("w") as file:
        config.write(file)


def _git(root: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise WorktreeError(
            f"git {' '.join(arguments[:2])} in {root}: {said} (variants side by side need a git commit)"
        )
    return done.stdout
