"""The classical codecs that models stand beside: JPEG, WebP, JPEG 2000 and AVIF by Pillow, BPG by its programs.

Every encoder gets its best deterministic settings, and nothing in a file that a decoder does not need.
"""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

BPG_TIMEOUT = 300.0
"""Seconds that one run of bpgenc or bpgdec may take."""
J2K_COMMENT = 0xFF64
J2K_START_OF_TILE = 0xFF90


class ClassicalCodecError(RuntimeError):
    """A codec's program failed; the message is one line."""


class ClassicalCodec(NamedTuple):
    """A codec with one number that moves it along its rates."""

    name: str
    title: str
    """As people write it."""
    suffix: str
    """Of its files, without the dot."""
    lowest: float
    """The setting of its smallest files."""
    encode: Callable[[Image.Image, float], bytes]
    """(RGB picture, setting) -> file."""
    decode: Callable[[bytes], Image.Image]
    """File -> RGB picture."""
    missing: Callable[[], str | None]
    """Why it cannot be used here, or None."""

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow decodes its files, so that anyone who has a file can look at it."""
        return self.decode is _open

    def round_trip(self, pixels: NDArray[np.uint8], setting: float) -> tuple[bytes, NDArray[np.uint8]]:
        """The file of an (H, W, 3) picture and what its decoder makes of that file."""
        data = self.encode(Image.fromarray(pixels), setting)
        return data, np.asarray(self.decode(data))


def setting_name(setting: float) -> str:
    """A setting as it stands in tables and file names: `30`, `0.05`."""
    return f"{setting:g}"


def file_name(key: str, codec: str, setting: str) -> str:
    """The name of an encoded file in `files.tar`."""
    return f"{key}.{codec}-{setting}.{CODECS[codec].suffix}"


def _save(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def _open(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _encode_jpeg(image: Image.Image, quality: float) -> bytes:
    return _save(image, "JPEG", quality=int(quality), optimize=True, progressive=True, subsampling="4:2:0")


def _encode_webp(image: Image.Image, quality: float) -> bytes:
    return _save(image, "WEBP", quality=int(quality), method=6)


def _encode_jpeg2000(image: Image.Image, bits_per_pixel: float) -> bytes:
    ratio = 24 / bits_per_pixel
    options = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True, "no_jp2": True}
    return _without_comment(_save(image, "JPEG2000", **options))


def _encode_avif(image: Image.Image, quality: float) -> bytes:
    # One thread and no tiles: libavif splits the picture by the number of threads, and the file would follow it.
    options = {"subsampling": "4:2:0", "speed": 4, "max_threads": 1, "autotiling": False}
    return _save(image, "AVIF", quality=int(quality), **options)


def _without_comment(codestream: bytes) -> bytes:
    """A JPEG 2000 codestream less its comment segments: 39 bytes that name the encoder."""
    kept, position = [codestream[:2]], 2
    while (marker := int.from_bytes(codestream[position : position + 2], "big")) != J2K_START_OF_TILE:
        end = position + 2 + int.from_bytes(codestream[position + 2 : position + 4], "big")
        if end <= position + 2 or end > len(codestream):
            raise ClassicalCodecError(f"JPEG 2000: a marker segment at byte {position} does not end in the file")
        if marker != J2K_COMMENT:
            kept.append(codestream[position:end])
        position = end
    return b"".join([*kept, codestream[position:]])


def _encode_bpg(image: Image.Image, quantiser: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture.png"), Path(folder, "picture.bpg")
        image.save(source)
        _call(["bpgenc", "-q", str(int(quantiser)), "-o", str(target), str(source)], target)
        return target.read_bytes()


def _decode_bpg(data: bytes) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture.bpg"), Path(folder, "picture.png")
        source.write_bytes(data)
        _call(["bpgdec", "-o", str(target), str(source)], target)
        return _open(target.read_bytes())


def _call(command: Sequence[str], result: Path) -> None:
    program = command[0]
    path = shutil.which(program)
    if path is None:
        raise ClassicalCodecError(f"{program} is not on PATH")
    try:
        done = subprocess.run([path, *command[1:]], capture_output=True, timeout=BPG_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ClassicalCodecError(f"{program} did not end within {BPG_TIMEOUT:.0f} s") from None
    if done.returncode != 0 or not result.exists():
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ClassicalCodecError(f"{program} failed with exit code {done.returncode}: {said[0]}")


def _missing_in_pillow(feature: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if features.check(feature) else f"this Pillow is built without {feature}"

    return missing


def _missing_bpg() -> str | None:
    absent = [program for program in ("bpgenc", "bpgdec") if shutil.which(program) is None]
    return f"{' and '.join(absent)} not on PATH" if absent else None


CODECS = {
    codec.name: codec
    for codec in (
        ClassicalCodec("jpeg", "JPEG", "jpg", 1, _encode_jpeg, _open, _missing_in_pillow("jpg")),
        ClassicalCodec("webp", "WebP", "webp", 0, _encode_webp, _open, _missing_in_pillow("webp")),
        ClassicalCodec("jpeg2000", "JPEG 2000", "j2k", 0.001, _encode_jpeg2000, _open, _missing_in_pillow("jpg_2000")),
        ClassicalCodec("avif", "AVIF", "avif", 0, _encode_avif, _open, _missing_in_pillow("avif")),
        ClassicalCodec("bpg", "BPG", "bpg", 51, _encode_bpg, _decode_bpg, _missing_bpg),
    )
}
