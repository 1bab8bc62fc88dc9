"""Folders and pipes on the command line, and pictures as users have them."""

import io
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Invoked
from PIL import Image

from gencomp.cli import main
from gencomp.codec.codec import Codec
from gencomp.codec.container import describe
from gencomp.folders import Job, Progress, Result, carry_out

PACKAGE = Path(__file__).parent / "codec" / "golden" / "package"
MODEL = ("--model", PACKAGE)
Run = Callable[..., Invoked]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args, input=None: CliRunner().invoke(main, [str(arg) for arg in args], input=input)


@pytest.fixture
def photos(run: Run) -> Path:
    """photos/ with two pictures, one in a folder below, and what is no picture beside them."""
    for name, width in (("one.png", 45), ("two.JPG", 33), ("below/three.webp", 20)):
        path = Path("photos", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(width).integers(0, 256, (29, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    Path("photos/notes.txt").write_text("no picture")
    Path("photos/.hidden.png").write_text("no picture either")
    return Path("photos")


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_a_folder_is_compressed_and_decompressed_file_by_file(run: Run, photos: Path) -> None:
    done = run("compress", photos, "streams", "--recursive", "--jobs", 2, *MODEL)
    assert (done.exit_code, done.stderr) == (0, "")
    assert files("streams") == ["below/three.gnc", "one.gnc", "two.gnc"]
    found = [describe(Path("streams", name).read_bytes()) for name in files("streams")]
    size, pixels = sum(one.total_bytes for one in found), sum(one.width * one.height for one in found)
    summary = f"3 files, {size} bytes, {size * 8 / pixels:.4f} bits per pixel, 0 failed, 0 skipped"
    assert done.stdout == f"streams: {summary}\n"
    codec = Codec.from_reference(PACKAGE)
    with Image.open("photos/one.png") as image:
        assert Path("streams/one.gnc").read_bytes() == codec.compress(image)
    back = run("decompress", "streams", "pictures", "-r", *MODEL)
    assert (back.exit_code, back.stdout) == (0, f"pictures: {summary}\n")
    assert files("pictures") == ["below/three.png", "one.png", "two.png"]
    with Image.open("pictures/one.png") as image:
        assert np.array_equal(image, codec.decompress(Path("streams/one.gnc").read_bytes()))
    assert run("decompress", "streams", "jpegs", "--format", "jpg", *MODEL).exit_code == 0
    assert files("jpegs") == ["one.jpg", "two.jpg"]


def test_what_is_there_is_left_alone_unless_forced(run: Run, photos: Path) -> None:
    Path("streams").mkdir()
    Path("streams/one.gnc").write_text("precious")
    done = run("compress", photos, "streams", *MODEL)
    assert done.exit_code == 0
    assert done.stdout.startswith("streams: 1 file, ") and done.stdout.endswith(", 0 failed, 1 skipped\n")
    assert Path("streams/one.gnc").read_text() == "precious"
    assert run("compress", photos, "streams", *MODEL).stdout == "streams: 0 files, 0 failed, 2 skipped\n"
    assert "2 files" in run("compress", photos, "streams", "--force", *MODEL).stdout
    assert describe(Path("streams/one.gnc").read_bytes()).width == 45


def test_files_that_fail_are_named_and_counted_and_the_others_are_done(run: Run, photos: Path) -> None:
    Path("photos/bad.png").write_text("hello")
    Image.new("RGB", (9, 9)).save("photos/one.bmp")
    done = run("compress", photos, "streams", *MODEL)
    assert done.exit_code == 1
    assert sorted(done.stderr.splitlines()) == [
        "gencomp: photos/bad.png: not a picture that can be read",
        "gencomp: photos/one.png: one.bmp becomes one.gnc too: rename one of them",
    ]
    assert done.stdout.endswith(", 2 failed, 0 skipped\n")
    assert files("streams") == ["one.gnc", "two.gnc"]
    Path("streams/one.gnc").write_bytes(b"\x9eG\0")
    back = run("decompress", "streams", "pictures", *MODEL)
    assert (back.exit_code, files("pictures")) == (1, ["two.png"])
    assert back.stderr.startswith("gencomp: streams/one.gnc: truncated stream")


def test_folders_that_cannot_be_done_are_refused(run: Run, photos: Path) -> None:
    Path("file").touch()
    Path("empty").mkdir()
    for args, reason in [
        (("compress", "empty", "out", *MODEL), "empty: no file in it ends in .png, "),
        (("decompress", photos, "out", *MODEL), "no file in it ends in .gnc, --recursive looks into its folders too"),
        (("compress", photos, "file", *MODEL), "file is not a folder, and photos is one"),
        (("compress", photos, "-", *MODEL), "- is not a folder, and photos is one"),
        (("compress", photos, "out", "--labels", "a.png", *MODEL), "for one picture, not for a folder"),
        (("decompress", "file", "out.png", "--format", "jpg", *MODEL), "--format is for standard output and folders"),
        (("compress", photos, "out", "--background", "whitish", *MODEL), "'whitish' is no colour"),
    ]:
        done = run(*args)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("gencomp: ") and done.stderr.count("\n") == 1
        assert reason in done.stderr
    assert not Path("out").exists()


def test_pipes_in_a_folder_are_passed_over_and_links_that_lead_nowhere_fail(run: Run, photos: Path) -> None:
    os.mkfifo(photos / "pipe.png")
    (photos / "link.png").symlink_to("nowhere.png")
    done = run("compress", photos, "streams", *MODEL)
    assert done.exit_code == 1
    assert "photos/link.png: " in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.startswith("streams: 2 files, ") and done.stdout.endswith(", 1 failed, 0 skipped\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into every folder")
def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(run: Run, photos: Path) -> None:
    (photos / "below").chmod(0)
    done = run("compress", photos, "streams", "--recursive", *MODEL)
    (photos / "below").chmod(0o700)
    assert done.exit_code == 1 and "Permission denied" in done.stderr


def test_an_interruption_ends_a_file_between_its_parts(tmp_path: Path) -> None:
    begun = threading.Event()
    ended: list[str] = []

    def work(job: Job, progress: Progress) -> Result:
        if job.source.name == "quick":
            begun.wait(60)
            return Result(1, 1)
        for part in range(60_000):
            begun.set()
            try:
                progress(part, 60_000)
            except InterruptedError:
                ended.append(job.source.name)
                raise
            time.sleep(0.001)
        return Result(1, 1)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    jobs = [Job(Path(name), tmp_path / name) for name in ("slow", "quick", "never")]
    with pytest.raises(KeyboardInterrupt):
        carry_out(jobs, work, threads=2, force=False, progress=interrupt)
    assert "slow" in ended  # "never" may have begun as well


def test_pictures_and_streams_pass_through_pipes(run: Run, photos: Path) -> None:
    data = Path("photos/one.png").read_bytes()
    stream = run("compress", "-", "-", *MODEL, input=data)
    assert stream.exit_code == 0
    with Image.open("photos/one.png") as image:
        assert stream.stdout_bytes == Codec.from_reference(PACKAGE).compress(image)
    assert stream.stderr.startswith("-: ") and "bits per pixel" in stream.stderr
    assert "45 x 29" in run("info", "-", input=stream.stdout_bytes).stdout
    for options, kind in ((), "PNG"), (("--format", "webp"), "WEBP"):
        picture = run("decompress", "-", "-", *options, *MODEL, input=stream.stdout_bytes)
        assert picture.stderr == "-: 45 x 29\n"
        with Image.open(io.BytesIO(picture.stdout_bytes)) as image:
            assert (image.format, image.size) == (kind, (45, 29))
    assert run("compress", "-", "-", *MODEL, input=b"hello").stderr.startswith("gencomp: standard input: not a picture")
    assert run("decompress", "-", "-", *MODEL, input=b"hello").stderr.startswith("gencomp: standard input: not a .gnc")
    assert not Path("-").exists()
    Path("-").write_bytes(data)  # a file of that name
    assert run("compress", "./-", "out.gnc", *MODEL).exit_code == 0


def test_alpha_is_shown_over_the_background_or_refused(run: Run) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save("clear.png")
    codec = Codec.from_reference(PACKAGE)
    for options, colour in ((), "white"), (("--background", "#204060"), "#204060"):
        assert run("compress", "clear.png", "out.gnc", "--force", *options, *MODEL).exit_code == 0
        assert Path("out.gnc").read_bytes() == codec.compress(Image.new("RGB", (40, 40), colour))
    done = run("compress", "clear.png", "out.gnc", "--force", "--refuse-alpha", *MODEL)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "clear.png: the picture has transparent pixels" in done.stderr


def test_frames_that_are_left_out_are_told_of(run: Run) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    done = run("compress", "moving.gif", "out.gnc", *MODEL)
    assert done.exit_code == 0
    assert done.stderr == "gencomp: moving.gif: it has more than one frame: only the first is taken\n"


def test_bytes_are_not_sent_to_a_terminal(run: Run, photos: Path) -> None:
    leader, follower = pty.openpty()
    command = [str(Path(sys.executable).with_name("gencomp")), "compress", "photos/one.png", "-"]
    done = subprocess.run(command, stdout=follower, stderr=subprocess.PIPE, text=True, timeout=600)
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert done.stderr == "gencomp: standard output is a terminal: send it to a file or to another command\n"
