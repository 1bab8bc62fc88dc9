import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gencomp
from gencomp.codec.codec import MAX_UNTILED_PIXELS, Codec
from gencomp.codec.container import ENTROPIES, Entropy, Header, StreamError, bound_bytes, describe, pack, parse
from gencomp.codec.pixels import PictureError
from gencomp.models.package import Package
from gencomp.references import UnknownModelError

SIZES = [(1, 1), (1, 7), (7, 1), (16, 16), (17, 33), (451, 300), (768, 512)]


@pytest.fixture(scope="module")
def codec(package: Package) -> Codec:
    return Codec.from_package(package)


def textured(width: int, height: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_pictures_of_any_size_come_back_at_their_size(codec: Codec, size: tuple[int, int]) -> None:
    image = textured(*size)
    stream = codec.compress(image)
    symbols = codec.decode_symbols(stream)
    h, w = max(2, -(-size[1] // 16)), max(2, -(-size[0] // 16))
    assert symbols.shape == (4, h, w)
    assert np.array_equal(symbols, codec.symbols(image))
    assert len(stream) <= bound_bytes(4, h, w, 5)
    decoded = codec.decompress(stream)
    assert (decoded.mode, decoded.size) == ("RGB", size)


@settings(max_examples=15)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.sampled_from(ENTROPIES), st.integers(1, 3))
def test_the_decoder_finds_the_symbols_of_the_encoder(
    codec: Codec, width: int, height: int, seed: int, entropy: Entropy, channels: int
) -> None:
    image = textured(width, height, seed).convert(["L", "RGB", "RGBA"][channels - 1])
    stream = codec.compress(image, entropy=entropy)
    assert np.array_equal(codec.decode_symbols(stream), codec.symbols(image))
    assert codec.decompress(stream).size == image.size


def test_decompression_is_the_generator_on_the_symbols_cropped(codec: Codec, package: Package) -> None:
    image = textured(45, 61)
    with torch.inference_mode():
        symbols = torch.from_numpy(codec.symbols(image)).long()[None]
        x_hat = package.generator(package.compressor.q.values(symbols))[0]
    expected = ((x_hat + 1) / 2 * 255).permute(1, 2, 0)[:61, :45].numpy()
    assert np.abs(np.asarray(codec.decompress(codec.compress(image))) - expected).max() <= 0.5 + 1e-3


def test_padding_repeats_the_last_row_and_column(codec: Codec) -> None:
    image = textured(40, 35)
    grown = Image.fromarray(np.pad(np.asarray(image), ((0, 13), (0, 8), (0, 0)), mode="edge"))
    assert grown.size == (48, 48)
    assert np.array_equal(codec.symbols(image), codec.symbols(grown))


def test_a_random_picture_uses_all_centers(codec: Codec) -> None:
    assert set(codec.symbols(textured(128, 128)).reshape(-1).tolist()) == {0, 1, 2, 3, 4}


def test_raw_takes_the_bound_static_at_most_as_much_and_context_no_more(codec: Codec) -> None:
    image = textured(200, 120)
    raw, static, context = (codec.compress(image, entropy=entropy) for entropy in ENTROPIES)
    assert describe(raw).entropy == "raw"
    assert len(context) <= len(static) <= len(raw) <= bound_bytes(4, 8, 13, 5)
    assert codec.compress(image) == context
    for stream in (raw, static, context):
        assert np.array_equal(codec.decode_symbols(stream), codec.symbols(image))


def test_thin_pictures_whose_padding_is_over_the_limit_are_refused(codec: Codec) -> None:
    header = Header(1 << 20, 1, 4, "static", codec.package.fingerprint[:4])
    for decode in (codec.decompress, codec.decode_symbols):
        with pytest.raises(StreamError, match="1048576 x 1 pixels is, padded, over the limit"):
            decode(pack(header, b""))
    with pytest.raises(PictureError, match="padded, over the limit"):
        codec.compress(Image.new("L", (1 << 20, 1)))


def test_one_pixel_takes_at_most_18_bytes(codec: Codec) -> None:
    assert len(codec.compress(Image.new("RGB", (1, 1), "red"))) <= 13 + 5


def test_the_same_picture_gives_the_same_bytes_in_every_thread(codec: Codec) -> None:
    images = [textured(50, 40, seed) for seed in range(4)]
    alone = [codec.compress(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(codec.compress, images * 3)) == alone * 3


def test_a_stream_of_another_model_is_refused_with_both_fingerprints(
    package: Package, other_package: Package, picture: Image.Image
) -> None:
    stream = Codec.from_package(other_package).compress(picture)
    codec = Codec.from_package(package)
    for decode in (codec.decompress, codec.decode_symbols):
        with pytest.raises(StreamError) as refusal:
            decode(stream)
        assert other_package.fingerprint.hex()[:8] in str(refusal.value)
        assert package.fingerprint.hex()[:8] in str(refusal.value)


def test_a_stream_with_other_channels_than_its_model_is_refused(codec: Codec, picture: Image.Image) -> None:
    header, payload = parse(codec.compress(picture))
    with pytest.raises(StreamError, match="3 latent channels, and its model has 4"):
        codec.decompress(pack(replace(header, channels=3), payload))


def test_a_damaged_payload_with_a_right_checksum_is_a_picture_or_a_refusal(codec: Codec, picture: Image.Image) -> None:
    header, payload = parse(codec.compress(picture))
    random = np.random.default_rng(0)
    for entropy in ENTROPIES:
        for _ in range(40):
            noise = random.integers(0, 256, int(random.integers(0, len(payload) + 3))).astype(np.uint8).tobytes()
            stream = pack(replace(header, entropy=entropy), noise)
            try:
                symbols = codec.decode_symbols(stream)
            except StreamError as error:
                assert "\n" not in str(error)
            else:
                assert symbols.max() < 5
                assert codec.decompress(stream).size == picture.size


def test_pictures_and_streams_above_the_untiled_limit_are_refused(codec: Codec) -> None:
    side = 1 << 12
    with pytest.raises(PictureError, match=f"limit of {MAX_UNTILED_PIXELS} pixels"):
        codec.compress(Image.new("1", (side, side + 1)))
    header = Header(side, side + 1, 4, "static", codec.package.fingerprint[:4])
    with pytest.raises(StreamError, match=f"limit of {MAX_UNTILED_PIXELS} pixels"):
        codec.decompress(pack(header, b""))


def test_a_picture_without_pixels_is_refused(codec: Codec) -> None:
    with pytest.raises(PictureError, match="is empty"):
        codec.compress(Image.new("RGB", (0, 4)))


def test_the_callers_threads_and_gradients_are_left_alone(codec: Codec, picture: Image.Image) -> None:
    threads = torch.get_num_threads()
    codec.decompress(codec.compress(picture))
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_a_folder_that_is_no_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="it has no config.json"):
        Codec.from_reference(tmp_path)


def test_a_damaged_package_is_refused_in_one_line(tmp_path: Path) -> None:
    for name in ("config.json", "tables.json", "model.safetensors"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(UnknownModelError, match=r"^[^\n]+$"):
        Codec.from_reference(str(tmp_path))


def test_the_package_offers_the_codec_and_its_version_lazily() -> None:
    assert gencomp.Codec is Codec
    assert gencomp.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="no attribute 'Decoder'"):
        _ = gencomp.Decoder  # type: ignore[attr-defined]
    loaded = "import sys, gencomp; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False"]
