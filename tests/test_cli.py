import json
import os
import pwd
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gencomp import references
from gencomp.cli import main
from gencomp.codec.codec import Codec
from gencomp.codec.container import describe, pack, parse
from gencomp.models.compressor import Compressor, ModelConfig
from gencomp.models.content import content_hash
from gencomp.models.entropy import fit_frequencies
from gencomp.models.package import save_package

PACKAGE = Path(__file__).parent / "codec" / "golden" / "package"
NESTED = Path(__file__).parent / "codec" / "golden" / "nested" / "package"
FINGERPRINT = Codec.from_reference(PACKAGE).package.fingerprint.hex()[:8]
COMMAND = [str(Path(sys.executable).with_name("gencomp"))]
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line in an empty folder, with an empty cache, no shipped models and no model store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(references, "SHIPPED_MODELS", tmp_path / "shipped")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *args: CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture
def photo(run: Run, tmp_path: Path) -> Path:
    """photo.png, 45 x 29, in the working folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (29, 45, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return Path("photo.png")


@pytest.fixture
def stream(run: Run, photo: Path) -> Path:
    """photo.gnc in the working folder, made from photo.png."""
    assert run("compress", photo, "photo.gnc", "--model", PACKAGE).exit_code == 0
    return Path("photo.gnc")


@pytest.fixture
def light(run: Run, tmp_path: Path) -> Codec:
    """A nested model that is shipped as light-1."""
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "light-1").symlink_to(NESTED, target_is_directory=True)
    return Codec.from_reference(NESTED)


def assert_refused(result: Result, reason: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("gencomp: ")
    assert result.stderr.count("\n") == 1
    assert reason in result.stderr


def test_a_picture_becomes_a_stream_and_a_picture_again(run: Run, photo: Path) -> None:
    compressed = run("compress", photo, "photo.gnc", "--model", PACKAGE)
    assert compressed.exit_code == 0
    size = Path("photo.gnc").stat().st_size
    assert compressed.stdout == f"photo.gnc: {size} bytes, {size * 8 / (45 * 29):.4f} bits per pixel\n"
    assert run("decompress", "photo.gnc", "out.png", "--model", PACKAGE).exit_code == 0
    codec = Codec.from_reference(PACKAGE)
    with Image.open("out.png") as out, Image.open(photo) as original:
        assert out.size == (45, 29)
        assert np.array_equal(np.asarray(out), np.asarray(codec.decompress(codec.compress(original))))
    assert sorted(path.name for path in Path().iterdir()) == ["out.png", "photo.gnc", "photo.png"]


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("a.JPEG", "JPEG"), ("a.webp", "WEBP")]
)
def test_the_ending_decides_the_kind_of_picture(run: Run, stream: Path, name: str, kind: str) -> None:
    assert run("decompress", stream, name, "--model", PACKAGE).exit_code == 0
    with Image.open(name) as image:
        assert (image.format, image.size) == (kind, (45, 29))


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_other_modes_are_taken(run: Run, photo: Path, mode: str) -> None:
    name = "other.tif" if mode == "CMYK" else "other.png"
    with Image.open(photo) as image:
        if mode == "I;16":
            Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(name)
        else:
            image.convert(mode).save(name)
    assert run("compress", name, "other.gnc", "--model", PACKAGE).exit_code == 0
    assert run("decompress", "other.gnc", "out.png", "--model", PACKAGE).exit_code == 0
    with Image.open("out.png") as out:
        assert out.size == (45, 29)


def test_a_turned_photograph_is_set_upright(run: Run, photo: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photo) as image:
        image.save("turned.jpg", exif=exif)
    assert run("compress", "turned.jpg", "turned.gnc", "--model", PACKAGE).exit_code == 0
    described = json.loads(run("info", "turned.gnc", "--json").stdout)
    assert (described["width"], described["height"]) == (29, 45)


def test_raw_takes_the_bound(run: Run, photo: Path) -> None:
    assert run("compress", photo, "raw.gnc", "--model", PACKAGE, "--entropy", "raw").exit_code == 0
    described = json.loads(run("info", "raw.gnc", "--json").stdout)
    assert described["entropy"] == "raw"
    assert described["payload_bytes"] <= 7  # 4 channels x 2 x 3 symbols of 5 values


def test_info_tells_all_parts_of_a_stream(run: Run, stream: Path) -> None:
    size = stream.stat().st_size
    described = json.loads(run("info", stream, "--json").stdout)
    assert described == {
        "version": 1,
        "width": 45,
        "height": 29,
        "mode": "GC",
        "entropy": parse(stream.read_bytes()).header.entropy,
        "channels": 4,
        "fingerprint": FINGERPRINT,
        "header_bytes": 13,
        "payload_bytes": size - 13,
        "side_bytes": 0,
        "total_bytes": size,
        "bpp": size * 8 / (45 * 29),
    }
    text = run("info", stream).stdout
    for part in ("45 x 29", "GC", FINGERPRINT, "13 bytes", f"{size - 13} bytes", f"{size} bytes", "side"):
        assert part in text


def test_info_loads_no_network_library_and_is_fast(run: Run, stream: Path) -> None:
    code = (
        "import sys; from gencomp.cli import main; main(['info', 'photo.gnc'], standalone_mode=False);"
        "print([name for name in ('torch', 'numpy', 'PIL', 'mlflow', 'msgspec') if name in sys.modules])"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("damage", ["empty", "foreign", "half", "flipped"])
def test_damaged_streams_are_refused_in_one_line(run: Run, stream: Path, damage: str) -> None:
    data = stream.read_bytes()
    bad = {
        "empty": b"",
        "foreign": Path("photo.png").read_bytes(),
        "half": data[: len(data) // 2],
        "flipped": data[:-1] + bytes([data[-1] ^ 16]),
    }[damage]
    Path("bad.gnc").write_bytes(bad)
    assert_refused(run("info", "bad.gnc"), "bad.gnc: ")
    assert_refused(run("decompress", "bad.gnc", "out.png", "--model", PACKAGE), "bad.gnc: ")
    assert not Path("out.png").exists()


def test_every_truncation_and_every_flipped_bit_is_refused(run: Run, stream: Path) -> None:
    data = stream.read_bytes()
    flipped = [
        data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :] for bit in range(8 * len(data))
    ]
    for bad in [data[:length] for length in range(len(data))] + flipped:
        Path("bad.gnc").write_bytes(bad)
        assert_refused(run("info", "bad.gnc"), "bad.gnc: ")


def test_a_payload_that_stands_for_no_symbols_is_refused(run: Run, stream: Path) -> None:
    header, payload = parse(stream.read_bytes())
    Path("bad.gnc").write_bytes(pack(header, payload + b"\1" * 20))
    assert_refused(run("decompress", "bad.gnc", "out.png", "--model", PACKAGE), "bad.gnc: damaged stream")


def test_the_wrong_model_is_refused_with_both_fingerprints(run: Run, stream: Path) -> None:
    config = ModelConfig(width=2, blocks=0, channels=4)
    save_package(Path("other"), config, Compressor(config), fit_frequencies(np.ones((4, 5), np.int64)))
    other = Codec.from_reference("other").package.fingerprint.hex()[:8]
    result = run("decompress", stream, "out.png", "--model", "other")
    assert_refused(result, FINGERPRINT)
    assert_refused(result, other)
    assert not Path("out.png").exists()


@pytest.mark.parametrize("place", ["models/gc", "cache/gencomp/models/0123", "shipped/light-1"])
def test_the_model_of_a_stream_is_found_by_its_fingerprint(run: Run, stream: Path, place: str) -> None:
    assert_refused(run("decompress", stream, "out.png"), f"made by model {FINGERPRINT}")
    assert_refused(run("decompress", stream, "out.png"), "--model REF")
    Path(place).parent.mkdir(parents=True)
    Path(place).symlink_to(PACKAGE, target_is_directory=True)
    assert run("decompress", stream, "out.png").exit_code == 0


def test_compressing_needs_a_model(run: Run, photo: Path) -> None:
    assert_refused(run("compress", photo, "photo.gnc"), "this installation ships no models")
    assert_refused(run("compress", photo, "photo.gnc", "--model", "nowhere"), "nowhere is neither a folder nor")
    assert_refused(run("compress", photo, "photo.gnc", "--model", "no/where"), "no/where is not a model package")
    assert_refused(run("compress", photo, "photo.gnc", "--model", "models:/a@b"), "there is no model store", code=1)
    assert not Path("photo.gnc").exists()


def test_the_shipped_model_is_used_where_none_is_named(run: Run, photo: Path, light: Codec) -> None:
    with Image.open(photo) as image:
        image.resize((400, 300)).save("large.png")
    compressed = run("compress", "large.png", "large.gnc")
    assert compressed.exit_code == 0
    data = Path("large.gnc").read_bytes()
    with Image.open("large.png") as large:
        assert data == light.compress(large, max_bpp=0.036)
    rate = f"{len(data)} bytes, {len(data) * 8 / 120_000:.4f} bits per pixel"
    assert compressed.stdout == f"large.gnc: {rate}, {describe(data).channels} of 16 channels\n"
    assert run("decompress", "large.gnc", "out.png").exit_code == 0
    with Image.open("out.png") as out:
        assert np.array_equal(np.asarray(out), np.asarray(light.decompress(data)))


@pytest.mark.parametrize("rate", [("--channels", "5"), ("--max-bpp", "0.4"), ("--max-bytes", "40")], ids=" ".join)
def test_a_rate_is_asked_for_in_channels_bits_per_pixel_or_bytes(
    run: Run, photo: Path, light: Codec, rate: tuple[str, str]
) -> None:
    assert run("compress", photo, "photo.gnc", "--model", "light-1", *rate).exit_code == 0
    option = {rate[0].removeprefix("--").replace("-", "_"): float(rate[1]) if "." in rate[1] else int(rate[1])}
    with Image.open(photo) as image:
        assert Path("photo.gnc").read_bytes() == light.compress(image, **option)


def test_rates_that_cannot_be_had_are_refused(run: Run, photo: Path, light: Codec) -> None:
    smallest = len(light.compress(Image.open(photo), channels=1))
    for rate in (("--max-bpp", "0.036"), ("--max-bytes", "1")):
        assert_refused(run("compress", photo, "out.gnc", *rate), f"it takes at least {smallest} bytes")
        assert_refused(run("compress", photo, "out.gnc", "--model", PACKAGE, *rate), "it takes at least")
    assert_refused(run("compress", photo, "out.gnc", "--channels", 3, "--max-bytes", 99), "exclude each other")
    assert_refused(run("compress", photo, "out.gnc", "--model", PACKAGE, "--channels", 3), "codes 4 channels, not 3")
    for rate in (
        ("--channels", "0"),
        ("--channels", "17"),
        ("--max-bpp", "0"),
        ("--max-bytes", "0"),
        ("--max-bpp", "x"),
    ):
        assert run("compress", photo, "out.gnc", *rate).exit_code == 2
    assert not Path("out.gnc").exists()


def test_the_help_of_compress_shows_the_default_rate(run: Run) -> None:
    assert "[default: 0.036]" in run("compress", "--help").stdout


def test_pictures_that_cannot_be_read_are_refused(run: Run) -> None:
    Path("text.png").write_text("hello")
    assert_refused(run("compress", "text.png", "out.gnc", "--model", PACKAGE), "text.png: not a picture")
    assert_refused(run("compress", "nowhere.png", "out.gnc", "--model", PACKAGE), "nowhere.png: no such file")
    assert_refused(run("info", "."), ".: not a file")
    assert not Path("out.gnc").exists()


def test_a_file_that_is_a_program_is_refused_whatever_it_is_called(run: Run) -> None:
    Image.new("RGB", (40, 40)).save("photo.jpg", "EPS")
    assert_refused(run("compress", "photo.jpg", "out.gnc", "--model", PACKAGE), "EPS files are programs")


def test_an_empty_name_is_not_the_working_folder(run: Run, photo: Path) -> None:
    """As of a variable that a shell was never told."""
    for args in (("compress", "", "out"), ("compress", photo, ""), ("info", ""), ("evaluate", ".", "--output", "")):
        done = run(*args)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "a name is empty" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["photo.png"]


def test_standard_input_is_no_folder_whatever_is_called_so(run: Run, stream: Path) -> None:
    Path("-").mkdir()
    Path("-", "photo.gnc").write_bytes(stream.read_bytes())
    done = CliRunner().invoke(main, ["info", "-", "--json"], input=stream.read_bytes())
    assert json.loads(done.stdout)["width"] == 45
    refused = CliRunner().invoke(main, ["decompress", "-", "out.png", "--model", str(PACKAGE)], input=b"none")
    assert_refused(refused, "standard input: not a .gnc stream")


def test_names_may_be_as_long_as_names_may_be(run: Run, photo: Path) -> None:
    name = "a" * 251 + ".gnc"
    assert run("compress", photo, name, "--model", PACKAGE).exit_code == 0
    assert run("decompress", name, "b" * 251 + ".png", "--model", PACKAGE).exit_code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text")
def test_names_need_not_be_text(run: Run, photo: Path) -> None:
    name = os.fsdecode(b"\xff \n.gnc")
    done = run("compress", photo, name, "--model", PACKAGE)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("\\udcff \n.gnc: ")
    assert describe(Path(name).read_bytes()).width == 45


def test_of_a_link_the_file_that_it_leads_to_is_written(run: Run, photo: Path) -> None:
    Path("far").mkdir()
    Path("link.gnc").symlink_to("far/out.gnc")
    assert run("compress", photo, "link.gnc", "--model", PACKAGE).exit_code == 0
    assert_refused(run("compress", photo, "link.gnc", "--model", PACKAGE), "link.gnc exists: add --force")
    Path("far/out.gnc").write_text("old")
    assert run("compress", photo, "link.gnc", "--model", PACKAGE, "--force").exit_code == 0
    assert Path("link.gnc").is_symlink() and describe(Path("far/out.gnc").read_bytes()).width == 45
    assert [path.name for path in Path("far").iterdir()] == ["out.gnc"]
    Path("lost.gnc").symlink_to("nowhere/out.gnc")
    assert_refused(run("compress", photo, "lost.gnc", "--model", PACKAGE), "nothing can be written into the folder")


def test_closed_streams_are_told_of_or_done_without(run: Run, stream: Path) -> None:
    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["sh", "-c", line, *COMMAND], capture_output=True, text=True, timeout=600)

    done = shell('"$0" decompress photo.gnc - >&-')
    assert (done.returncode, done.stderr) == (2, "gencomp: standard output is closed\n")
    done = shell('"$0" info - <&-')
    assert (done.returncode, done.stderr) == (2, "gencomp: standard input is closed\n")
    done = shell(f'"$0" decompress photo.gnc out.png --model {PACKAGE} 2>&-')
    assert (done.returncode, done.stdout) == (0, "out.png: 45 x 29\n")


def test_a_reader_who_has_seen_enough_is_no_error(run: Run, stream: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "info", str(stream)], stdout=writer, stderr=subprocess.PIPE, timeout=600)
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_ended_command_leaves_nothing_and_says_nothing_odd(run: Run, number: signal.Signals) -> None:
    """One that is in the middle of a write, of which it has told what it is called."""
    program = """
import os, signal, sys, time
from pathlib import Path
from gencomp import cli, files

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup or in the background,
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these are ignored

def slowly(target, force):
    print(*Path().glob(".gencomp-*.tmp"), flush=True)
    time.sleep(600)

files.check_target = slowly
cli.read = lambda source: files.write(Path("out.gnc"), b"data", False)
cli.main(["info", "photo.gnc"])
"""
    Path("photo.gnc").touch()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert Path(os.fsdecode(process.stdout.readline().strip())).read_bytes() == b"data"
        process.send_signal(number)
        code = process.wait(600)
        assert (code, process.stderr.read().strip()) == (
            (1, b"Aborted!") if number == signal.SIGINT else (128 + number, b"")
        )
    assert [path.name for path in Path().iterdir()] == ["photo.gnc"]


@pytest.mark.parametrize(("number", "work"), [(signal.SIGTERM, 600), (signal.SIGINT, 600), (signal.SIGHUP, 1)])
def test_an_ended_command_waits_for_threads_a_moment_and_no_longer(number: signal.Signals, work: int) -> None:
    program = f"""
import signal, threading, time
from gencomp.commands import ending

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
ending.GRACE = {0.5 if work == 600 else 600}

def worker():
    time.sleep({work})
    print("done", flush=True)

with ending.ended_in_order():
    threading.Thread(target=worker).start()
    print("begun", flush=True)
    time.sleep(600)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=120)
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert (out, errors) == ("done\n" if work == 1 else "", "Aborted!\n" if number == signal.SIGINT else "")


def test_a_user_without_a_home_can_do_all_but_pull(
    run: Run, photo: Path, light: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that runs under a number of its own."""

    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert run("compress", photo, "out.gnc").exit_code == 0
    assert run("decompress", "out.gnc", "out.png").exit_code == 0
    assert run("models", "list").stdout.startswith("shipped")
    assert_refused(run("compress", photo, "other.gnc", "--model", "models:/gencomp-gc@champion"), "set XDG_CACHE_HOME")


def test_an_existing_file_is_replaced_only_by_force(run: Run, photo: Path) -> None:
    Path("out.gnc").write_text("precious")
    assert_refused(run("compress", photo, "out.gnc", "--model", PACKAGE), "out.gnc exists: add --force")
    assert Path("out.gnc").read_text() == "precious"
    assert run("compress", photo, "out.gnc", "--model", PACKAGE, "--force").exit_code == 0
    Path("out.png").write_text("precious")
    assert_refused(run("decompress", "out.gnc", "out.png", "--model", PACKAGE), "out.png exists: add --force")
    assert Path("out.png").read_text() == "precious"
    assert run("decompress", "out.gnc", "out.png", "--model", PACKAGE, "--force").exit_code == 0
    with Image.open("out.png") as image:
        assert image.size == (45, 29)


def test_impossible_outputs_are_refused_before_any_work(run: Run, photo: Path, stream: Path) -> None:
    assert_refused(run("compress", photo, "nowhere/out.gnc", "--model", PACKAGE), "nowhere does not exist")
    assert_refused(run("decompress", stream, "out.gif", "--model", PACKAGE), "must end in .png")
    Path("folder.png").mkdir()
    assert_refused(run("decompress", stream, "folder.png", "--model", PACKAGE, "--force"), "is not a file")
    Path("same.gnc").symlink_to(photo)
    for target in (photo, "same.gnc"):
        assert_refused(run("compress", photo, target, "--model", PACKAGE, "--force"), "is what is read")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(run: Run, stream: Path) -> None:
    """Room for 200 bytes per file, as on a disk that is full."""
    Path("out.png").write_text("precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        result = run("decompress", stream, "out.png", "--model", PACKAGE, "--force")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_refused(result, "File too large", code=1)
    assert Path("out.png").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["out.png", "photo.gnc", "photo.png"]


def test_the_installed_command_refuses_in_one_line_with_exit_code_2(run: Run) -> None:
    Path("bad.gnc").write_bytes(b"\x9eG\0")
    done = subprocess.run([*COMMAND, "info", "bad.gnc"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gencomp: bad.gnc: truncated stream: 3 bytes, and the header alone takes 13\n"


def test_a_whole_journey_through_the_installed_command(run: Run, photo: Path) -> None:
    for args in (
        ["compress", "photo.png", "photo.gnc", "--model", str(PACKAGE)],
        ["decompress", "photo.gnc", "out.png", "--model", str(PACKAGE)],
        ["info", "photo.gnc", "--json"],
    ):
        done = subprocess.run(COMMAND + args, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["fingerprint"] == FINGERPRINT


def test_local_and_pulled_models_are_listed(run: Run) -> None:
    assert run("models", "list").stdout == ""
    for place in ("models/gc", "cache/gencomp/models/0123"):
        Path(place).parent.mkdir(parents=True)
        Path(place).symlink_to(PACKAGE, target_is_directory=True)
    content = content_hash(PACKAGE)[:12]
    listed = run("models", "list")
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["local", content, "models/gc"],
        ["pulled", content, f"{os.environ['XDG_CACHE_HOME']}/gencomp/models/0123"],
    ]


def test_shipped_models_are_listed_first_by_the_name_they_are_referred_to(run: Run, light: Codec) -> None:
    Path("models").mkdir()
    Path("models/gc").symlink_to(PACKAGE, target_is_directory=True)
    listed = [line.split() for line in run("models", "list").stdout.splitlines()]
    assert listed == [
        ["shipped", content_hash(NESTED)[:12], "light-1"],
        ["local", content_hash(PACKAGE)[:12], "models/gc"],
    ]


def test_pulling_refuses_what_it_cannot_do(run: Run) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    assert_refused(run("models", "pull", "models:/a@b", "full"), "full exists: name a new folder")
    assert_refused(run("models", "pull", "some/folder", "new"), "some/folder is not a registered model")
    assert_refused(run("models", "pull", "models:/a@b", "new"), "there is no model store", code=1)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["compress"],
        ["decompress"],
        ["info"],
        ["export"],
        ["serve"],
        ["models"],
        ["models", "list"],
        ["models", "pull"],
    ],
)
def test_every_command_shows_an_example(run: Run, command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert f"Example:\n    gencomp {' '.join(command)}".rstrip() in shown.stdout


def test_unknown_options_are_refused_with_exit_code_2(run: Run) -> None:
    assert run("info", "--colour").exit_code == 2
    assert run("compress", "a.png").exit_code == 2


@pytest.fixture
def selective(run: Run, photo: Path) -> Codec:
    """A model of selective compression in ./models, of 3 classes, and the label map labels.png of photo.png."""
    config = ModelConfig(width=2, blocks=0, channels=2, mode="sc", classes=3)
    save_package(Path("models/sc"), config, Compressor(config), fit_frequencies(np.ones((2, 5), np.int64)))
    labels = np.arange(29 * 45).reshape(29, 45) // 500
    Image.fromarray(labels.astype(np.uint8)).save("labels.png")
    Image.fromarray((labels + 7).astype(np.uint16)).save("instances.png")
    return Codec.from_reference("models/sc")


@pytest.mark.parametrize("preserve", [None, "all", "none", "box:0,0,9,9", "classes:0,2", "instances:8", "labels.png"])
def test_a_label_map_and_a_region_make_a_selective_stream(run: Run, selective: Codec, preserve: str | None) -> None:
    region = () if preserve is None else ("--preserve", preserve)
    maps = ("--labels", "labels.png", "--instances", "instances.png")
    compressed = run("compress", "photo.png", "photo.gnc", "--model", "models/sc", *maps, *region)
    assert compressed.exit_code == 0, compressed.output
    data = Path("photo.gnc").read_bytes()
    labels, instances = (np.asarray(Image.open(name)) for name in ("labels.png", "instances.png"))
    with Image.open("photo.png") as image:
        assert data == selective.compress(image, labels=labels, instances=instances, preserve=preserve)
    described = json.loads(run("info", "photo.gnc", "--json").stdout)
    assert described["mode"] == "SC"
    assert 13 + described["side_bytes"] + described["payload_bytes"] == described["total_bytes"] == len(data)
    assert compressed.stdout.endswith(f", {described['side_bytes']} bytes of it side information\n")
    assert f"side         {described['side_bytes']} bytes" in run("info", "photo.gnc").stdout
    assert run("decompress", "photo.gnc", "out.png").exit_code == 0
    with Image.open("out.png") as out:
        assert np.array_equal(np.asarray(out), np.asarray(selective.decompress(data)))


def test_selections_that_do_not_fit_are_refused(run: Run, selective: Codec) -> None:
    Image.new("RGB", (45, 29)).save("colours.png")
    Image.new("L", (45, 28)).save("small.png")
    Image.new("L", (45, 29), 3).save("foreign.png")
    model, labels = ("--model", "models/sc"), ("--labels", "labels.png")
    for args, reason in [
        (model, "needs the picture's label map (labels, or --labels MAP.png)"),
        ((*model, "--labels", "nowhere.png"), "cannot be read as an image"),
        ((*model, "--labels", "colours.png"), "no single-channel image of ids"),
        ((*model, "--labels", "small.png"), "45 x 28 pixels, and the picture 45 x 29"),
        ((*model, "--labels", "foreign.png"), "has id 3, and this model knows 0 to 2"),
        ((*model, *labels, "--preserve", "box:0,0,46,1"), "not within the picture"),
        ((*model, *labels, "--preserve", "classes:car"), "classes: needs whole numbers"),
        ((*model, *labels, "--preserve", "instances:1"), "needs an instance map"),
        ((*model, *labels, "--preserve", "everything"), "no region and no file"),
        ((*model, *labels, "--max-bytes", 13), "it takes at least"),
        (("--model", PACKAGE, *labels), "this model compresses whole pictures"),
        (("--model", PACKAGE, "--preserve", "all"), "this model compresses whole pictures"),
    ]:
        assert_refused(run("compress", "photo.png", "out.gnc", *args), reason)
    assert not Path("out.gnc").exists()


def test_a_model_that_reads_the_whole_picture_says_why_it_refuses_large_ones(run: Run, stream: Path) -> None:
    header, payload = parse(stream.read_bytes())
    Path("huge.gnc").write_bytes(pack(replace(header, width=5000, height=5000), payload))
    Image.new("1", (5000, 5000)).save("huge.png")
    reason = "over the limit of 16777216 pixels, since this model reads all of it at once"
    assert_refused(run("decompress", "huge.gnc", "out.png", "--model", PACKAGE), reason)
    assert_refused(run("compress", "huge.png", "out.gnc", "--model", PACKAGE), reason)
    data = Path("huge.png").read_bytes()
    assert_refused(CliRunner().invoke(main, ["compress", "-", "out.gnc", "--model", str(PACKAGE)], input=data), reason)
    assert not Path("out.gnc").exists()
