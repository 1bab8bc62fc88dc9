"""A study made from a table of decoded pictures."""

import hashlib
import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gencomp.evaluation.output import whole_folder
from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.pictures import Decoded, load, read_table
from gencomp.evaluation.study.plan import FILE, PICTURES, Catch, Pair, Shown, Study, study_json
from gencomp.evaluation.study.schedules import make_schedules

TOLERANCE = 1.25
"""A file stands for a rung if its bytes are at most this factor away from what the rung asks for."""
DEGRADED = 16
"""By how much each side of a degraded picture is reduced before it is enlarged again."""
OBVIOUS = 8.0
"""Root of the mean squared difference, of 255; a degraded picture nearer to its original makes no catch trial."""

Say = Callable[[str], None]


class Wanted(NamedTuple):
    """What a study shall be."""

    models: tuple[str, ...]
    """Codecs of the table that are compared with the others, at each of their settings, and with each other."""
    against: tuple[str, ...]
    """Codecs they are compared with; none: all others of the table."""
    ratios: tuple[float, ...]
    """Rungs: bytes of the other codec to bytes of the model."""
    trials: int
    """Pairs that one participant is asked about."""
    catch: int
    """Catch trials of one participant."""
    repeats: int
    """Pairs that one participant is asked about again."""
    schedules: int
    """Different orders; participants get them in turn."""
    seed: int
    title: str
    welcome: str
    question: str


class _Choice(NamedTuple):
    """A pair, before its pictures are read."""

    model: Decoded
    other: Decoded
    ratio: float | None


def make_study(place: Path, wanted: Wanted, output: Path, say: Say) -> Study:
    """Write a study to the folder `output`, which is new, from the table at `place`. Raises StudyError.

    `say` is told which rungs have no file near enough, and of how many pictures.
    """
    if output.exists():
        raise StudyError(f"{output} exists: name a new folder, votes belong to one study")
    rows = read_table(place)
    choices = _choices(rows, wanted, say)
    with whole_folder(output) as folder:
        (folder / PICTURES).mkdir()
        store = _Pictures(folder / PICTURES)
        pairs = [_pair(choice, store) for choice in choices]
        catches = _catches(pairs, store)
        study = Study(
            version=1,
            title=wanted.title,
            welcome=wanted.welcome,
            question=wanted.question,
            seed=wanted.seed,
            pairs=pairs,
            catches=catches,
            schedules=make_schedules(
                pairs,
                len(catches),
                count=wanted.schedules,
                trials=wanted.trials,
                catch=wanted.catch,
                repeats=wanted.repeats,
                seed=wanted.seed,
            ),
        )
        (folder / FILE).write_bytes(study_json(study))
    return study


class _Pictures:
    """Pictures that were stored, each once, as PNG files without metadata."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[str, tuple[int, int]]] = {}

    def add(self, path: Path) -> tuple[str, tuple[int, int]]:
        """Hash and (width, height) of a picture file's content."""
        if path not in self._known:
            pixels = load(path)
            self._known[path] = self.put(pixels), (pixels.shape[1], pixels.shape[0])
        return self._known[path]

    def put(self, pixels: NDArray[np.uint8]) -> str:
        """The hash under which pixels (H, W, 3) are stored."""
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        name = hashlib.sha256(buffer.getvalue()).hexdigest()
        (self._folder / f"{name}.png").write_bytes(buffer.getvalue())
        return name

    def get(self, name: str) -> NDArray[np.uint8]:
        """Stored pixels, (H, W, 3)."""
        return load(self._folder / f"{name}.png")


def _choices(rows: Sequence[Decoded], wanted: Wanted, say: Say) -> list[_Choice]:
    """Every pair there is to ask about, in the table's order of pictures."""
    codecs = list(dict.fromkeys(row.codec for row in rows))
    if not wanted.models:
        raise StudyError(f"name what is compared with --model: the table has {', '.join(codecs)}")
    for name in (*wanted.models, *wanted.against):
        if name not in codecs:
            raise StudyError(f"the table has no pictures of {name}, but of {', '.join(codecs)}")
    against = wanted.against or tuple(name for name in codecs if name not in wanted.models)
    if both := set(against) & set(wanted.models):
        raise StudyError(f"{min(both)} would be compared with itself: models are compared with each other anyway")
    ladders: dict[str, dict[str, list[Decoded]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        ladders[row.key][row.codec].append(row)
    choices = [choice for by_codec in ladders.values() for choice in _of_picture(by_codec, wanted, against)]
    if not choices:
        lowest = _lowest_ratio(ladders, wanted.models, against)
        raise StudyError(
            f"no file is within a factor of {TOLERANCE:g} of a rung; the smallest files of {', '.join(against)} have "
            f"{lowest:.2f} times the model's bytes: name other --ratio"
        )
    _tell(choices, len(ladders), say)
    return choices


def _of_picture(by_codec: dict[str, list[Decoded]], wanted: Wanted, against: Sequence[str]) -> list[_Choice]:
    """The pairs of one picture."""
    models = [row for name in wanted.models for row in by_codec.get(name, [])]
    choices = []
    for number, model in enumerate(models):
        for name in against:
            choices += [_Choice(model, other, ratio) for ratio, other in _rungs(model, by_codec.get(name, []), wanted)]
        choices += [_Choice(model, other, None) for other in models[number + 1 :] if other.codec != model.codec]
    return choices


def _rungs(model: Decoded, ladder: Sequence[Decoded], wanted: Wanted) -> list[tuple[float, Decoded]]:
    """The file nearest to each rung, where one is near enough; no file stands for two rungs."""

    def distance(ratio: float, row: Decoded) -> float:
        return abs(math.log(row.size / (ratio * model.size)))

    found = []
    for ratio in wanted.ratios:
        near = [row for row in ladder if distance(ratio, row) <= math.log(TOLERANCE)]
        near = [row for row in near if all(distance(ratio, row) <= distance(one, row) for one in wanted.ratios)]
        if near:
            found.append((ratio, min(near, key=lambda row: (distance(ratio, row), row.size))))
    return found


def _lowest_ratio(ladders: dict[str, dict[str, list[Decoded]]], models: Sequence[str], against: Sequence[str]) -> float:
    ratios = [
        other.size / model.size
        for by_codec in ladders.values()
        for model in (row for name in models for row in by_codec.get(name, []))
        for other in (row for name in against for row in by_codec.get(name, []))
    ]
    if not ratios:
        raise StudyError("no picture was coded both by a model and by another codec: keys must be the same")
    return min(ratios)


def _tell(choices: Sequence[_Choice], pictures: int, say: Say) -> None:
    """How many pictures each comparison has, where they are not all."""
    counts = Counter(
        f"{model.codec} {model.setting} against {other.codec} at {ratio:g} times its bytes"
        for model, other, ratio in choices
        if ratio is not None
    )
    for name, count in counts.items():
        if count < pictures:
            say(f"{name}: {count} of {pictures} pictures, no file near enough for the others")


def _pair(choice: _Choice, store: _Pictures) -> Pair:
    """Raises StudyError where the three pictures do not have one size."""
    model, other, ratio = choice
    original, size = store.add(model.original)
    shown = []
    for row in (model, other):
        hash, its_size = store.add(row.picture)
        if its_size != size or store.add(row.original)[0] != original:
            reason = "does not have its original's size" if its_size != size else "has another original"
            raise StudyError(f"{row.picture}: {reason}; pictures of one key must fit")
        shown.append(Shown(row.codec, row.setting, row.size, hash))
    return Pair(model.key, original, size[0], size[1], shown[0], shown[1], ratio)


def _catches(pairs: Sequence[Pair], store: _Pictures) -> list[Catch]:
    """Catch trials, of the pictures in which what is missing is plain to see."""
    catches = []
    for pair in {pair.original: pair for pair in pairs}.values():
        pixels = store.get(pair.original)
        degraded = _degrade(pixels)
        if np.sqrt(np.mean((pixels.astype(float) - degraded) ** 2)) >= OBVIOUS:
            catches.append(Catch(pair.key, pair.original, store.put(degraded), pair.width, pair.height))
    if not catches:
        raise StudyError("no picture has enough detail for a catch trial: add some with more")
    return catches


def _degrade(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels)
    small = (max(1, image.width // DEGRADED), max(1, image.height // DEGRADED))
    return np.asarray(image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC))
