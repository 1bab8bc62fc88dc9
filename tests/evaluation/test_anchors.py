"""Classical codecs over their ladders: real encoders, files that Pillow opens, the same bytes each time."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image, features
from skimage import data

from gencomp.evaluation.anchors import AnchorsConfig, measure_anchors
from gencomp.evaluation.cache import ResultCache
from gencomp.evaluation.classical import CODECS, ClassicalCodec, ClassicalCodecError
from gencomp.evaluation.distribution import read_sets
from gencomp.evaluation.held_out import HeldOutImage
from gencomp.evaluation.metrics import psnr
from gencomp.evaluation.rates import read_rows
from gencomp.weights.failure import MissingWeightsError
from tests.evaluation.conftest import photograph

CHELSEA = np.asarray(Image.fromarray(data.chelsea()).resize((181, 177)))
SMALL = CHELSEA[:33, :17]
LADDERS = AnchorsConfig(jpeg=(5, 40), webp=(20,), jpeg2000=(0.1, 0.5), avif=(20,), bpg=())
ZOO = ("bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018_mean", "mbt2018")
MIDDLE = dict.fromkeys(ZOO, 3) | {
    "jpeg": 30,
    "webp": 30,
    "jpeg2000": 1.0,
    "avif": 40,
    "heic": 40,
    "jxl": 60,
    "vvc": 42,
    "bpg": 35,
}
NEXT_LOWEST = {
    **{"jpeg": (2, 3), "webp": (1, 5), "jpeg2000": (0.01, 0.1), "avif": (1, 5)},
    **{"heic": (1, 5), "jxl": (1, 5), "vvc": (62, 55), "bpg": (50, 48)},
    **dict.fromkeys(ZOO, (2, 3)),
}


def usable(name: str) -> ClassicalCodec:
    codec = CODECS[name]
    if reason := codec.missing():
        pytest.skip(f"{codec.title} cannot be used here: {reason}")
    return codec


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_gives_the_same_file_twice_and_a_picture_like_the_original(name: str) -> None:
    codec = usable(name)
    first, decoded = codec.round_trip(CHELSEA, MIDDLE[name])
    second, _ = codec.round_trip(CHELSEA, MIDDLE[name])
    assert first == second
    assert decoded.shape == CHELSEA.shape and decoded.dtype == np.uint8
    assert psnr(CHELSEA, decoded) > 25


@pytest.mark.parametrize("name", CODECS)
def test_no_setting_of_a_codec_goes_below_its_lowest(name: str) -> None:
    codec = usable(name)
    lowest = len(codec.encode(Image.fromarray(CHELSEA), codec.lowest))
    assert all(lowest <= len(codec.encode(Image.fromarray(CHELSEA), setting)) for setting in NEXT_LOWEST[name])


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(1, 1), (7, 1), (33, 17)])
def test_a_codec_takes_odd_and_tiny_pictures(name: str, size: tuple[int, int]) -> None:
    pixels = CHELSEA[: size[0], : size[1]]
    _, decoded = usable(name).round_trip(pixels, MIDDLE[name])
    assert decoded.shape == pixels.shape


def test_jpeg_files_are_progressive_with_halved_colour_and_tables_of_their_own() -> None:
    data_ = usable("jpeg").encode(Image.fromarray(CHELSEA), 30)
    with Image.open(io.BytesIO(data_)) as image:
        assert image.info["progressive"] == 1
        assert [component[1:3] for component in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]
    plain = io.BytesIO()
    Image.fromarray(CHELSEA).save(plain, "JPEG", quality=30)
    assert len(data_) < len(plain.getvalue())


def test_jpeg_2000_files_are_bare_codestreams_without_a_comment() -> None:
    codestream = usable("jpeg2000").encode(Image.fromarray(CHELSEA), 0.3)
    assert codestream.startswith(b"\xff\x4f\xff\x51")
    assert b"OpenJPEG" not in codestream


def test_a_damaged_jpeg_2000_header_is_refused() -> None:
    from gencomp.evaluation.classical import _without_comment

    with pytest.raises(ClassicalCodecError, match="byte 2"):
        _without_comment(b"\xff\x4f\xff\x51\xff\xff")


def test_the_anchors_of_pictures_are_rows_and_files_with_the_lowest_rates_added(tmp_path: Path) -> None:
    anchors = measure_anchors([HeldOutImage("a", CHELSEA), HeldOutImage("b", SMALL)], LADDERS, tmp_path / "x", 2)
    rows = read_rows(tmp_path / "x" / "images.csv")
    assert [(row.key, row.codec, row.setting, row.size) for row in rows] == [
        (row.key, row.codec, row.setting, row.size) for row in anchors.rows
    ]
    by_codec = {codec: [row.setting for row in rows if row.key == "a" and row.codec == codec] for codec in MIDDLE}
    assert by_codec["jpeg"] == ["1", "5", "40"]
    assert by_codec["jpeg2000"] == ["0.001", "0.1", "0.5"]
    assert by_codec["bpg"] == []
    with tarfile.open(tmp_path / "x" / "files.tar") as archive:
        sizes = {member.name: member.size for member in archive}
        assert sizes["a.jpeg-5.jpg"] == next(r.size for r in rows if (r.key, r.codec, r.setting) == ("a", "jpeg", "5"))
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in archive} == {(0, 0, 0, "")}
    assert len(sizes) == len(rows)
    assert all(row.ms_ssim is None for row in rows if row.key == "b")
    assert all(row.ms_ssim is not None for row in rows if row.key == "a")


def test_the_anchors_have_the_same_bytes_with_any_number_of_threads(tmp_path: Path) -> None:
    for threads in (1, 3):
        measure_anchors([HeldOutImage("a", CHELSEA)], LADDERS, tmp_path / str(threads), threads)
    for name in ("images.csv", "files.tar"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()


def test_a_second_run_encodes_and_measures_nothing_and_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = AnchorsConfig(jpeg=(30,), webp=(20,), jpeg2000=(), avif=(), jxl=(30,), bpg=())
    images = [HeldOutImage("a", CHELSEA), HeldOutImage("b", SMALL)]
    cache = ResultCache(tmp_path / "cache")
    measure_anchors(images, config, tmp_path / "plain", 1)
    measure_anchors(images, config, tmp_path / "cold", 1, cache=cache)

    def refuse(*of: object) -> float:
        raise AssertionError("it is known already")

    monkeypatch.setattr("gencomp.evaluation.metrics.psnr", refuse)
    monkeypatch.setattr("gencomp.evaluation.metrics.ms_ssim", refuse)
    monkeypatch.setattr(ClassicalCodec, "round_trip", refuse)
    measure_anchors(images, config, tmp_path / "warm", 1, cache=cache)
    for name in ("images.csv", "files.tar", "protocols.json"):
        assert len({(tmp_path / folder / name).read_bytes() for folder in ("plain", "cold", "warm")}) == 1
    with pytest.raises(AssertionError, match="it is known already"):
        measure_anchors(images, msgspec.structs.replace(config, jpeg=(31,)), tmp_path / "new", 1, cache=cache)


def test_all_pictures_at_once_are_measured_for_each_setting(tmp_path: Path) -> None:
    config = AnchorsConfig(jpeg=(30,), webp=(), jpeg2000=(), avif=(), bpg=())
    images = [HeldOutImage(key, photograph(key, 256, 256)) for key in ("coffee", "rocket")]
    try:
        measure_anchors([*images, HeldOutImage("b", SMALL)], config, tmp_path / "x", 1, ["kid"])
    except MissingWeightsError as error:
        pytest.skip(str(error))
    lowest, better = read_sets(tmp_path / "x" / "sets.csv")
    assert (lowest.setting, better.setting) == ("1", "30")
    assert lowest.figures.images == better.figures.patches == 2
    assert lowest.figures.kid is not None and better.figures.kid is not None
    assert lowest.figures.kid > better.figures.kid
    found = json.loads((tmp_path / "x" / "protocols.json").read_text())
    assert list(found["metrics"]) == ["psnr", "kid", "fid"]
    assert found["codecs"]["jpeg"]["settings"] == ["1", "30"] and found["codecs"]["jpeg"]["version"]


def test_a_codec_that_is_absent_is_left_out_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = AnchorsConfig(jpeg=(30,), webp=(), jpeg2000=(), avif=(), bpg=(40,))
    anchors = measure_anchors([HeldOutImage("a", SMALL)], config, tmp_path / "x", 1)
    assert anchors.left_out == {"BPG": "bpgenc and bpgdec not on PATH"}
    assert {row.codec for row in anchors.rows} == {"jpeg"}


def test_every_codec_that_pillow_brings_is_used() -> None:
    for name, feature in {"jpeg": "jpg", "webp": "webp", "jpeg2000": "jpg_2000", "avif": "avif"}.items():
        assert (CODECS[name].missing() is None) == features.check(feature)


@pytest.mark.skipif(shutil.which("bpgenc") is None or shutil.which("bpgdec") is None, reason="BPG is not on PATH")
def test_bpg_files_come_with_their_decoded_picture(tmp_path: Path) -> None:
    config = AnchorsConfig(jpeg=(), webp=(), jpeg2000=(), avif=(), bpg=(40,))
    measure_anchors([HeldOutImage("a", SMALL)], config, tmp_path / "x", 1)
    with tarfile.open(tmp_path / "x" / "files.tar") as archive:
        assert archive.getnames() == ["a.bpg-40.bpg", "a.bpg-40.bpg.png", "a.bpg-51.bpg", "a.bpg-51.bpg.png"]


def test_a_program_that_fails_is_told_in_one_line() -> None:
    if CODECS["bpg"].missing():
        with pytest.raises(ClassicalCodecError, match="is not on PATH"):
            CODECS["bpg"].decode(b"")
    else:
        with pytest.raises(ClassicalCodecError, match="bpgdec failed with exit code"):
            CODECS["bpg"].decode(b"not BPG")


@pytest.mark.parametrize(
    "ladder", [{"jpeg": (0,)}, {"avif": (101,)}, {"jpeg2000": (0.0,)}, {"bpg": (52,)}, {"vvc": (64,)}, {"gif": (1,)}]
)
def test_a_setting_out_of_range_is_refused(ladder: dict[str, tuple[float, ...]]) -> None:
    plain = {"jpeg": (), "webp": (), "jpeg2000": (), "avif": (), "bpg": ()}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain | ladder, AnchorsConfig)
