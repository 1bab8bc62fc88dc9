"""Rows in a file on disk, in the order of their names: so that what is listed may be larger than the memory."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gencomp.data.failure import DataError


class Rows:
    """Rows of bytes, each of a group and with a name that no other has."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, group: str, name: str, row: bytes) -> bool:
        """Add a row; one that is there already changes nothing. False where another has its name."""
        added = self._database.execute("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", (name, group, row))
        if added.rowcount:
            return True
        known = self._database.execute("SELECT section, content FROM rows WHERE name = ?", (name,))
        return bool(known.fetchone() == (group, row))

    def groups(self) -> list[str]:
        """The groups, sorted."""
        return [group for (group,) in self._database.execute("SELECT DISTINCT section FROM rows ORDER BY section")]

    def sorted(self, group: str) -> Iterator[bytes]:
        """The rows of a group, by name."""
        # A cursor of its own each time, so that two can be read at once.
        found = self._database.execute("SELECT content FROM rows WHERE section = ? ORDER BY name", (group,))
        return (row for (row,) in found)

    def reduce(self, group: str, most: int, salt: str) -> None:
        """Keep the rows of a group whose names, behind the salt, have the smallest hashes, and no others."""
        self._database.create_function("hashed", 1, lambda name: hashed(salt + name), deterministic=True)
        self._database.execute(
            "DELETE FROM rows WHERE section = ?1 AND hashed(name) >= "
            "(SELECT hashed(name) AS place FROM rows WHERE section = ?1 ORDER BY place LIMIT 1 OFFSET ?2)",
            (group, most),
        )


def hashed(name: str) -> bytes:
    """SHA-256 of a name."""
    return hashlib.sha256(name.encode()).digest()


@contextmanager
def rows(path: Path) -> Iterator[Rows]:
    """A new file of rows, which is removed in the end: another run makes its own. Raises DataError for a file that
    cannot be written, as on a full disk, in the block too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        with _database(path) as database:
            # Nothing of it outlives the process, so nothing has to be safe on the disk.
            for setting in ("journal_mode = OFF", "synchronous = OFF"):
                database.execute(f"PRAGMA {setting}").fetchall()
            database.execute("CREATE TABLE rows (name TEXT PRIMARY KEY, section TEXT, content BLOB) WITHOUT ROWID")
            database.execute("BEGIN")
            yield Rows(database)
    except sqlite3.Error as error:
        raise DataError(f"{path}: {error}") from None
    finally:
        path.unlink(missing_ok=True)


def _database(path: Path) -> "contextlib.closing[sqlite3.Connection]":
    # Nobody else opens it, and shared file systems are not to be trusted with locks.
    return contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True, isolation_level=None))
