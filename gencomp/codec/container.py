"""The .gnc container: 13 bytes of header, then the payload. Standard library only, so that `gencomp info` starts fast.

All numbers are big-endian:

    bytes  content
    0-1    magic, 0x9e 0x47
    2      bits 7-6 version, bits 5-4 entropy (0 raw, 1 static, 2 context, 3 reserved), bits 3-0 channels - 1
    3-6    head of the model's fingerprint
    7-10   size word: bit 31 mode (0 GC, 1 SC), bit 30 large, bits 29-15 low 15 bits of width - 1,
           bits 14-0 low 15 bits of height - 1
    11-12  CRC-16 (CCITT polynomial 0x1021, initial value 0xffff) over all other bytes of the stream
    13-16  only when `large`: bits from 15 up of width - 1, then of height - 1, two bytes each

Of GC, the payload is the symbols. Of SC (selective compression), it is a varint n, n bytes of side information, laid
out in side.py, and the symbols. Neither part ends in a zero byte; its decoder takes it as followed by zeros. A varint
has 7 bits per byte, the highest first; bit 7 says that more follow; at most 5 bytes, the first of them not 0x80.

Version 1 is written and is frozen. Version 0 is read: its side information is deflated, and no part was refused for its
zeros. Versions 2 and 3 and entropy coder 3 are reserved.
"""

import binascii
import struct
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from typing import Literal, NamedTuple

Entropy = Literal["raw", "static", "context"]
Mode = Literal["gc", "sc"]

MAGIC = b"\x9eG"
VERSION = 1
"""Of the format, as it is written."""
VERSIONS = (0, 1)
"""As it is read."""
ENTROPIES: tuple[Entropy, ...] = ("raw", "static", "context")
"""Entropy coders in the order of their codes in the header."""
MODES: tuple[Mode, ...] = ("gc", "sc")
"""Global and selective compression, in the order of their codes in the header."""
HEADER_BYTES = 13
LARGE_BYTES = 4
FINGERPRINT_BYTES = 4
MAX_CHANNELS = 16
MAX_VARINT_BYTES = 5
MAX_SIDE = 1 << 31
"""Largest width or height that the header can tell, in pixels."""
MAX_PIXELS = 1 << 28
"""Default limit on width x height of a stream: a header that asks for more is refused before anything is allocated."""
STRIDE = 16
"""Pixels per latent position in each direction, of the paper's GC."""

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
    mode: Mode = "gc"
    """Whether the payload starts with side information."""
    version: int = VERSION
    """Of the format."""

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
    """All behind the header: of SC, the side information too."""

    @property
    def parts(self) -> "Parts":
        """The payload taken apart."""
        return split_payload(self.payload) if self.header.mode == "sc" else Parts(b"", self.payload)


class Parts(NamedTuple):
    """What a payload holds."""

    side: bytes
    """Side information, nothing of GC; without the varint that tells its length."""
    symbols: bytes


class StreamInfo(NamedTuple):
    """What a stream says about itself without a model."""

    version: int
    width: int
    height: int
    mode: str
    entropy: str
    channels: int
    fingerprint: str
    header_bytes: int
    payload_bytes: int
    """Of the symbols alone."""
    side_bytes: int
    """Of the side information, the varint that tells its length included."""
    total_bytes: int
    bpp: float


def pack(header: Header, payload: bytes) -> bytes:
    """The stream of `header` and `payload`. Raises StreamError for a header that the format cannot hold."""
    _check_packable(header)
    width, height = header.width - 1, header.height - 1
    flags = header.version << 6 | ENTROPIES.index(header.entropy) << 4 | (header.channels - 1)
    size_word = MODES.index(header.mode) << 31 | header._large << 30 | (width & _LOW) << 15 | height & _LOW
    head = _FIXED.pack(MAGIC, flags, header.fingerprint, size_word)
    rest = (_LARGE.pack(width >> 15, height >> 15) if header._large else b"") + payload
    return head + _CRC.pack(checksum(head, rest)) + rest


def parse(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Stream:
    """Header and payload of a stream, after every check that needs no model.

    Raises StreamError, one line, when the stream is foreign, from another format version, truncated, damaged, uses a
    reserved value, or is larger than `max_pixels`.
    """
    _check_version(data)
    head, rest = data[: _FIXED.size], data[HEADER_BYTES:]
    if _CRC.unpack_from(data, _FIXED.size)[0] != checksum(head, rest):
        raise StreamError("damaged or truncated stream: its checksum does not match")
    _, flags, fingerprint, size_word = _FIXED.unpack(head)
    width, height, large = _sides(size_word, rest)
    if width * height > max_pixels:
        raise StreamError(f"a picture of {width} x {height} pixels is over the limit of {max_pixels} pixels")
    mode, version = MODES[size_word >> 31], flags >> 6
    header = Header(width, height, (flags & 15) + 1, _entropy(flags), fingerprint, mode, version)
    stream = Stream(header, rest[large:])
    parts = stream.parts  # which refuses side information that the payload does not hold
    if version and any(part.endswith(b"\0") for part in parts):
        raise StreamError("damaged stream: it ends, or its side information does, in zeros that are never written")
    return stream


def describe(data: bytes, *, max_pixels: int = MAX_PIXELS) -> StreamInfo:
    """Size, mode, model and bytes of a stream; needs no model. Raises StreamError as `parse` does."""
    stream = parse(data, max_pixels=max_pixels)
    header, symbols = stream.header, stream.parts.symbols
    return StreamInfo(
        version=header.version,
        width=header.width,
        height=header.height,
        mode=header.mode.upper(),
        entropy=header.entropy,
        channels=header.channels,
        fingerprint=header.fingerprint.hex(),
        header_bytes=header.size,
        payload_bytes=len(symbols),
        side_bytes=len(stream.payload) - len(symbols),
        total_bytes=len(data),
        bpp=len(data) * 8 / (header.width * header.height),
    )


def join_payload(parts: Parts) -> bytes:
    """The payload of an SC stream."""
    return varint(len(parts.side)) + parts.side + parts.symbols


def split_payload(payload: bytes) -> Parts:
    """Side information and symbols of an SC stream's payload. Raises StreamError."""
    size, start = read_varint(payload, 0)
    if size > len(payload) - start:
        raise StreamError(
            f"damaged stream: {size} bytes of side information, and only {len(payload) - start} are there"
        )
    return Parts(payload[start : start + size], payload[start + size :])


def varint(value: int) -> bytes:
    """A whole number below 2**35 in as few bytes as it needs."""
    if not 0 <= value < 1 << 7 * MAX_VARINT_BYTES:
        raise ValueError(f"a varint holds 0 to 2**{7 * MAX_VARINT_BYTES} - 1, not {value}")
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([group | 0x80 for group in groups[:0:-1]] + groups[:1])


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """The varint of `data` from byte `start` on, and where it ends. Raises StreamError."""
    value = 0
    for end, byte in enumerate(data[start : start + MAX_VARINT_BYTES], start + 1):
        value = value << 7 | byte & 0x7F
        if not value and byte & 0x80:
            break
        if not byte & 0x80:
            return value, end
    raise StreamError("damaged stream: the length of its side information cannot be read")


def packed_bytes(count: int, levels: int) -> int:
    """ceil(count * log2(levels) / 8), exactly: the bytes that `count` symbols of `levels` values need at most.

    Agustsson et al. (2018), eq. 5. Exact for count up to 2**40: the logarithm is known to 128 fractional bits.
    """
    return -(-count * _scaled_log2(levels) >> 128 + 3)


def bound_bytes(channels: int, h: int, w: int, levels: int, stride: int = STRIDE) -> int:
    """Largest stream, header included, that any picture with a (channels, h, w) latent of `levels` values can take.

    `stride` is the pixels per latent position. Side information of SC comes on top.
    """
    large = max(h, w) * stride > _LOW + 1
    return HEADER_BYTES + (LARGE_BYTES if large else 0) + packed_bytes(channels * h * w, levels)


@cache
def _scaled_log2(levels: int) -> int:
    """log2(levels) * 2**128, rounded to the nearest integer, so that powers of two come out exact."""
    if levels < 2:
        raise ValueError(f"symbols need at least 2 levels, not {levels}")
    with localcontext() as context:
        context.prec = 80
        return int((Decimal(levels).ln() / Decimal(2).ln() * (1 << 128)).to_integral_value())


def checksum(head: bytes, rest: bytes) -> int:
    """CRC-16 of a stream: of what stands before it and of what stands behind it."""
    return binascii.crc_hqx(rest, binascii.crc_hqx(head, 0xFFFF))


def _check_packable(header: Header) -> None:
    for name, side in (("width", header.width), ("height", header.height)):
        if not 1 <= side <= MAX_SIDE:
            raise StreamError(f"a stream cannot hold a {name} of {side} pixels (1 to {MAX_SIDE})")
    if not 1 <= header.channels <= MAX_CHANNELS:
        raise StreamError(f"a stream cannot hold {header.channels} latent channels (1 to {MAX_CHANNELS})")
    if header.version not in VERSIONS:
        raise StreamError(f"a stream cannot hold format version {header.version}")
    if len(header.fingerprint) != FINGERPRINT_BYTES:
        raise StreamError(f"a stream holds {FINGERPRINT_BYTES} bytes of fingerprint, not {len(header.fingerprint)}")


def _check_version(data: bytes) -> None:
    if not data:
        raise StreamError("empty stream")
    if not data.startswith(MAGIC[: len(data)]):
        raise StreamError("not a .gnc stream: its first bytes are not the magic number")
    if len(data) < HEADER_BYTES:
        raise StreamError(f"truncated stream: {len(data)} bytes, and the header alone takes {HEADER_BYTES}")
    if data[2] >> 6 not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise StreamError(f"this stream has format version {data[2] >> 6}, and this version of gencomp reads {known}")


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
