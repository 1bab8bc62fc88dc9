"""The database of votes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Side
from gencomp.evaluation.study.votes import FullError, OutsideError, UnknownTokenError, Vote, Votes

DIGEST = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "votes.sqlite"


@pytest.fixture
def votes(path: Path) -> Iterator[Votes]:
    with closing(Votes(path, DIGEST)) as opened:
        yield opened


def vote(trial: int, choice: Side) -> Vote:
    return Vote(trial, choice, 1200, 2, "one", 3.0, 390, 844)


def test_the_first_vote_on_a_trial_stands(votes: Votes) -> None:
    token = votes.join(3, 10)
    assert votes.vote(token, vote(2, "left"), [5, 5, 5]) == (True, "left", [2])
    assert votes.vote(token, vote(2, "right"), [5, 5, 5]) == (False, "left", [2])
    assert votes.vote(token, vote(0, "right"), [5, 5, 5]) == (True, "right", [0, 2])
    assert votes.session(token).answered == [0, 2]
    assert votes.counts() == (1, 2)
    rows = list(votes.rows())
    assert [(row["trial"], row["choice"], row["looks"], row["layout"]) for row in rows] == [
        (0, "right", 2, "one"),
        (2, "left", 2, "one"),
    ]


def test_schedules_are_given_in_turn_and_tokens_are_secret(votes: Votes, path: Path) -> None:
    tokens = [votes.join(3, 10) for _ in range(7)]
    assert [votes.session(token).schedule for token in tokens] == [0, 1, 2, 0, 1, 2, 0]
    assert len({votes.session(token).code for token in tokens}) == 7
    votes.vote(tokens[0], vote(0, "left"), [1, 1, 1])
    stored = path.read_bytes() + path.with_name("votes.sqlite-wal").read_bytes()
    assert votes.session(tokens[0]).code.encode() in stored
    assert not any(token.encode() in stored for token in tokens)


def test_tokens_trials_and_numbers_that_are_not_are_refused(votes: Votes) -> None:
    token = votes.join(1, 1)
    with pytest.raises(FullError):
        votes.join(1, 1)
    for work in (lambda: votes.session("foreign"), lambda: votes.vote("foreign", vote(0, "left"), [5])):
        with pytest.raises(UnknownTokenError):
            work()
    with pytest.raises(OutsideError):
        votes.vote(token, vote(5, "left"), [5])
    assert votes.counts() == (1, 0)


def test_two_who_write_at_once_both_have_their_votes(votes: Votes, path: Path) -> None:
    with closing(Votes(path, DIGEST)) as other:
        tokens = [one.join(5, 10) for one in (votes, other, votes)]
        assert [other.session(token).schedule for token in tokens] == [0, 1, 2]
        for at, one in enumerate((votes, other, votes, other)):
            one.vote(tokens[at % 3], vote(at, "left"), [9] * 5)
        assert votes.counts() == other.counts() == (3, 4)


def test_damaged_and_foreign_databases_are_refused_in_a_line(path: Path, tmp_path: Path) -> None:
    with closing(Votes(path, DIGEST)) as made:
        token = made.join(1, 500)
        for trial in range(400):
            made.vote(token, vote(trial, "left"), [500])
    whole = path.read_bytes()
    assert len(whole) > 3 * 4096
    for damaged in (b"no database at all" * 99, whole[: len(whole) // 2], whole[:4096] + bytes(len(whole) - 4096)):
        path.write_bytes(damaged)
        with pytest.raises(StudyError, match=r"votes\.sqlite: .*put a copy in its place") as refused:
            Votes(path, DIGEST)
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    with pytest.raises(StudyError, match="the votes of another study; name another --db"):
        Votes(path, "cd" * 32)
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("CREATE TABLE things (name TEXT)")
    with pytest.raises(StudyError, match="a database of something else; name another --db"):
        Votes(tmp_path / "other.sqlite", DIGEST)
    with pytest.raises(StudyError, match="cannot be opened"):
        Votes(tmp_path / "nowhere" / "votes.sqlite", DIGEST)
    with closing(Votes(path, DIGEST)) as again:
        assert again.counts() == (1, 400)
