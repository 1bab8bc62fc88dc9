"""The classical codecs that models stand beside: JPEG, WebP, JPEG 2000 and AVIF by Pillow, the others by what is there.

HEIC and JPEG XL come with pillow-heif and pillow-jxl-plugin, VVC with the ffmpeg inside imageio-ffmpeg, BPG with its
programs on PATH, and the learned codecs that stand beside them with compressai. Every encoder gets its best
deterministic settings, and nothing in a file that a decoder does not need.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from gencomp.evaluation.interruption import go_on

TIMEOUT = 300.0
"""Seconds that one run of a program may take."""
LOOK = 0.2
"""Seconds after which it is looked again whether anybody waits for it."""
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
    version: Callable[[], str]
    """Of what encodes and decodes; equal versions, equal bytes."""
    protocol: str
    """How it encodes, in a few words."""
    most_side: int | None = None
    """Pixels that a side has at most in its files; None where no picture here comes near."""

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow decodes its files, so that anyone who has a file can look at it."""
        return self.decode is _open

    def takes(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether its files can hold an (H, W, 3) picture."""
        return self.most_side is None or max(pixels.shape[:2]) <= self.most_side

    def not_taken(self, count: int) -> str:
        """Why it is left out of so many pictures."""
        pictures = "1 picture has" if count == 1 else f"{count} pictures have"
        return f"where a side has more than {self.most_side:,} pixels, as {pictures}"

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


def archived_picture(archive: tarfile.TarFile, key: str, codec: str, setting: str) -> NDArray[np.uint8]:
    """The (H, W, 3) picture of an encoded file in `files.tar`, which holds it as PNG where Pillow cannot decode it.

    Raises OSError or ClassicalCodecError where nothing here can.
    """
    name, by_pillow = file_name(key, codec, setting), CODECS[codec].by_pillow
    member = archive.extractfile(name if by_pillow else f"{name}.png")
    assert member is not None, f"{name} is no file"
    data = member.read()
    return np.asarray(CODECS[codec].decode(data) if by_pillow else _open(data))


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


def _encode_heic(image: Image.Image, quality: float) -> bytes:
    from pillow_heif import from_pillow

    buffer = io.BytesIO()
    # One picture, no grid of tiles: large pictures would be cut, and coded worse.
    from_pillow(image).save(buffer, quality=int(quality), chroma="420", tile_size=0)
    return buffer.getvalue()


def _decode_heic(data: bytes) -> Image.Image:
    from pillow_heif import open_heif

    return open_heif(io.BytesIO(data)).to_pillow().convert("RGB")


def _encode_jxl(image: Image.Image, quality: float) -> bytes:
    _register_jxl()
    return _save(image, "JXL", quality=int(quality), effort=8, num_threads=1)


def _decode_jxl(data: bytes) -> Image.Image:
    _register_jxl()
    return _open(data)


def _register_jxl() -> None:
    importlib.import_module("pillow_jxl")


SMALLEST_VVC_SIDE = 16
"""Pixels; libvvenc refuses less, and odd sides."""
VVC_MATRIX = "bt709:flags=accurate_rnd+full_chroma_int+lanczos"
"""Between RGB and the limited-range YCbCr 4:2:0 of 10 bits that is coded."""


def _encode_vvc(image: Image.Image, quantiser: float) -> bytes:
    """A byte that says by how many columns and rows the picture was continued, then the stream of one frame."""
    missing = [max(SMALLEST_VVC_SIDE, side + side % 2) - side for side in image.size]
    pixels = np.pad(np.asarray(image), ((0, missing[1]), (0, missing[0]), (0, 0)), mode="edge")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{pixels.shape[1]}x{pixels.shape[0]}", "-i", "-"]
    options = ["-vf", f"scale=out_color_matrix={VVC_MATRIX}", "-pix_fmt", "yuv420p10le", "-frames:v", "1"]
    coder = ["-c:v", "libvvenc", "-qp", str(int(quantiser)), "-preset", "medium", "-threads", "1", "-f", "vvc", "-"]
    return bytes([missing[0] << 4 | missing[1]]) + _ffmpeg([*source, *options, *coder], pixels.tobytes())


def _decode_vvc(data: bytes) -> Image.Image:
    options = ["-vf", f"scale=in_color_matrix={VVC_MATRIX}", "-pix_fmt", "rgb24", "-c:v", "ppm"]
    image = _open(_ffmpeg(["-f", "vvc", "-i", "-", *options, "-f", "image2pipe", "-"], data[1:]))
    return image.crop((0, 0, image.width - (data[0] >> 4), image.height - (data[0] & 15)))


def _ffmpeg(options: Sequence[str], data: bytes) -> bytes:
    from imageio_ffmpeg import get_ffmpeg_exe

    return _run("ffmpeg", [get_ffmpeg_exe(), "-v", "error", *options], data)


def _encode_bpg(image: Image.Image, quantiser: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture.png"), Path(folder, "picture.bpg")
        image.save(source, compress_level=1)
        _call(["bpgenc", "-q", str(int(quantiser)), "-o", str(target), str(source)], target)
        return target.read_bytes()


def _decode_bpg(data: bytes) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture.bpg"), Path(folder, "picture.ppm")
        source.write_bytes(data)
        _call(["bpgdec", "-o", str(target), str(source)], target)
        return _open(target.read_bytes())


def _learned(architecture: str, title: str, note: str) -> ClassicalCodec:
    """A codec of compressai's zoo; torch is imported only where it is used."""

    def encode(image: Image.Image, quality: float) -> bytes:
        from gencomp.evaluation import learned

        return learned.encode(architecture, image, int(quality))

    def decode(data: bytes) -> Image.Image:
        from gencomp.evaluation import learned

        return learned.decode(architecture, data)

    def missing() -> str | None:
        if importlib.util.find_spec("compressai") is None:
            return "it needs compressai and the weights of its zoo: docs/peers.md"
        from gencomp.evaluation import learned

        return learned.missing(architecture)

    def version() -> str:
        from gencomp.evaluation import learned

        return learned.version()

    name = architecture.replace("-", "_")
    protocol = f"compressai's zoo, {architecture}, trained for MSE, {note}"
    return ClassicalCodec(name, title, name, 1, encode, decode, missing, version, protocol)


def _call(command: Sequence[str], result: Path) -> None:
    program = command[0]
    path = shutil.which(program)
    if path is None:
        raise ClassicalCodecError(f"{program} is not on PATH")
    _run(program, [path, *command[1:]])
    if not result.exists():
        raise ClassicalCodecError(f"{program} wrote no {result.name}")


def _run(program: str, command: Sequence[str], data: bytes = b"") -> bytes:
    with tempfile.TemporaryFile() as given:
        given.write(data)
        given.seek(0)
        with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                output, errors = _said(process)
            except subprocess.TimeoutExpired:
                raise ClassicalCodecError(f"{program} did not end within {TIMEOUT:.0f} s") from None
            finally:
                process.kill()  # where it has not ended by itself
    if process.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise ClassicalCodecError(f"{program} failed with exit code {process.returncode}: {said[0]}")
    return output


def _said(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """Standard output and standard error of a program. Raises TimeoutExpired, and InterruptedError soon after that is
    due; so it is given no input here, of which `communicate` loses the rest when it is called again."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return process.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            go_on()
            if time.monotonic() > deadline:
                raise


def _missing_in_pillow(feature: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if features.check(feature) else f"this Pillow is built without {feature}"

    return missing


def _missing_package(package: str, module: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if importlib.util.find_spec(module) else f"pip install {package}, or pip install 'gencomp[eval]'"

    return missing


def _missing_vvc() -> str | None:
    if absent := _missing_package("imageio-ffmpeg", "imageio_ffmpeg")():
        return absent
    return None if b"libvvenc" in _encoders() else "the ffmpeg of imageio-ffmpeg is built without libvvenc"


@functools.cache
def _encoders() -> bytes:
    try:
        return _ffmpeg(["-encoders"], b"")
    except (RuntimeError, OSError):  # no ffmpeg for this machine
        return b""


def _missing_bpg() -> str | None:
    absent = [program for program in ("bpgenc", "bpgdec") if shutil.which(program) is None]
    return f"{' and '.join(absent)} not on PATH" if absent else None


def _pillow_version(feature: str) -> Callable[[], str]:
    return lambda: f"Pillow {importlib.metadata.version('pillow')}, {feature} {features.version(feature)}"


def _package_version(package: str) -> Callable[[], str]:
    return lambda: f"{package} {importlib.metadata.version(package)}"


def _bpg_version() -> str:
    programs = [Path(path) for name in ("bpgenc", "bpgdec") if (path := shutil.which(name))]
    return " ".join(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in programs)


CODECS = {
    codec.name: codec
    for codec in (
        ClassicalCodec(
            *("jpeg", "JPEG", "jpg", 1, _encode_jpeg, _open),
            *(_missing_in_pillow("jpg"), _pillow_version("jpg"), "4:2:0, optimised, progressive"),
            most_side=65_500,
        ),
        ClassicalCodec(
            *("webp", "WebP", "webp", 0, _encode_webp, _open),
            *(_missing_in_pillow("webp"), _pillow_version("webp"), "lossy, method 6"),
            most_side=16_383,
        ),
        ClassicalCodec(
            *("jpeg2000", "JPEG 2000", "j2k", 0.001, _encode_jpeg2000, _open),
            *(_missing_in_pillow("jpg_2000"), _pillow_version("jpg_2000"), "9/7 wavelet, codestream without comments"),
        ),
        ClassicalCodec(
            *("avif", "AVIF", "avif", 0, _encode_avif, _open),
            *(_missing_in_pillow("avif"), _pillow_version("avif"), "4:2:0, speed 4, one tile"),
        ),
        ClassicalCodec(
            *("heic", "HEIC", "heic", 0, _encode_heic, _decode_heic),
            *(_missing_package("pillow-heif", "pillow_heif"), _package_version("pillow-heif")),
            "x265, 4:2:0, preset slow",
        ),
        ClassicalCodec(
            *("jxl", "JPEG XL", "jxl", 0, _encode_jxl, _decode_jxl),
            *(_missing_package("pillow-jxl-plugin", "pillow_jxl"), _package_version("pillow-jxl-plugin")),
            "effort 8, codestream without container",
        ),
        ClassicalCodec(
            *("vvc", "VVC intra", "vvc", 63, _encode_vvc, _decode_vvc),
            *(_missing_vvc, _package_version("imageio-ffmpeg"), "libvvenc, preset medium, 4:2:0, 10 bits"),
        ),
        ClassicalCodec(
            *("bpg", "BPG", "bpg", 51, _encode_bpg, _decode_bpg),
            *(_missing_bpg, _bpg_version, "bpgenc, default settings: x265, 4:2:0, 8 bits"),
        ),
        _learned(
            "bmshj2018-factorized", "Ball\N{LATIN SMALL LETTER E WITH ACUTE} 2018 (factorized)", "5 bytes of header"
        ),
        _learned(
            "bmshj2018-hyperprior", "Ball\N{LATIN SMALL LETTER E WITH ACUTE} 2018 (hyperprior)", "9 bytes of header"
        ),
        _learned("mbt2018-mean", "Minnen 2018 (hyperprior)", "9 bytes of header"),
        _learned("mbt2018", "Minnen 2018 (context)", "9 bytes of header"),
    )
}


def in_part(not_taken: Mapping[str, int]) -> dict[str, str]:
    """Title of each codec whose files cannot hold some pictures, as many as `not_taken` says by name, and why."""
    return {CODECS[name].title: CODECS[name].not_taken(count) for name, count in not_taken.items()}
