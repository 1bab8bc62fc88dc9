import binascii
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gencomp.codec.container import (
    ENTROPIES,
    MAX_PIXELS,
    MAX_SIDE,
    VERSIONS,
    Header,
    Mode,
    Parts,
    StreamError,
    bound_bytes,
    describe,
    join_payload,
    pack,
    packed_bytes,
    parse,
    read_varint,
    varint,
)

SMALL = Header(451, 300, 4, "static", bytes.fromhex("01020304"))
headers = st.builds(
    Header,
    width=st.integers(1, MAX_SIDE) | st.integers(32766, 32770),
    height=st.integers(1, MAX_SIDE) | st.integers(32766, 32770),
    channels=st.integers(1, 16),
    entropy=st.sampled_from(ENTROPIES),
    version=st.sampled_from(VERSIONS),
    fingerprint=st.binary(min_size=4, max_size=4),
)
parts = st.binary(max_size=200).map(lambda data: data.rstrip(b"\0"))
selective_headers = st.builds(replace, headers, mode=st.just("sc"))


def restamped(stream: bytes) -> bytes:
    """The stream with the checksum that its other bytes ask for."""
    checksum = binascii.crc_hqx(stream[:11] + stream[13:], 0xFFFF)
    return stream[:11] + struct.pack(">H", checksum) + stream[13:]


@given(headers, parts)
def test_any_header_and_payload_come_back(header: Header, payload: bytes) -> None:
    stream = pack(header, payload)
    assert parse(stream, max_pixels=MAX_SIDE**2) == (header, payload)
    assert len(stream) == header.size + len(payload)


@given(selective_headers, parts, parts)
def test_a_selective_stream_holds_side_information_and_symbols(header: Header, side: bytes, symbols: bytes) -> None:
    parts = Parts(side, symbols)
    stream = parse(pack(header, join_payload(parts)), max_pixels=MAX_SIDE**2)
    assert (stream.header, stream.parts) == (header, parts)
    info = describe(pack(header, join_payload(parts)), max_pixels=MAX_SIDE**2)
    assert (info.version, info.mode, info.payload_bytes) == (header.version, "SC", len(symbols))
    assert info.side_bytes == len(side) + (1 if len(side) < 128 else 2)
    assert info.header_bytes + info.side_bytes + info.payload_bytes == info.total_bytes


@given(st.integers(0, 2**35 - 1), st.binary(max_size=3))
def test_a_varint_is_read_where_it_ends(value: int, behind: bytes) -> None:
    data = varint(value)
    assert len(data) == max(1, -(-value.bit_length() // 7))
    assert read_varint(b"ab" + data + behind, 2) == (value, 2 + len(data))


def test_the_bytes_of_a_varint_are_where_the_format_says() -> None:
    spelled = {0: b"\0", 127: b"\x7f", 128: b"\x81\0", 300: b"\x82\x2c", 2**35 - 1: b"\xff\xff\xff\xff\x7f"}
    assert {value: varint(value) for value in spelled} == spelled
    for value in (-1, 2**35):
        with pytest.raises(ValueError, match="a varint holds 0 to"):
            varint(value)


@pytest.mark.parametrize("data", [b"", b"\x81", b"\x80\x01", b"\xff" * 5, b"\xff" * 5 + b"\0"])
def test_varints_that_are_cut_padded_or_too_long_are_refused(data: bytes) -> None:
    with pytest.raises(StreamError, match="cannot be read"):
        read_varint(data, 0)
    with pytest.raises(StreamError, match="cannot be read"):
        parse(pack(replace(SMALL, mode="sc"), data))


def test_side_information_that_is_not_there_is_refused() -> None:
    stream = pack(replace(SMALL, mode="sc"), bytes([9, *range(8)]))
    for refuse in (parse, describe):
        with pytest.raises(StreamError, match="9 bytes of side information, and only 8 are there"):
            refuse(stream)


def test_the_mode_is_bit_31_of_the_size_word() -> None:
    stream = pack(replace(SMALL, mode="sc"), b"\x02ab\xcd")
    assert stream[7:11] == (1 << 31 | (451 - 1) << 15 | (300 - 1)).to_bytes(4, "big")
    assert parse(stream).parts == (b"ab", b"\xcd")


def test_the_bytes_are_where_the_format_says() -> None:
    stream = pack(SMALL, b"\xab\xcd")
    size_word = (451 - 1) << 15 | (300 - 1)
    assert stream[:3] == b"\x9e\x47\x53"  # version 1, static, C = 4
    assert pack(replace(SMALL, version=0), b"")[2] == 0x13
    assert stream[3:7] == b"\x01\x02\x03\x04"
    assert stream[7:11] == size_word.to_bytes(4, "big")
    assert stream[11:13] == binascii.crc_hqx(stream[:11] + b"\xab\xcd", 0xFFFF).to_bytes(2, "big")
    assert stream[13:] == b"\xab\xcd"


def test_sides_up_to_32768_take_13_bytes_and_longer_ones_17() -> None:
    assert len(pack(Header(32768, 32768, 1, "raw", b"abcd"), b"")) == 13
    longer = pack(Header(32769, 5, 1, "raw", b"abcd"), b"")
    assert len(longer) == 17
    assert longer[7] >> 6 & 1 == 1
    assert longer[13:] == b"\x00\x01\x00\x00"


@pytest.mark.parametrize("header", [SMALL, Header(40000, 7, 16, "raw", b"abcd")])
def test_every_truncation_is_refused(header: Header) -> None:
    stream = pack(header, bytes(range(1, 30)))
    for length in range(len(stream)):
        with pytest.raises(StreamError, match=r"^[^\n]+$"):
            parse(stream[:length])


@pytest.mark.parametrize("header", [SMALL, Header(40000, 7, 16, "raw", b"abcd")])
def test_every_flipped_bit_is_refused(header: Header) -> None:
    stream = pack(header, bytes(range(1, 30)))
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError, match=r"^[^\n]+$"):
            parse(bytes(flipped))


@given(st.binary(max_size=60), st.booleans())
def test_foreign_bytes_are_refused_or_parsed_and_nothing_else(noise: bytes, stamped: bool) -> None:
    data = restamped(b"\x9e\x47" + noise) if stamped and len(noise) >= 11 else noise
    try:
        header, payload = parse(data)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert pack(header, payload) == data


def test_the_reason_of_a_refusal_is_named() -> None:
    stream = pack(SMALL, b"abc")
    for data, reason in [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a .gnc stream"),
        (b"\x9e", "truncated stream: 1 bytes"),
        (stream[:12], "truncated stream: 12 bytes"),
        (stream[:-1], "damaged or truncated"),
        (stream + b"x", "damaged or truncated"),
    ]:
        with pytest.raises(StreamError, match=reason):
            parse(data)


@pytest.mark.parametrize(
    ("position", "bits", "reason"),
    [
        (2, 0x80, "format version 3, and this version of gencomp reads 0 and 1"),
        (2, 0xC0, "format version 2"),
        (2, 0x20, "entropy coder 3"),
        (7, 0x40, "damaged stream: it spells a small size in the large form"),
    ],
)
def test_reserved_values_are_refused_though_the_checksum_is_right(position: int, bits: int, reason: str) -> None:
    stream = bytearray(pack(SMALL, bytes(4) + b"1234"))
    stream[position] ^= bits
    with pytest.raises(StreamError, match=reason):
        parse(restamped(bytes(stream)))


@pytest.mark.parametrize("mode", ["gc", "sc"])
def test_parts_that_end_in_zeros_are_refused_but_of_version_0(mode: Mode) -> None:
    endings = {"gc": [b"a\0"], "sc": [b"\1\0a", b"\1aa\0"]}[mode]
    for payload in endings:
        with pytest.raises(StreamError, match="zeros that are never written"):
            parse(pack(replace(SMALL, mode=mode), payload))
        old = replace(SMALL, mode=mode, version=0)
        assert parse(pack(old, payload)) == (old, payload)


def test_the_reserved_coder_is_refused() -> None:
    stream = bytearray(pack(Header(5, 5, 4, "raw", b"abcd"), b""))
    stream[2] |= 0x30
    with pytest.raises(StreamError, match="entropy coder 3"):
        parse(restamped(bytes(stream)))


def test_a_large_header_without_its_size_is_truncated() -> None:
    stream = bytearray(pack(SMALL, b"abc"))
    stream[7] |= 0x40
    with pytest.raises(StreamError, match="within the size"):
        parse(restamped(bytes(stream)))


def test_dimension_bombs_are_refused_by_their_header() -> None:
    for side in (MAX_SIDE, 1 << 15):
        with pytest.raises(StreamError, match=f"limit of {MAX_PIXELS} pixels"):
            parse(pack(Header(side, side, 16, "static", b"abcd"), b""))
    assert parse(pack(Header(1 << 14, 1 << 14, 16, "static", b"abcd"), b"")).header.width == 1 << 14
    with pytest.raises(StreamError, match="limit of 100 pixels"):
        parse(pack(Header(101, 1, 1, "raw", b"abcd"), b""), max_pixels=100)


@pytest.mark.parametrize(
    "header",
    [
        Header(0, 1, 1, "raw", b"abcd"),
        Header(1, MAX_SIDE + 1, 1, "raw", b"abcd"),
        Header(1, 1, 0, "raw", b"abcd"),
        Header(1, 1, 17, "raw", b"abcd"),
        Header(1, 1, 1, "raw", b"abc"),
        Header(1, 1, 1, "raw", b"abcd", version=2),
    ],
)
def test_what_the_header_cannot_hold_is_not_written(header: Header) -> None:
    with pytest.raises(StreamError, match="cannot hold|fingerprint"):
        pack(header, b"")


def test_a_stream_describes_itself_without_a_model() -> None:
    info = describe(pack(SMALL, bytes(range(100))))
    assert (info.width, info.height, info.mode, info.entropy, info.channels) == (451, 300, "GC", "static", 4)
    assert info.fingerprint == "01020304"
    assert (info.header_bytes, info.payload_bytes, info.side_bytes, info.total_bytes) == (13, 100, 0, 113)
    assert info.bpp == 113 * 8 / (451 * 300)


@given(st.integers(0, 3000), st.integers(2, 64))
def test_packed_bytes_is_the_smallest_power_of_256_that_suffices(count: int, levels: int) -> None:
    size = packed_bytes(count, levels)
    assert 256**size >= levels**count
    assert size == 0 or 256 ** (size - 1) < levels**count


def test_powers_of_two_take_whole_bits() -> None:
    assert packed_bytes(8, 2) == 1
    assert packed_bytes(9, 2) == 2
    assert packed_bytes(1 << 40, 64) == 6 << 37


def test_the_papers_rates_are_the_bound() -> None:
    for channels, bpp in ((2, 0.0181), (4, 0.0363), (8, 0.0726), (16, 0.1451)):
        payload = bound_bytes(channels, 512 // 16, 768 // 16, 5) - 13
        assert payload * 8 / (512 * 768) == pytest.approx(bpp, abs=1e-4)


def test_the_bound_counts_the_large_header() -> None:
    assert bound_bytes(1, 2, 2048, 2) == 13 + 512
    assert bound_bytes(1, 2, 2056, 2) == 17 + 514
    assert bound_bytes(1, 4, 4096, 2, stride=8) == 13 + 2048
    assert bound_bytes(1, 4, 4104, 2, stride=8) == 17 + 2052
