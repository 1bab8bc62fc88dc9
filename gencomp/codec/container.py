"""The .gnc container: 13 bytes of header, then the payload. Standard library only, so that `gencomp info` starts fast.

All numbers are big-endian; format version 0:

    bytes  content
    0-1    magic, 0x9e 0x47
    2      bits 7-6 version, bits 5-4 entropy (0 raw, 1 static, 2 and 3 reserved), bits 3-0 channels - 1
    3-6    head of the model's fingerprint
    7-10   size word: bit 31 mode (0 GC, 1 reserved), bit 30 large, bits 29-15 low 15 bits of width - 1,
           bits 14-0 low 15 bits of height - 1
    11-12  CRC-16 (CCITT polynomial 0x1021, initial value 0xffff) over all other bytes of the stream
    13-16  only when `large`: bits from 15 up of width - 1, then of height - 1, two bytes each

A payload carries no trailing zero bytes; its decoder takes it as followed by zeros.
"""

import binascii
import struct
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from typing import Literal, NamedTuple

Entropy = Literal["raw", "static"]

MAGIC = b"\x9eG"
VERSION = 0
ENTROPIES: tuple[Entropy, ...] = ("raw", "static")
"""Entropy coders in the order of their codes in the header."""
HEADER_BYTES = 13
LARGE_BYTES = 4
FINGERPRINT_BYTES = 4
MAX_CHANNELS = 16
MAX_SIDE = 1 << 31
"""Largest width or height that the header can tell, in pixels."""
MAX_PIXELS = 1 << 28
"""Default limit on width x height of a stream: a header that asks for more is refused before anything is allocated."""
STRIDE = 16
"""Pixels per latent position in each direction, of every model of this format version."""

_FIXED = struct.Struct(">2sB4sI")
_CRC = struct.Struct(">H")
_LARGE = struct.Struct(">HH")
_LOW = 0x7FFF


class StreamError(ValueError):
    """A stream that is refused; the message is one line that says why."""


@dataclass(frozen=True)
class Header:
    """What a decoder must know before the payload."""

    width: int
    """Pixels, 1 to 2**31."""
    height: int
    """Pixels, 1 to 2**31."""
    channels: int
    """Channels of the latent, 1 to 16."""
    entropy: Entropy
    """How the payload is coded."""
    fingerprint: bytes
    """Head of the model's fingerprint, 4 bytes."""

    @property
    def size(self) -> int:
        """Bytes of this header: 13, or 17 when a side is longer than 32768 pixels."""
        return HEADER_BYTES + (LARGE_BYTES if self._large else 0)

    @property
    def _large(self) -> bool:
        return max(self.width, self.height) > _LOW + 1


class Stream(NamedTuple):
    """A checked stream, taken apart."""

    header: Header
    payload: bytes


class StreamInfo(NamedTuple):
    """What a stream says about itself without a model."""

    width: int
    height: int
    mode: str
    entropy: str
    channels: int
    fingerprint: str
    header_bytes: int
    payload_bytes: int
    side_bytes: int
    total_bytes: int
    bpp: float


def pack(header: Header, payload: bytes) -> bytes:
    """The stream of `header` and `payload`. Raises StreamError for a header that the format cannot hold."""
    _check_packable(header)
    width, height = header.width - 1, header.height - 1
    flags = VERSION << 6 | ENTROPIES.index(header.entropy) << 4 | (header.channels - 1)
    size_word = header._large << 30 | (width & _LOW) << 15 | height & _LOW
    head = _FIXED.pack(MAGIC, flags, header.fingerprint, size_word)
    rest = (_LARGE.pack(width >> 15, height >> 15) if header._large else b"") + payload
    return head + _CRC.pack(_checksum(head, rest)) + rest


def parse(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Stream:
    """Header and payload of a stream, after every check that needs no model.

    Raises StreamError, one line, when the stream is foreign, from another format version, truncated, damaged, uses a
    reserved value, or is larger than `max_pixels`.
    """
    _check_version(data)
    head, rest = data[: _FIXED.size], data[HEADER_BYTES:]
    if _CRC.unpack_from(data, _FIXED.size)[0] != _checksum(head, rest):
        raise StreamError("damaged or truncated stream: its checksum does not match")
    _, flags, fingerprint, size_word = _FIXED.unpack(head)
    if size_word >> 31:
        raise StreamError("this stream uses mode 1, which this version of gencomp does not know")
    width, height, side = _sides(size_word, rest)
    if width * height > max_pixels:
        raise StreamError(f"a picture of {width} x {height} pixels is over the limit of {max_pixels} pixels")
    return Stream(Header(width, height, (flags & 15) + 1, _entropy(flags), fingerprint), rest[side:])


def describe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> StreamInfo:
    """Size, mode, model and bytes of a stream; needs no model. Raises StreamError as `parse` does."""
    header, payload = parse(data, max_pixels=max_pixels)
    return StreamInfo(
        width=header.width,
        height=header.height,
        mode="GC",
        entropy=header.entropy,
        channels=header.channels,
        fingerprint=header.fingerprint.hex(),
        header_bytes=header.size,
        payload_bytes=len(payload),
        side_bytes=0,
        total_bytes=len(data),
        bpp=len(data) * 8 / (header.width * header.height),
    )


def packed_bytes(count: int, levels: int) -> int:
    """ceil(count * log2(levels) / 8), exactly: the bytes that `count` symbols of `levels` values need at most.

    Agustsson et al. (2018), eq. 5. Exact for count up to 2**40: the logarithm is known to 128 fractional bits.
    """
    return -(-count * _scaled_log2(levels) >> 128 + 3)


def bound_bytes(channels: int, h: int, w: int, levels: int) -> int:
    """Largest stream, header included, that any picture with a (channels, h, w) latent of `levels` values can take."""
    large = max(h, w) * STRIDE > _LOW + 1
    return HEADER_BYTES + (LARGE_BYTES if large else 0) + packed_bytes(channels * h * w, levels)


@cache
def _scaled_log2(levels: int) -> int:
    """log2(levels) * 2**128, rounded to the nearest integer, so that powers of two come out exact."""
    if levels < 2:
        raise ValueError(f"symbols need at least 2 levels, not {levels}")
    with localcontext() as context:
        context.prec = 80
        return int((Decimal(levels).ln() / Decimal(2).ln() * (1 << 128)).to_integral_value())


def _checksum(head: bytes, rest: bytes) -> int:
    return binascii.crc_hqx(rest, binascii.crc_hqx(head, 0xFFFF))


def _check_packable(header: Header) -> None:
    for name, side in (("width", header.width), ("height", header.height)):
        if not 1 <= side <= MAX_SIDE:
            raise StreamError(f"a stream cannot hold a {name} of {side} pixels (1 to {MAX_SIDE})")
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise StreamError(f"a stream cannot hold {header.channels} latent channels (1 to {MAX_CHANNELS})")
    if len(header.fingerprint) != FINGERPRINT_BYTES:
        raise StreamError(f"a stream holds {FINGERPRINT_BYTES} bytes of fingerprint, not {len(header.fingerprint)}")


def _check_version(data: bytes) -> None:
    if not data:
        raise StreamError("empty stream")
    if not data.startswith(MAGIC[: len(data)]):
        raise StreamError("not a .gnc stream: its first bytes are not the magic number")
    if len(data) < HEADER_BYTES:
        raise StreamError(f"truncated stream: {len(data)} bytes, and the header alone takes {HEADER_BYTES}")
    if data[2] >> 6 != VERSION:
        raise StreamError(f"this stream has format version {data[2] >> 6}, and this version of gencomp reads {VERSION}")


def _sides(size_word: int, rest: bytes) -> tuple[int, int, int]:
    """Width and height in pixels, and how many bytes of `rest` belong to the header."""
    width, height = size_word >> 15 & _LOW, size_word & _LOW
    if not size_word >> 30 & 1:
        return width + 1, height + 1, 0
    if len(rest) < LARGE_BYTES:
        raise StreamError("truncated stream: it ends within the size")
    high_width, high_height = _LARGE.unpack_from(rest)
    if not high_width | high_height:
        raise StreamError("damaged stream: it spells a small size in the large form")
    return (high_width << 15 | width) + 1, (high_height << 15 | height) + 1, LARGE_BYTES


def _entropy(flags: int) -> Entropy:
    code = flags >> 4 & 3
    if code >= len(ENTROPIES):
        raise StreamError(f"this stream uses entropy coder {code}, which this version of gencomp does not know")
    return ENTROPIES[code]
