"""Votes as a table, with what each trial showed: what is exported and analysed."""

import csv
import datetime
import io
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, cast, get_args

from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Catch, Kind, Side, Study, read_study
from gencomp.evaluation.study.votes import Votes

DATABASE = "votes.sqlite"


class Ballot(NamedTuple):
    """One vote; the columns of an export."""

    participant: str
    schedule: int
    trial: int
    """Place in the schedule, from 0."""
    kind: Kind
    key: str
    """Of the picture."""
    model: str
    """In catch trials, `original`."""
    model_setting: str
    model_bytes: int | None
    """None in catch trials."""
    other: str
    """In catch trials, `degraded`."""
    other_setting: str
    other_bytes: int | None
    """None in catch trials."""
    ratio: float | None
    """The rung; None in catch trials and between two models."""
    pixels: int
    side: Side
    """Where the model's picture stood; in catch trials, the original."""
    choice: Side
    client_ms: int
    server_ms: int
    received: str
    """UTC, ISO 8601."""
    looks: int
    layout: str
    pixel_ratio: float
    view_width: int
    view_height: int

    @property
    def won(self) -> bool:
        """Whether the model's picture was chosen; in catch trials, the original."""
        return self.choice == self.side


def ballots(study: Study, votes: Votes) -> list[Ballot]:
    """Every vote, by participant in the order of their coming, then by trial."""
    found = []
    for row in votes.rows():
        number, place = cast(int, row["schedule"]), cast(int, row["trial"])
        trial = study.schedules[number][place]
        subject = study.subject(trial)
        about: dict[str, object] = {
            "model": "original", "model_setting": "", "model_bytes": None,
            "other": "degraded", "other_setting": "", "other_bytes": None, "ratio": None,
        }  # fmt: skip
        if not isinstance(subject, Catch):
            model, other = subject.model, subject.other
            about = {
                "model": model.codec, "model_setting": model.setting, "model_bytes": model.size,
                "other": other.codec, "other_setting": other.setting, "other_bytes": other.size, "ratio": subject.ratio,
            }  # fmt: skip
        received = datetime.datetime.fromtimestamp(cast(int, row.pop("received_ms")) / 1000, datetime.UTC)
        cells = {**row, **about, "participant": row["code"], "kind": trial.kind, "side": trial.side, "key": subject.key}
        cells |= {"pixels": subject.width * subject.height, "received": received.isoformat(timespec="milliseconds")}
        found.append(Ballot(**{name: cells[name] for name in Ballot._fields}))  # type: ignore[arg-type]
    return found


def read_ballots(place: Path, database: Path | None = None) -> list[Ballot]:
    """The votes of a study's folder, or those that were exported to a CSV file. Raises StudyError."""
    if not place.is_dir():
        return _from_csv(place)
    study, digest = read_study(place)
    path = database or place / DATABASE
    if not path.is_file():
        raise StudyError(f"{path}: no votes yet; `gencomp study serve` takes them")
    with closing(Votes(path, digest)) as votes:
        return ballots(study, votes)


def ballots_csv(rows: Iterable[Ballot]) -> str:
    """A table with a header; an empty cell for None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Ballot._fields)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()


def _from_csv(path: Path) -> list[Ballot]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in Ballot._fields if name not in (reader.fieldnames or ())]
            if missing:
                raise StudyError(f"{path}: no column {missing[0]}; `gencomp study export` writes such tables")
            return [_ballot(cells, path, reader.line_num) for cells in reader]
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file or folder") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: not a table ({error})") from None


def _ballot(cells: dict[str, str], path: Path, line: int) -> Ballot:
    try:
        kind, side, choice = (cells[name] for name in ("kind", "side", "choice"))
        _check(kind, get_args(Kind))
        _check(side, get_args(Side))
        _check(choice, get_args(Side))
        whole = {
            name: int(cells[name])
            for name in ("schedule", "trial", "pixels", "client_ms", "server_ms", "looks", "view_width", "view_height")
        }
        sizes = {name: _optional(cells[name]) for name in ("model_bytes", "other_bytes")}
        if kind != "catch" and not all(size and size > 0 for size in sizes.values()):
            raise ValueError("a pair needs the bytes of both files")
        ratio = float(cells["ratio"]) if cells["ratio"] else None
        given = {**cells, **whole, **sizes, "ratio": ratio, "pixel_ratio": float(cells["pixel_ratio"])}
        return Ballot(**{name: given[name] for name in Ballot._fields})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path}, line {line}: not a vote ({error})") from None


def _check(value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")


def _optional(cell: str) -> int | None:
    return int(cell) if cell else None
