"""Learned codecs of others: real strings of compressai in files, by networks of random weights named as the zoo's."""

import hashlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gencomp.evaluation import learned
from gencomp.evaluation.classical import CODECS, ClassicalCodecError
from tests.evaluation.conftest import photograph

ARCHITECTURES = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """torch.hub's folder with a network of random weights for the lowest quality of each architecture."""
    try:
        from compressai.zoo import image
    except Exception as error:  # torchvision fails with a RuntimeError where it does not fit torch
        pytest.skip(f"compressai cannot be imported: {error}")
    folder = tmp_path_factory.mktemp("hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "_hub_dir", str(folder))
        (folder / "checkpoints").mkdir()
        for architecture in ARCHITECTURES:
            torch.manual_seed(0)
            network = image.model_architectures[architecture](8, 12)
            network.update()
            buffer = io.BytesIO()
            torch.save(network.state_dict(), buffer)
            name = f"{architecture}-1-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth.tar"
            (folder / "checkpoints" / name).write_bytes(buffer.getvalue())
            patch.setitem(image.model_urls[architecture]["mse"], 1, f"https://example.invalid/{name}")
        learned.network.cache_clear()
        yield folder
    learned.network.cache_clear()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("width", "height"), [(128, 64), (65, 33), (1, 1)])
def test_a_file_holds_the_strings_of_the_network_and_decodes_to_its_picture(
    zoo: Path, architecture: str, width: int, height: int
) -> None:
    pixels = photograph("chelsea", width, height)
    codec = CODECS[architecture.replace("-", "_")]
    data, decoded = codec.round_trip(pixels, 1)
    assert codec.round_trip(pixels, 1)[0] == data
    padded = np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    network = learned.network(architecture, 1)
    with torch.inference_mode():
        found = network.compress(torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255)
        x_hat = network.decompress(found["strings"], found["shape"])["x_hat"][0, :, :height, :width]
    strings = b"".join(string for (string,) in found["strings"])
    assert data.endswith(strings) and len(data) == len(strings) + (9 if len(found["strings"]) == 2 else 5)
    assert np.array_equal(decoded, (x_hat.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def test_weights_that_are_absent_or_other_than_their_name_says_are_refused(zoo: Path) -> None:
    image = Image.fromarray(photograph("chelsea", 64, 64))
    assert "no mbt2018-2-" in (learned.missing("mbt2018") or "")
    with pytest.raises(ClassicalCodecError, match=r"no mbt2018-2-[^\n]+docs/peers.md$"):
        learned.encode("mbt2018", image, 2)
    with pytest.raises(ClassicalCodecError, match="no quality 9; the zoo has 1 to 8"):
        learned.encode("mbt2018", image, 9)
    file = learned.weights_file("mbt2018", 1)
    whole = file.read_bytes()
    learned.network.cache_clear()
    file.write_bytes(whole[:-1] + b"?")
    try:
        with pytest.raises(ClassicalCodecError, match="not what its name says"):
            learned.encode("mbt2018", image, 1)
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize(("architecture", "strings"), [(ARCHITECTURES[0], [b"y"]), ("mbt2018", [b"yy" * 300, b"z"])])
def test_what_is_packed_comes_out_and_a_file_cut_short_is_refused(architecture: str, strings: list[bytes]) -> None:
    data = learned.pack(3, 768, 512, strings)
    assert learned.unpack(architecture, data) == (3, 768, 512, strings)
    for length in (0, 4, 8, 12) if len(strings) > 1 else (0, 4):
        with pytest.raises(ClassicalCodecError, match=f"{architecture}: a file of {length} bytes is cut short"):
            learned.unpack(architecture, data[:length])


def test_without_compressai_they_are_left_out_with_a_line_that_says_what_to_do() -> None:
    reasons = {CODECS[name.replace("-", "_")].missing() for name in ARCHITECTURES}
    if importlib.util.find_spec("compressai") is None:
        assert reasons == {"it needs compressai and the weights of its zoo: docs/peers.md"}
    else:
        assert all(reason is None or "\n" not in reason for reason in reasons)
    assert (Path(__file__).parents[2] / "docs/peers.md").is_file()
