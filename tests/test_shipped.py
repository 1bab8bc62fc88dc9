"""The shipped models: small enough, on every rate, and each true to a stream of its own for ever."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from gencomp import Codec
from gencomp.codec.coder import encode
from gencomp.codec.container import describe
from gencomp.codec.context import Coding, ContextModel
from gencomp.codec.rate import DEFAULT_MAX_BPP
from gencomp.evaluation.metrics import psnr
from gencomp.models.light import LightConfig
from gencomp.models.package import load_package
from gencomp.references import SHIPPED_MODELS, resolve, shipped

GOLDEN = Path(__file__).parent / "codec" / "golden"
SHIPPED = {
    "light-1": (
        "6fa3d47df4e465d5de5cb7375dd2fb0293bcd8f3459f8ec658ac0e0e49ee00d5",
        "d6ec325f2988fb62041b2ef5d4952bcc4a630458f86abbb47eba403128b47058",
    ),
    "light-2": (
        "a4300301e40791a6401652c7e9c6b80c1c8208cc0cd01bbca8e21c7d53c42eed",
        "9c915d907e697e7f25d701c20c5f818b8133f5d16e43e4bdab04091c3693dcc7",
    ),
    "light-3": (
        "5f4977bc47d6ad59c94fccf3b5203c6e7d022e8adc1471627598c82ce27c602e",
        "43ffad74f25d45e01c8c4b9c1721550dfdaebeedd10fd36c4acfb7f508d75f4d",
    ),
    "light-4": (
        "f3b6f8f7f5c52d719d2abe75117f3243f6bde55a65fc423f57e96ee75585da89",
        "85888b2f3e39adcd0585f11daa3917bf35b456e690abaf582be79ac5ca9b45f6",
    ),
}
"""Fingerprint, and SHA-256 of the golden stream's symbols, of each; the last is the default."""


@pytest.fixture(scope="module", params=SHIPPED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def codec(name: str) -> Codec:
    return Codec.from_reference(name)


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    """A photograph that the model was not trained on, 600 x 400."""
    return Image.fromarray(data.coffee())


def test_the_newest_is_the_default() -> None:
    newest = SHIPPED_MODELS / list(SHIPPED)[-1]
    assert resolve("light") == newest
    assert load_package(newest).config.light == LightConfig()
    assert Codec.from_reference().package.fingerprint.hex() == SHIPPED[newest.name][0]
    assert [folder.name for folder in shipped()] == list(SHIPPED)


def test_it_is_itself_and_has_a_card(name: str, codec: Codec) -> None:
    assert codec.package.fingerprint.hex() == SHIPPED[name][0]
    card = (SHIPPED_MODELS / name / "README.md").read_text()
    for word in ("CC BY-SA 4.0", "It invents", "Kodak", "two CPU cores"):
        assert word in card


def test_it_is_small(name: str, codec: Codec) -> None:
    assert sum(file.stat().st_size for file in (SHIPPED_MODELS / name).iterdir()) <= 13e6
    assert sum(p.numel() for p in codec.package.compressor.parameters()) <= 6e6


def test_its_streams_decode_to_the_same_symbols_everywhere(name: str, codec: Codec) -> None:
    symbols = codec.decode_symbols((GOLDEN / name / "coffee.gnc").read_bytes())
    assert hashlib.sha256(symbols.tobytes()).hexdigest() == SHIPPED[name][1]


def test_its_golden_picture_decodes_as_it_did(name: str, codec: Codec) -> None:
    decoded = np.asarray(codec.decompress((GOLDEN / name / "coffee.gnc").read_bytes())).astype(int)
    expected = np.asarray(Image.open(GOLDEN / name / "coffee.png")).astype(int)
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= 1


def test_it_keeps_to_the_default_rate_and_shows_the_picture(codec: Codec, coffee: Image.Image) -> None:
    stream = codec.compress(coffee)
    found = describe(stream)
    assert 0.8 * DEFAULT_MAX_BPP < found.bpp <= DEFAULT_MAX_BPP
    assert found.entropy == "context"
    assert psnr(np.asarray(coffee), np.asarray(codec.decompress(stream))) > 20.5


def test_a_photograph_costs_what_the_context_network_expects(coffee: Image.Image) -> None:
    """Of the newest model, whatever the number of channels."""
    codec = Codec.from_reference()
    symbols = codec.symbols(coffee)
    assert codec.package.network is not None
    coding = Coding(ContextModel(codec.package.network), symbols)
    for channels in (1, 4, 8, 16):
        contexts = Coding(ContextModel(codec.package.network).first(channels), symbols[:channels])
        found = encode(symbols[:channels], codec.package.frequencies[:channels], None, "context", None, contexts)
        assert found.entropy == "context"
        expected = coding.bits(channels) / 8
        assert expected - 1 <= len(found.payload) <= 1.01 * expected + 5


def test_more_channels_cost_more_and_show_more(codec: Codec, coffee: Image.Image) -> None:
    streams = [codec.compress(coffee, channels=count) for count in (1, 3, 7, 13)]
    sizes = [len(stream) for stream in streams]
    quality = [psnr(np.asarray(coffee), np.asarray(codec.decompress(stream))) for stream in streams]
    assert sizes == sorted(sizes) and quality == sorted(quality)
    assert quality[-1] > quality[0] + 3
