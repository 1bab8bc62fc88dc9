"""What the command line reads and writes: files, which appear whole or not at all, and pipes."""

import os
import secrets
import sys
from pathlib import Path

import click

PIPE = Path("-")
"""Standard input or output, as an argument."""
EMPTY_NAME = "a name is empty"


class RefusedError(ValueError):
    """An argument that is refused; the message is one line that says what to do."""


class Name(click.Path):
    """A path, which is not empty: an empty one, of a shell's variable that was never set, would be the working
    folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        if not os.fspath(value):
            self.fail(EMPTY_NAME, param, ctx)
        return super().convert(value, param, ctx)


class FileOrPipe(click.ParamType):
    """A path, of which `-` is PIPE; a file of that name is `./-`."""

    name = "path"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value):
            self.fail(EMPTY_NAME, param, ctx)
        path = Path(value)
        return path.absolute() if path == PIPE and str(value) != "-" else path


def called(source: Path) -> str:
    """What a message calls a file that is read."""
    return "standard input" if source == PIPE else str(source)


def read(source: Path) -> bytes:
    """All of a file or of standard input."""
    if source == PIPE and sys.stdin is None:
        raise RefusedError("standard input is closed")
    return sys.stdin.buffer.read() if source == PIPE else source.read_bytes()


def write(target: Path, data: bytes, force: bool) -> None:
    """Write the whole file or nothing, under a name of its own in the same folder, then renamed; or into the pipe.

    Of a link, the file that it leads to is written. Without `force`, a file that another program makes meanwhile is
    not replaced either, where the file system knows hard links. Raises RefusedError.
    """
    if target == PIPE:
        stdout = sys.stdout.buffer
        stdout.write(data)
        stdout.flush()
        return
    file = Path(os.path.realpath(target))
    unfinished = file.with_name(f".gencomp-{secrets.token_hex(8)}.tmp")  # no longer than names may be
    try:
        unfinished.write_bytes(data)
        check_target(target, force)  # it may have appeared meanwhile
        if force or not _linked(unfinished, file, target):
            os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def _linked(unfinished: Path, file: Path, target: Path) -> bool:
    """Give a finished file its name in one step, which fails where there is a file of that name; False where there are
    no hard links, as on FAT."""
    try:
        os.link(unfinished, file)
    except FileExistsError:
        raise _exists(target) from None
    except (OSError, NotImplementedError):
        return False
    return True


def say(target: Path, line: str) -> None:
    """What came of it, beside standard output where that is the target."""
    click.echo(line, err=target == PIPE)


def check_paths(source: Path, target: Path, force: bool) -> None:
    """Refuse, before any work, what could not be read or written after it."""
    check_source(source)
    if PIPE not in (source, target) and target.exists() and target.samefile(source):
        raise RefusedError(f"{target} is what is read: name another file")
    check_folder(target)
    check_target(target, force)


def is_folder(source: Path) -> bool:
    """Whether that is a folder, which standard input is not, whatever is called `-`."""
    return source != PIPE and source.is_dir()


def check_source(source: Path) -> None:
    """Refuse what is no file."""
    if source != PIPE and not source.is_file():
        raise RefusedError(f"{source}: {'not a file' if source.exists() else 'no such file'}")


def check_folder(target: Path) -> None:
    """Refuse a file in a folder that there is not."""
    if not target.parent.is_dir():
        raise RefusedError(f"{target}: the folder {target.parent} does not exist")
    folder = Path(os.path.realpath(target)).parent  # of what a link leads to
    if target != PIPE and not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedError(f"{target}: nothing can be written into the folder {folder}")


def check_target(target: Path, force: bool) -> None:
    """Refuse what is there already, and bytes for a terminal."""
    if target == PIPE:
        if sys.stdout is None:
            raise RefusedError("standard output is closed")
        if sys.stdout.isatty():
            raise RefusedError("standard output is a terminal: send it to a file or to another command")
        return
    if target.exists() and not target.is_file():
        raise RefusedError(f"{target} exists and is not a file")
    if target.exists() and not force:
        raise _exists(target)


def _exists(target: Path) -> RefusedError:
    return RefusedError(f"{target} exists: add --force to replace it")


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} exists: name a new folder")


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
