"""A study as it lies in its folder: `study.json`, which no browser sees, and the pictures by their hashes."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from gencomp.evaluation.study.failure import StudyError

FILE = "study.json"
PICTURES = "pictures"
VERSION = 1

Side = Literal["left", "right"]
Kind = Literal["pair", "repeat", "catch"]
Hash = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Pixels = Annotated[int, msgspec.Meta(ge=1)]
Index = Annotated[int, msgspec.Meta(ge=0)]


def other_side(side: Side) -> Side:
    """The one across."""
    return "right" if side == "left" else "left"


class Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decoded picture."""

    codec: str
    setting: str
    size: Annotated[int, msgspec.Meta(ge=1)]
    """Bytes of the file it was decoded from."""
    picture: Hash
    """SHA-256 (hex) of its PNG file, and the name of that file."""


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's picture and another codec's, or another model's, of the same original."""

    key: str
    original: Hash
    width: Pixels
    height: Pixels
    model: Shown
    other: Shown
    ratio: Annotated[float, msgspec.Meta(gt=0)] | None
    """The rung: bytes of the other to bytes of the model, as asked for; none between two models."""

    @property
    def comparison(self) -> tuple[str, str, str, str, float | None]:
        """What is compared, whichever the picture: the model and its setting, the other and (of a model) its, and the
        rung."""
        setting = self.other.setting if self.ratio is None else ""
        return self.model.codec, self.model.setting, self.other.codec, setting, self.ratio


class Catch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An original and what is left of it at a sixteenth of its size: who looks prefers the original."""

    key: str
    original: Hash
    degraded: Hash
    width: Pixels
    height: Pixels


class Trial(msgspec.Struct, frozen=True, array_like=True):
    """One question to one participant."""

    kind: Kind
    """`repeat`: a pair that this participant has seen before, its sides swapped."""
    index: Index
    """Of the pair, or of the catch trial."""
    side: Side
    """Where the model's picture stands; in catch trials, the original."""


class Study(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    version: Literal[1]
    title: str
    welcome: str
    """What participants read before all else; may be empty."""
    question: str
    """What participants are asked about every pair."""
    seed: int
    pairs: list[Pair]
    catches: list[Catch]
    schedules: list[list[Trial]]
    """The trials of one participant each, in order; participants get them in turn."""

    def pictures(self, trial: Trial) -> tuple[str, str, str]:
        """Hashes of what stands left, of what stands right, and of the original."""
        if trial.kind == "catch":
            catch = self.catches[trial.index]
            original, good, bad = catch.original, catch.original, catch.degraded
        else:
            pair = self.pairs[trial.index]
            original, good, bad = pair.original, pair.model.picture, pair.other.picture
        return (good, bad, original) if trial.side == "left" else (bad, good, original)

    def subject(self, trial: Trial) -> Pair | Catch:
        """What a trial shows."""
        return self.catches[trial.index] if trial.kind == "catch" else self.pairs[trial.index]

    def hashes(self) -> set[str]:
        """Of every picture."""
        in_pairs = {hash for pair in self.pairs for hash in (pair.original, pair.model.picture, pair.other.picture)}
        return in_pairs | {hash for catch in self.catches for hash in (catch.original, catch.degraded)}


def study_json(study: Study) -> bytes:
    """Its canonical file."""
    return (json.dumps(msgspec.to_builtins(study), indent=None, ensure_ascii=False) + "\n").encode()


def read_study(folder: Path) -> tuple[Study, str]:
    """A study and the SHA-256 (hex) of its file; its pictures are there. Raises StudyError."""
    path = folder / FILE
    try:
        data = path.read_bytes()
        study = msgspec.json.decode(data, type=Study)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study; `gencomp study make` makes one") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise StudyError(f"{path}: not a study that this version reads ({error})") from None
    counts = {"catch": len(study.catches), "pair": len(study.pairs), "repeat": len(study.pairs)}
    if not study.schedules or not all(study.schedules):
        raise StudyError(f"{path}: it has a schedule without trials")
    if any(trial.index >= counts[trial.kind] for schedule in study.schedules for trial in schedule):
        raise StudyError(f"{path}: a trial shows what is not in it")
    if absent := {hash for hash in study.hashes() if not (folder / PICTURES / f"{hash}.png").is_file()}:
        raise StudyError(f"{folder / PICTURES / min(absent)}.png: no such picture; make the study anew")
    return study, hashlib.sha256(data).hexdigest()
