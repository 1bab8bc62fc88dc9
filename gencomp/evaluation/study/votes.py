"""The votes of a study in an SQLite database: one row per participant and trial, the first vote on each."""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Side

APPLICATION = 0x67_6E_63_73
"""By which SQLite's header says whose database it is."""
LAYOUT_VERSION = 1
PATIENCE = 30.0
"""Seconds to wait for another process that writes."""
CODE_LENGTH = 10
TABLES = """
CREATE TABLE study (digest TEXT NOT NULL) STRICT;
CREATE TABLE participants (
    number INTEGER PRIMARY KEY, code TEXT NOT NULL UNIQUE, token_hash TEXT NOT NULL UNIQUE, schedule INTEGER NOT NULL,
    joined_ms INTEGER NOT NULL, contact_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE votes (
    participant INTEGER NOT NULL REFERENCES participants (number), trial INTEGER NOT NULL,
    choice TEXT NOT NULL CHECK (choice IN ('left', 'right')), received_ms INTEGER NOT NULL, server_ms INTEGER NOT NULL,
    client_ms INTEGER NOT NULL, looks INTEGER NOT NULL, layout TEXT NOT NULL, pixel_ratio REAL NOT NULL,
    view_width INTEGER NOT NULL, view_height INTEGER NOT NULL, PRIMARY KEY (participant, trial)
) STRICT, WITHOUT ROWID;
"""

Layout = Literal["three", "two", "one"]
"""Pictures side by side: with the original, without it (shown on demand), or one at a time."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]


class Vote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a browser sends."""

    trial: Count
    """Place in the participant's schedule, from 0."""
    choice: Side
    client_ms: Count
    """Milliseconds from the pictures' being shown to the vote, by the browser's clock."""
    looks: Count
    """How often the original was asked for, where it is not always in sight."""
    layout: Layout
    pixel_ratio: Annotated[float, msgspec.Meta(gt=0, le=16)]
    """Pixels of the screen per CSS pixel."""
    view_width: Count
    """CSS pixels."""
    view_height: Count
    """CSS pixels."""


class Session(NamedTuple):
    """One participant's place in the study."""

    code: str
    """Names the participant in exports; it cannot be used to vote."""
    schedule: int
    answered: list[int]
    """Trials voted on, in order."""


class Recorded(NamedTuple):
    """What became of a vote."""

    counted: bool
    """False where there was a vote on this trial already, which stands."""
    choice: Side
    """The one that stands."""
    answered: list[int]


class Counts(NamedTuple):
    """How far a study is."""

    participants: int
    votes: int


class UnknownTokenError(LookupError):
    """A token that no participant of this study has."""


class FullError(RuntimeError):
    """As many participants as a study may have."""


class OutsideError(LookupError):
    """A trial that is not in the participant's schedule."""


class Votes:
    """A database, to be used in one thread; close it."""

    def __init__(self, path: Path, digest: str) -> None:
        """Open the votes of the study with that digest, made if there are none yet. Raises StudyError."""
        self._path = path
        try:
            self._base = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise StudyError(f"{path}: cannot be opened ({error})") from None
        try:
            self._open(digest)
        except BaseException:
            self._base.close()
            raise

    def close(self) -> None:
        """Fold the write-ahead log into the database."""
        self._base.close()

    def join(self, schedules: int, most: int) -> str:
        """A new participant's token; schedules are given in turn. Raises FullError from `most` participants on."""
        token = secrets.token_urlsafe(16)
        now = _now()
        with self._transaction():
            number = self._base.execute("SELECT count(*) FROM participants").fetchone()[0]
            if number >= most:
                raise FullError
            self._base.execute(
                "INSERT INTO participants VALUES (?, ?, ?, ?, ?, ?)",
                (number, code(token), _hash(token), number % schedules, now, now),
            )
        return token

    def session(self, token: str) -> Session:
        """Where a participant is; the clock of the next vote starts. Raises UnknownTokenError."""
        with self._transaction():
            number, schedule, _ = self._participant(token)
            self._base.execute("UPDATE participants SET contact_ms = ? WHERE number = ?", (_now(), number))
            return Session(code(token), schedule, self._answered(number))

    def vote(self, token: str, vote: Vote, lengths: list[int]) -> Recorded:
        """Record a vote; the first one on a trial counts. It is on the disk when this returns.

        `lengths`: of each schedule. Raises UnknownTokenError and OutsideError.
        """
        with self._transaction():
            number, schedule, contact = self._participant(token)
            if vote.trial >= lengths[schedule]:
                raise OutsideError
            now = _now()
            counted = self._base.execute(
                "INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(number, vote.trial, vote.choice, now, max(0, now - contact), vote.client_ms, vote.looks),
                    *(vote.layout, vote.pixel_ratio, vote.view_width, vote.view_height),
                ),
            ).rowcount
            if counted:
                self._base.execute("UPDATE participants SET contact_ms = ? WHERE number = ?", (now, number))
            stands = self._base.execute(
                "SELECT choice FROM votes WHERE participant = ? AND trial = ?", (number, vote.trial)
            ).fetchone()[0]
            return Recorded(bool(counted), stands, self._answered(number))

    def counts(self) -> Counts:
        """Participants and votes so far."""
        one = self._base.execute("SELECT (SELECT count(*) FROM participants), (SELECT count(*) FROM votes)").fetchone()
        return Counts(*one)

    def rows(self) -> Iterator[dict[str, object]]:
        """Every vote with its participant's code and schedule, by participant and trial; not their tokens."""
        cursor = self._base.execute(
            "SELECT code, schedule, trial, choice, received_ms, server_ms, client_ms, looks, layout, pixel_ratio, "
            "view_width, view_height FROM votes JOIN participants ON participant = number ORDER BY number, trial"
        )
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def _open(self, digest: str) -> None:
        path = self._path
        try:
            (application,) = self._base.execute("PRAGMA application_id").fetchone()
            (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and application != APPLICATION:
                raise StudyError(f"{path}: a database of something else; name another --db")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")  # a vote that was acknowledged outlives a loss of power
            self._base.execute("PRAGMA foreign_keys = ON")
            with self._transaction():
                if not self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in TABLES.split(";"):
                        self._base.execute(statement)
                    self._base.execute("INSERT INTO study VALUES (?)", (digest,))
                    self._base.execute(f"PRAGMA application_id = {APPLICATION}")
                    self._base.execute(f"PRAGMA user_version = {LAYOUT_VERSION}")
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version != LAYOUT_VERSION:
                raise StudyError(f"{path}: votes of version {version}, this is for version {LAYOUT_VERSION}")
            (fault,) = self._base.execute("PRAGMA quick_check(1)").fetchone()
            if fault != "ok":
                said = " ".join(fault.split())
                raise StudyError(f"{path}: the database is damaged ({said}); put a copy in its place")
            if self._base.execute("SELECT digest FROM study").fetchall() != [(digest,)]:
                raise StudyError(f"{path}: the votes of another study; name another --db")
        except sqlite3.DatabaseError as error:
            raise StudyError(f"{path}: not a usable database of votes ({error}); put a copy in its place") from None

    def _participant(self, token: str) -> tuple[int, int, int]:
        """Number, schedule, and when the server last heard of them."""
        found: tuple[int, int, int] | None = self._base.execute(
            "SELECT number, schedule, contact_ms FROM participants WHERE token_hash = ?", (_hash(token),)
        ).fetchone()
        if found is None:
            raise UnknownTokenError
        return found

    def _answered(self, number: int) -> list[int]:
        cursor = self._base.execute("SELECT trial FROM votes WHERE participant = ? ORDER BY trial", (number,))
        return [trial for (trial,) in cursor]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, no other process writing meanwhile."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")


def code(token: str) -> str:
    """What names a participant without giving the token away."""
    return _hash(token)[:CODE_LENGTH]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
