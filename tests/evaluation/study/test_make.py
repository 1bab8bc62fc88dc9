"""A study out of a table of pictures, and that table out of the pipeline's folders."""

import csv
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gencomp.cli import main
from gencomp.evaluation.study.failure import StudyError
from gencomp.evaluation.study.plan import Study, read_study
from tests.evaluation.study.conftest import SIZES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def refused(result: Result, reason: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.splitlines()[-1].startswith("gencomp: ") and reason in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def make(evaluation: Path, *options: object) -> Result:
    return run(
        "make",
        evaluation,
        "--model",
        "ours",
        "--output",
        evaluation.parent / "made",
        "--trials",
        8,
        "--repeats",
        2,
        *options,
    )


def test_every_picture_meets_every_rung_and_is_kept_by_its_hash(study: Study, study_folder: Path) -> None:
    asked = {(pair.key, pair.ratio, pair.model.size, pair.other.size) for pair in study.pairs}
    assert asked == {(key, ratio, 500, int(500 * ratio)) for key in SIZES for ratio in (1.0, 2.0, 4.0)}
    files = {path.name for path in (study_folder / "pictures").iterdir()}
    assert files == {f"{hash}.png" for hash in study.hashes()} and len(files) == 4 * (1 + 1 + 3 + 1)
    for path in (study_folder / "pictures").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        with Image.open(path) as image:
            assert not image.info and image.mode == "RGB"
    for pair in study.pairs:
        assert (pair.width, pair.height) == SIZES[pair.key]
        with Image.open(study_folder / "pictures" / f"{pair.other.picture}.png") as image:
            shown = np.asarray(image)
        with Image.open(study_folder.parent / f"pictures/{pair.key}-theirs-q{pair.ratio:g}.png") as image:
            assert np.array_equal(shown, np.asarray(image))


def test_the_same_table_and_seed_make_the_same_study(evaluation: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        made = run("make", evaluation, "--model", "ours", "--ratio", 1, "--ratio", 4, "--output", tmp_path / name)
        assert made.exit_code == 0, made.output
    assert made.stdout == f"{tmp_path / 'two'}: 8 pairs, 4 catch trials, 100 schedules of 18 questions\n"
    assert (tmp_path / "one/study.json").read_bytes() == (tmp_path / "two/study.json").read_bytes()


def test_a_rung_takes_the_nearest_file_and_none_that_is_too_far(evaluation: Path) -> None:
    result = make(evaluation, "--ratio", 0.9, "--ratio", 1.2, "--ratio", 1.7, "--ratio", 3)
    assert result.exit_code == 0, result.output
    study, _ = read_study(evaluation.parent / "made")
    assert {(pair.ratio, pair.other.size) for pair in study.pairs} == {(0.9, 500), (1.7, 1000)}


def test_what_no_picture_has_is_refused_with_what_there_is(evaluation: Path) -> None:
    refused(make(evaluation, "--ratio", 0.5), "have 1.00 times the model's bytes: name other --ratio")
    refused(make(evaluation, "--against", "bpg"), "no pictures of bpg, but of ours, theirs")
    refused(make(evaluation, "--against", "ours"), "compared with itself")
    refused(run("make", evaluation, "--output", evaluation.parent / "made"), "the table has ours, theirs")
    refused(make(evaluation, "--repeats", 5), "of 8 pairs at most 4 can be repeated")
    assert [path.name for path in evaluation.parent.iterdir()] == ["pictures"]


def test_pictures_that_some_rungs_lack_are_counted(evaluation: Path) -> None:
    table = evaluation / "pictures.csv"
    table.write_text("".join(line for line in table.open() if not line.startswith("hill,theirs,q4")))
    said = make(evaluation, "--ratio", 1, "--ratio", 4).stderr
    assert said == (
        "gencomp: ours c4 against theirs at 4 times its bytes: 3 of 4 pictures, no file near enough for the others\n"
    )


def test_a_folder_that_is_there_is_left_alone(evaluation: Path) -> None:
    (evaluation.parent / "made").mkdir()
    (evaluation.parent / "made/votes.sqlite").write_text("votes")
    refused(make(evaluation), "made exists: name a new folder")
    assert (evaluation.parent / "made/votes.sqlite").read_text() == "votes"


@pytest.mark.parametrize(
    ("line", "instead", "reason"),
    [
        ("key,codec", "name,codec", "no column key; it needs key,codec,setting,bytes,picture,original"),
        ("ours,c4,500", "ours,c4,0", "line 2: `bytes` must be a whole number from 1 on, not '0'"),
        ("hill-ours-c4.png", "nothing.png", "nothing.png: not a readable picture"),
        ("hill-ours-c4.png", "lake.png", "lake.png: does not have its original's size"),
        ("hill-ours-c4.png,hill.png", "hill-ours-c4.png,lake.png", "does not have its original's size"),
        ("theirs,q2", "theirs,q1", "hill by theirs at q1 stands there twice"),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(evaluation: Path, line: str, instead: str, reason: str) -> None:
    table = evaluation / "pictures.csv"
    assert line in table.read_text()
    table.write_text(table.read_text().replace(line, instead, 1))
    refused(make(evaluation, "--ratio", 1), reason)
    assert not (evaluation.parent / "made").exists()


def test_pictures_without_detail_make_no_catch_trial(evaluation: Path) -> None:
    for key, size in SIZES.items():
        Image.new("RGB", size, (90, 120, 90)).save(evaluation / f"{key}.png")
    refused(make(evaluation, "--ratio", 1), "no picture has enough detail for a catch trial")


@pytest.mark.parametrize("damage", ["", "[]", '{"version": 2}', "\xff"])
def test_a_damaged_study_is_refused(tmp_path: Path, damage: str) -> None:
    (tmp_path / "study.json").write_text(damage, encoding="latin-1")
    with pytest.raises(StudyError, match=r"study\.json: not a study that this version reads"):
        read_study(tmp_path)


def test_a_study_that_lost_a_picture_or_names_none_is_refused(evaluation: Path, study: Study) -> None:
    assert make(evaluation, "--ratio", 1).exit_code == 0
    made = evaluation.parent / "made"
    whole = json.loads((made / "study.json").read_text())
    whole["schedules"][3][0][1] = 99
    (made / "study.json").write_text(json.dumps(whole))
    with pytest.raises(StudyError, match="a trial shows what is not in it"):
        read_study(made)
    (made / "pictures" / f"{study.pairs[0].original}.png").unlink()
    whole["schedules"][3][0][1] = 0
    (made / "study.json").write_text(json.dumps(whole))
    with pytest.raises(StudyError, match=f"{study.pairs[0].original}.png: no such picture"):
        read_study(made)


def test_the_pipelines_folders_become_a_table(repository: Path, tmp_path: Path) -> None:
    options = ("--anchors", repository / "anchors/photos", "--codec", "jpeg", "--codec", "jpeg2000")
    places = (repository / "evaluation/gc", repository / "evaluation/mse")
    output = tmp_path / "pictures"
    result = run("collect", *places, *options, "--originals", repository / "data/shards/photos", "--output", output)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO((output / "pictures.csv").read_text())))
    assert result.stdout == f"{output}: {len(rows)} decoded pictures\n"
    assert {row["codec"] for row in rows} == {"gc", "mse", "jpeg", "jpeg2000"}
    for row in rows:
        with Image.open(output / row["picture"]) as image, Image.open(output / row["original"]) as original:
            assert image.size == original.size
    own = next(row for row in rows if row["codec"] == "gc")
    stored = repository / f"evaluation/gc/decoded/{own['key']}.png"
    with Image.open(output / own["picture"]) as image, Image.open(stored) as decoded:
        assert np.array_equal(np.asarray(image), np.asarray(decoded))
    sizes = sorted(int(row["bytes"]) / int(own["bytes"]) for row in rows if row["key"] == own["key"])
    made = run(
        "make",
        output,
        "--model",
        "gc",
        "--model",
        "mse",
        "--ratio",
        sizes[-1],
        "--repeats",
        3,
        "--output",
        tmp_path / "made",
    )
    assert made.exit_code == 0, made.output
    kinds = {
        (pair.model.codec, pair.other.codec, pair.ratio is None) for pair in read_study(tmp_path / "made")[0].pairs
    }
    assert ("gc", "mse", True) in kinds and any(not between for _, _, between in kinds)


def test_what_the_pipeline_did_not_write_is_refused(repository: Path, tmp_path: Path) -> None:
    originals = ("--originals", repository / "data/shards/photos", "--output", tmp_path / "pictures")
    refused(run("collect", tmp_path, *originals), "images.csv: no such table")
    anchors = ("--anchors", repository / "anchors/photos", "--codec", "vvc")
    refused(run("collect", repository / "evaluation/gc", *anchors, *originals), "no files of vvc")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    wrong = ("--originals", tmp_path, "--output", tmp_path / "pictures")
    refused(run("collect", repository / "evaluation/gc", *wrong), "there is no original of chelsea")
    assert not (tmp_path / "pictures").exists()
