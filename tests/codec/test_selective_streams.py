"""Selective compression through the codec: what is preserved comes back from the stream, the rest from its labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from codec.conftest import fitted
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import pad

from gencomp.codec.codec import Codec
from gencomp.codec.container import (
    ENTROPIES,
    HEADER_BYTES,
    Entropy,
    Parts,
    StreamError,
    describe,
    join_payload,
    pack,
    packed_bytes,
    parse,
)
from gencomp.codec.rate import RateError
from gencomp.codec.regions import RegionError, parse_region
from gencomp.codec.selection import Preserve, SelectionError, latent_mask
from gencomp.codec.side import Side, borders, pack_side
from gencomp.models.package import Package
from gencomp.models.semantics import one_hot

CLASSES = 5
SIZES = [(1, 1), (1, 9), (17, 1), (8, 8), (40, 24), (61, 45), (96, 80)]


@pytest.fixture(scope="module")
def codec(selective_package: Package) -> Codec:
    return Codec.from_package(selective_package)


@pytest.fixture(scope="module", params=["tables", "network"])
def context_codec(request: pytest.FixtureRequest, codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Of either kind of context coding, which is at its best with the scene of 96 x 80 pixels."""
    symbols = codec.symbols(scene(96, 80), labels=label_map(96, 80))
    return Codec.from_package(fitted(tmp_path_factory.mktemp("context"), codec.package, symbols, request.param))


@pytest.fixture(scope="module", params=["light", "paper"])
def either_codec(request: pytest.FixtureRequest, selective_package: Package, selective_paper_package: Package) -> Codec:
    return Codec.from_package(selective_package if request.param == "light" else selective_paper_package)


@pytest.fixture(scope="module")
def plain_codec(package: Package) -> Codec:
    return Codec.from_package(package)


def scene(width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def label_map(width: int, height: int) -> NDArray[np.uint8]:
    """Ids of all classes and 255, in blocks of 11 pixels."""
    coarse = np.random.default_rng(1).integers(0, CLASSES + 1, (height // 11 + 1, width // 11 + 1))
    ids = np.where(coarse == CLASSES, 255, coarse).astype(np.uint8)
    return np.repeat(np.repeat(ids, 11, 0), 11, 1)[:height, :width]


def latent_side(side: int) -> int:
    return max(32, -(-side // 16) * 16) // 8


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_pictures_of_any_size_come_back_at_their_size(either_codec: Codec, size: tuple[int, int]) -> None:
    image, labels = scene(*size), label_map(*size)
    for preserve in ("all", "none", f"box:0,0,{(size[0] + 1) // 2},{size[1]}"):
        stream = either_codec.compress(image, labels=labels, preserve=preserve)
        assert describe(stream).mode == "SC"
        symbols = either_codec.decode_symbols(stream)
        assert symbols.shape[1:] == (latent_side(size[1]), latent_side(size[0]))
        assert np.array_equal(symbols, either_codec.symbols(image, labels=labels, preserve=preserve))
        side = either_codec.decode_side(stream)
        assert np.array_equal(side.labels, labels)
        assert np.array_equal(side.edges, borders(labels))
        mask = parse_region(preserve).mask(size[1], size[0])
        assert np.array_equal(side.mask, latent_mask(mask, 8))
        decoded = either_codec.decompress(stream)
        assert (decoded.mode, decoded.size) == ("RGB", size)


@settings(max_examples=25)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.sampled_from(ENTROPIES))
def test_the_decoder_finds_the_symbols_of_the_encoder_where_they_are_preserved(
    context_codec: Codec, width: int, height: int, seed: int, entropy: Entropy
) -> None:
    random = np.random.default_rng(seed)
    image, labels = scene(width, height), label_map(width, height)
    preserve = random.random((height, width)) < random.choice([0, 0.003, 0.05, 1])
    edges = random.random((height, width)) < 0.1
    stream = context_codec.compress(image, labels=labels, edges=edges, preserve=preserve, entropy=entropy)
    whole, found = context_codec.symbols(image, labels=labels, edges=edges), context_codec.decode_symbols(stream)
    positions = np.zeros(found.shape[1:], np.bool_)
    positions[: -(-height // 8), : -(-width // 8)] = latent_mask(preserve, 8)
    assert np.array_equal(found[:, positions], whole[:, positions])
    assert (found[:, ~positions] == 2).all()
    side, info = context_codec.decode_side(stream), describe(stream)
    assert np.array_equal(side.labels, labels) and np.array_equal(side.edges, edges)
    assert info.payload_bytes <= packed_bytes(3 * int(positions.sum()), 5)
    assert info.header_bytes + info.side_bytes + info.payload_bytes == len(stream)


def test_decompression_needs_the_stream_and_the_model_alone(either_codec: Codec) -> None:
    """It is G of the masked symbols and of the labels and edges, replicated to the padded size, cropped."""
    image, labels = scene(61, 45), label_map(61, 45)
    edges = np.random.default_rng(2).random(labels.shape) < 0.2
    preserve = np.zeros(labels.shape, np.bool_)
    preserve[10:30, 20:61] = True
    decoded = np.asarray(
        either_codec.decompress(either_codec.compress(image, labels=labels, edges=edges, preserve=preserve))
    )
    compressor = either_codec.package.compressor
    grown = ((0, 3), (0, 3))
    with torch.inference_mode():
        x = torch.from_numpy(np.pad(np.asarray(image), (*grown, (0, 0)), mode="edge")).permute(2, 0, 1)[None]
        ids = torch.from_numpy(np.pad(labels, grown, mode="edge")).long()[None]
        s = one_hot(ids, torch.from_numpy(np.pad(edges, grown, mode="edge"))[None, None].float(), CLASSES)
        m = pad(torch.from_numpy(preserve).float()[None, None], (0, 3, 0, 3))
        x_hat = compressor(x.float() / 127.5 - 1, s=s, m=m).x_hat[0]
    expected = ((x_hat + 1) / 2 * 255).permute(1, 2, 0)[:45, :61].numpy()
    assert np.abs(decoded - expected).max() <= 0.5 + 1e-3


def test_symbols_of_a_mask_are_coded_by_either_kind_of_context(context_codec: Codec) -> None:
    image, labels = scene(96, 80), label_map(96, 80)
    for preserve in ("all", "box:8,8,80,64"):
        stream = context_codec.compress(image, labels=labels, preserve=preserve)
        assert describe(stream).entropy == "context"
        expected = context_codec.symbols(image, labels=labels, preserve=preserve)
        assert np.array_equal(context_codec.decode_symbols(stream), expected)


def test_without_preserve_all_is_preserved(codec: Codec) -> None:
    image, labels = scene(61, 45), label_map(61, 45)
    assert codec.compress(image, labels=labels) == codec.compress(image, labels=labels, preserve="all")


def test_where_nothing_is_preserved_the_picture_does_not_matter(codec: Codec) -> None:
    labels = label_map(61, 45)
    streams = {
        codec.compress(image, labels=labels, preserve="none") for image in (scene(61, 45), Image.new("L", (61, 45)))
    }
    (stream,) = streams
    assert describe(stream).payload_bytes == 0
    assert not codec.decode_side(stream).mask.any()
    assert (codec.decode_symbols(stream) == 2).all()


def test_every_kind_of_region_is_preserved(codec: Codec, tmp_path: Path) -> None:
    image, labels = scene(61, 45), label_map(61, 45)
    instances = np.arange(61 * 45).reshape(45, 61) // 700
    mask = np.zeros((45, 61), np.bool_)
    mask[3, 50] = True
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    regions: list[tuple[Preserve, NDArray[np.bool_]]] = [
        ("none", np.zeros_like(mask)),
        ("all", np.ones_like(mask)),
        ("box:5,6,30,20", parse_region("box:5,6,30,20").mask(45, 61)),
        ("classes:1,3", np.isin(labels, [1, 3])),
        ("instances:2", instances == 2),
        (str(tmp_path / "mask.png"), mask),
        (parse_region("classes:2"), labels == 2),
        (mask, mask),
        (mask.astype(np.uint8), mask),
    ]
    sizes = {}
    for preserve, expected in regions:
        stream = codec.compress(image, labels=labels, instances=instances, preserve=preserve)
        assert np.array_equal(codec.decode_side(stream).mask, latent_mask(expected, 8))
        sizes[str(preserve)] = describe(stream).payload_bytes
    assert sizes["none"] == 0 < sizes["box:5,6,30,20"] < sizes["all"]


def test_label_maps_may_be_pictures(codec: Codec) -> None:
    image, labels = scene(61, 45), label_map(61, 45)
    assert codec.compress(image, labels=Image.fromarray(labels)) == codec.compress(image, labels=labels)


def test_maps_are_of_the_upright_picture(codec: Codec) -> None:
    turned, labels = scene(61, 45), label_map(45, 61)
    turned.getexif()[0x0112] = 6
    stream = codec.compress(turned, labels=labels)
    assert (describe(stream).width, describe(stream).height) == (45, 61)


def test_a_limit_is_a_check(codec: Codec) -> None:
    image, labels = scene(61, 45), label_map(61, 45)
    stream = codec.compress(image, labels=labels)
    assert codec.compress(image, labels=labels, max_bytes=len(stream), channels=None) == stream
    assert codec.compress(image, labels=labels, channels=3) == stream
    with pytest.raises(RateError, match=f"at least {len(stream)} bytes"):
        codec.compress(image, labels=labels, max_bytes=len(stream) - 1)


def test_a_selective_model_needs_a_label_map(codec: Codec) -> None:
    for call in (codec.compress, codec.symbols):
        with pytest.raises(SelectionError, match=r"^this model compresses selectively: it needs [^\n]+$"):
            call(scene(20, 20))
    with pytest.raises(SelectionError, match="has id 5, and this model knows 0 to 4"):
        codec.compress(scene(2, 2), labels=np.full((2, 2), 5))
    with pytest.raises(RegionError, match="not within the picture"):
        codec.compress(scene(2, 2), labels=np.zeros((2, 2), np.uint8), preserve="box:0,0,3,1")


def test_other_models_take_no_selection(plain_codec: Codec) -> None:
    image, labels = scene(20, 20), label_map(20, 20)
    for given_too in ({"labels": labels}, {"edges": labels > 0}, {"instances": labels}, {"preserve": "all"}):
        with pytest.raises(SelectionError, match=r"^this model compresses whole pictures: [^\n]+$"):
            plain_codec.compress(image, **given_too)  # type: ignore[arg-type]


def test_streams_and_models_of_other_modes_are_refused(codec: Codec, plain_codec: Codec) -> None:
    header, payload = parse(codec.compress(scene(20, 20), labels=label_map(20, 20)))
    for decode in (codec.decompress, codec.decode_symbols, codec.decode_side):
        with pytest.raises(StreamError, match="^this stream is of mode GC, and its model of mode SC$"):
            decode(pack(replace(header, mode="gc"), payload))
    header, payload = parse(plain_codec.compress(scene(20, 20)))
    with pytest.raises(StreamError, match="^this stream is of mode SC, and its model of mode GC$"):
        plain_codec.decompress(pack(replace(header, mode="sc"), b"\0" + payload))
    with pytest.raises(StreamError, match="has no side information"):
        plain_codec.decode_side(pack(header, payload))


def test_a_label_that_the_model_does_not_know_is_refused(codec: Codec) -> None:
    stream = parse(codec.compress(Image.new("RGB", (1, 1)), labels=np.zeros((1, 1), np.uint8), preserve="none"))
    assert stream.parts == (b"", b"")
    labels = np.full((1, 1), 5, np.uint8)
    side = pack_side(Side(labels, borders(labels), np.zeros((1, 1), np.bool_)))
    with pytest.raises(StreamError, match="more classes than the model's 5"):
        codec.decompress(pack(stream.header, join_payload(Parts(side, b""))))


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_payload_with_a_right_checksum_is_a_picture_or_a_refusal(
    context_codec: Codec, data: st.DataObject
) -> None:
    header, payload = parse(context_codec.compress(scene(33, 20), labels=label_map(33, 20), preserve="box:5,5,30,12"))
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    cut = bytes(changed[: data.draw(st.integers(0, len(changed)))])
    noise = data.draw(st.sampled_from([bytes(changed), cut, cut + b"\1" * 9]))
    entropy = data.draw(st.sampled_from(ENTROPIES))
    stream = pack(replace(header, entropy=entropy), noise)
    try:
        decoded = context_codec.decompress(stream)
    except StreamError as error:
        assert "\n" not in str(error)
    else:
        assert decoded.size == (33, 20)
        assert context_codec.decode_symbols(stream).max() < 5


def test_every_truncation_and_every_flipped_bit_is_refused(codec: Codec) -> None:
    stream = codec.compress(scene(20, 9), labels=label_map(20, 9))
    flipped = [
        stream[: bit // 8] + bytes([stream[bit // 8] ^ 1 << bit % 8]) + stream[bit // 8 + 1 :]
        for bit in range(8 * len(stream))
    ]
    for bad in [stream[:length] for length in range(len(stream))] + flipped:
        with pytest.raises(StreamError, match=r"^[^\n]+$"):
            codec.decompress(bad)


def test_symbols_where_none_are_preserved_are_refused(codec: Codec) -> None:
    header, payload = parse(codec.compress(scene(20, 9), labels=label_map(20, 9), preserve="none"))
    for entropy in ENTROPIES:
        assert (codec.decode_symbols(pack(replace(header, entropy=entropy), payload)) == 2).all()
        with pytest.raises(StreamError, match="1 bytes where at most 0 can be"):
            codec.decompress(pack(replace(header, entropy=entropy), payload + b"\1"))


def test_the_smallest_stream_has_no_side_information_but_its_length(codec: Codec) -> None:
    stream = codec.compress(Image.new("RGB", (64, 64)), labels=np.zeros((64, 64), np.uint8), preserve="none")
    assert len(stream) == HEADER_BYTES + 1
    assert describe(stream).side_bytes == 1


def test_models_of_more_than_255_classes_take_label_maps_of_two_bytes(wide_package: Package) -> None:
    codec = Codec.from_package(wide_package)
    labels = label_map(61, 45).astype(np.int32) * 59  # 0 to 236, and 255 * 59
    labels[labels > 300] = 65535
    labels[5:9, 7:30] = 299
    stream = codec.compress(scene(61, 45), labels=labels, preserve="classes:299")
    side = codec.decode_side(stream)
    assert np.array_equal(side.labels, labels)
    assert np.array_equal(side.mask, latent_mask(labels == 299, 8))
    assert codec.decompress(stream).size == (61, 45)


def test_noise_fills_what_is_not_preserved_the_same_at_every_decode(wide_package: Package) -> None:
    """Its seed is the payload, and none of it lies where something was preserved."""
    codec, picture, labels = Codec.from_package(wide_package), scene(61, 45), label_map(61, 45)
    nothing, all_of_it = (codec.compress(picture, labels=labels, preserve=region) for region in ("none", "all"))
    assert codec.decompress(nothing).tobytes() == codec.decompress(nothing).tobytes()
    other = codec.compress(picture, labels=labels, edges=np.zeros_like(labels), preserve="none")
    assert codec.decompress(other).tobytes() != codec.decompress(nothing).tobytes()
    generator, seen = wide_package.compressor.G, []
    hook = generator.register_forward_hook(lambda module, inputs, output: seen.append(inputs[2]))
    codec.decompress(all_of_it)
    codec.decompress(nothing)
    hook.remove()
    assert not seen[0][..., :6, :8].any()  # beyond the picture's own positions nothing is preserved
    assert seen[1].std() == pytest.approx(1, abs=0.3)
