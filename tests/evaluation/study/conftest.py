"""A small evaluation, and the study that is made of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomp.evaluation.study.make import Wanted, make_study
from gencomp.evaluation.study.plan import Study, read_study
from tests.evaluation.study.served import StudyServer

SIZES = {"hill": (121, 97), "lake": (97, 121), "road": (110, 90), "wall": (120, 96)}
"""Width and height of the pictures, in pixels."""
RATIOS = (1.0, 2.0, 4.0)
MODEL_BYTES = 500
WANTED = Wanted(
    models=("ours",),
    against=("theirs",),
    ratios=RATIOS,
    trials=9,
    catch=3,
    repeats=2,
    schedules=40,
    seed=5,
    title="Copies",
    welcome="We are\nthe askers.",
    question="Which is better?",
)


def write_evaluation(folder: Path) -> Path:
    """A table of four pictures by `ours` and by `theirs` at 1, 2 and 4 times its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["key,codec,setting,bytes,note,picture,original"]
    for number, (key, (width, height)) in enumerate(SIZES.items()):
        generator = np.random.default_rng(number)
        pixels = generator.integers(60, 196, (height, width, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{key}.png")
        for at, (codec, setting, size) in enumerate(
            [("ours", "c4", MODEL_BYTES), *(("theirs", f"q{ratio:g}", int(ratio * MODEL_BYTES)) for ratio in RATIOS)]
        ):
            name = f"{key}-{codec}-{setting}.png"
            Image.fromarray((pixels + 15 * at - 60).astype(np.uint8)).save(folder / name)
            lines.append(f"{key},{codec},{setting},{size},any,{name},{key}.png")
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    return write_evaluation(tmp_path / "pictures")


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without votes; tests give databases of their own."""
    root = tmp_path_factory.mktemp("study")
    make_study(write_evaluation(root / "pictures"), WANTED, root / "study", lambda line: pytest.fail(line))
    return root / "study"


@pytest.fixture(scope="session")
def study(study_folder: Path) -> Study:
    return read_study(study_folder)[0]


@pytest.fixture
def serve(tmp_path: Path, study_folder: Path) -> Iterator[Callable[..., StudyServer]]:
    """Starts servers on the database `votes.sqlite` in the test's folder; they end with the test."""
    started: list[StudyServer] = []

    def start(*options: object, folder: Path = study_folder) -> StudyServer:
        started.append(StudyServer(folder, tmp_path / "votes.sqlite", *options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def server(serve: Callable[..., StudyServer]) -> StudyServer:
    return serve()
