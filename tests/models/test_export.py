"""ONNX Runtime computes what torch does, at sizes other than those that a network was traced with."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from gencomp.cli import main
from gencomp.models import export
from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.entropy import fit_frequencies
from gencomp.models.export import ExportError, check_size, export_onnx
from gencomp.models.light import LightConfig
from gencomp.models.package import Package, load_package, save_package
from gencomp.models.selective import mask_to_latent
from gencomp.models.semantics import one_hot

PICTURES = ((1, 32, 32), (2, 80, 48), (2, 160, 224))
"""Images, height and width."""
SMALL = LightConfig(encoder=(8, 8, 8), encoder_blocks=(0, 0, 1), generator=(8, 8, 8), generator_blocks=(1, 0, 0))
CONFIGS = {
    "paper": ModelConfig(width=4, downsamplings=3, blocks=1),
    "light": ModelConfig(channels=16, nested=True, light=SMALL),
    "selective light": ModelConfig(mode="sc", classes=3, semantics_to_encoder=True, noise=2, light=SMALL),
}
MORE_CONFIGS = {
    "channel": ModelConfig(width=4, blocks=1, normalisation="channel"),
    "tracked, nested, noise": ModelConfig(width=4, blocks=1, normalisation="tracked", nested=True, noise=2),
    "light as it ships": ModelConfig(channels=16, nested=True, light=LightConfig()),
    "selective": ModelConfig(mode="sc", classes=3, width=4, blocks=1, downsamplings=3),
}
"""Tracing takes seconds for each, so these are slow tests."""


class Exported(NamedTuple):
    package: Package
    folder: Path
    encoder: onnxruntime.InferenceSession
    generator: onnxruntime.InferenceSession


def random_package(folder: Path, config: ModelConfig) -> Package:
    """E's last layer is scaled so that the latent reaches every center, and G's so that the picture has contrast;
    where G tracks statistics, it has seen some."""
    compressor = Compressor(config)
    initialise(compressor, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for network in (compressor.E, compressor.G):
            [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)][-1].weight *= 8
        if config.nested:
            compressor.G.fill.constants.copy_(torch.linspace(-1, 1, config.channels)[:, None, None])
        if config.normalisation == "tracked":
            random = torch.Generator().manual_seed(2)
            w_hat, v = (torch.randn(16, k, 8, 8, generator=random) for k in (config.channels, config.noise))
            for _ in range(20):
                compressor.G.train()(w_hat.round(), None, v)
    save_package(folder, config, compressor, fit_frequencies(np.ones((config.channels, config.levels), np.int64)))
    return load_package(folder)


@pytest.fixture(
    scope="module",
    params=[*CONFIGS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_CONFIGS)],
)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A model and its files, traced once."""
    folder = tmp_path_factory.mktemp("exported")
    package = random_package(folder / "package", (CONFIGS | MORE_CONFIGS)[request.param])
    export_onnx(package, folder / "onnx")
    return Exported(package, folder / "onnx", *(session(folder / "onnx", name) for name in ("encoder", "generator")))


def session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])


def pictures(images: int, height: int, width: int) -> Tensor:
    """Smooth colours with noise over them."""
    generator = torch.Generator().manual_seed(height * width)
    smooth = interpolate(torch.rand(images, 3, 4, 5, generator=generator), (height, width), mode="bilinear")
    return (smooth * 2 - 1 + 0.1 * torch.randn(images, 3, height, width, generator=generator)).clamp(-1, 1)


def semantics(config: ModelConfig, x: Tensor) -> dict[str, Tensor]:
    """s by brightness, for SC."""
    if config.mode == "gc":
        return {}
    labels = ((x.mean(1) + 1) / 2 * config.classes).long().clamp(0, config.classes - 1)
    return {"s": one_hot(labels, None, config.classes)}


def beside_w_hat(config: ModelConfig, w_hat: Tensor) -> dict[str, Tensor]:
    """What G gets beside w_hat: a number of channels that differs from image to image, and noise."""
    found = {}
    if config.nested:
        found["coded"] = torch.arange(len(w_hat)) * (config.channels // 2) + 1
    if config.noise:
        generator = torch.Generator().manual_seed(0)
        found["v"] = torch.randn(len(w_hat), config.noise, *w_hat.shape[2:], generator=generator)
    return found


def run(network: onnxruntime.InferenceSession, **inputs: Tensor) -> list[NDArray[np.generic]]:
    return network.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})


def eight_bit(x_hat: NDArray[np.generic]) -> NDArray[np.int64]:
    return ((x_hat + 1) * 127.5).round().astype(np.int64)


@torch.inference_mode()
def test_symbols_are_the_same_but_for_latents_on_a_decision_boundary(exported: Exported) -> None:
    config, compressor = exported.package.config, exported.package.compressor
    different, total, seen = 0, 0, set[int]()
    for size in PICTURES:
        x = pictures(*size)
        s = semantics(config, x) if config.semantics_to_encoder else {}
        w = compressor.E(x, **s)
        expected = compressor.q.symbols(w)
        found, latent = run(exported.encoder, x=x, **s)
        centers = compressor.q.centers
        assert found.dtype == np.uint8 and found.shape == tuple(expected.shape)
        seen |= set(found.flat)
        assert np.abs(latent - w.numpy()).max() < 1e-4
        differing = torch.from_numpy(found) != expected
        boundaries = (centers[1:] + centers[:-1]) / 2
        assert ((w[differing].unsqueeze(-1) - boundaries).abs().amin(-1) < 1e-4).all()
        different, total = different + int(differing.sum()), total + expected.numel()
    assert different <= 1e-4 * total
    assert seen == set(range(config.levels))


@torch.inference_mode()
def test_pixels_differ_by_one_step_of_eight_bits_at_most(exported: Exported) -> None:
    config, compressor = exported.package.config, exported.package.compressor
    for size in PICTURES:
        x = pictures(*size)
        s = semantics(config, x)
        w_hat = compressor.q(compressor.E(x, **s) if config.mode == "sc" else compressor.E(x))
        if config.mode == "sc":
            preserved = torch.zeros_like(x[:, :1])
            preserved[..., : size[1] // 2, :] = 1
            w_hat = w_hat * mask_to_latent(preserved, config.latent_stride)
        beside = beside_w_hat(config, w_hat) | s
        expected = compressor.G(w_hat, **beside).numpy()
        found = run(exported.generator, w_hat=w_hat, **beside)[0]
        assert found.shape == tuple(x.shape)
        assert len(np.unique(eight_bit(expected))) > 3
        assert np.abs(eight_bit(found) - eight_bit(expected)).max() <= 1


def test_the_files_are_valid_whole_and_as_io_json_says(exported: Exported) -> None:
    described = json.loads((exported.folder / "io.json").read_text())
    assert sorted(path.name for path in exported.folder.iterdir()) == ["encoder.onnx", "generator.onnx", "io.json"]
    for name, network in (("encoder.onnx", exported.encoder), ("generator.onnx", exported.generator)):
        onnx.checker.check_model(exported.folder / name, full_check=True)
        assert str(Path(export.__file__).parent).encode() not in (exported.folder / name).read_bytes()
        for role, nodes in (("inputs", network.get_inputs()), ("outputs", network.get_outputs())):
            ports = described["graphs"][name][role]
            types = {"float32": "tensor(float)", "int64": "tensor(int64)", "uint8": "tensor(uint8)"}
            assert [(node.name, node.type, node.shape) for node in nodes] == [
                (port["name"], types[port["type"]], port["shape"]) for port in ports
            ]
    package = exported.package
    assert described["fingerprint"] == package.fingerprint.hex()
    assert described["centers"] == package.compressor.q.centers.tolist()
    assert (described["stride"], described["smallest_side"]) == (package.config.stride, package.config.smallest_side)


def test_a_network_that_fits_no_file_is_refused() -> None:
    with torch.device("meta"):
        check_size(torch.nn.Conv2d(2048, 2048, 3))
        with pytest.raises(ExportError, match="9663676416 bytes of weights"):
            check_size(torch.nn.Conv2d(16384, 16384, 3, bias=False))


def test_absent_packages_are_named_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = random_package(tmp_path / "package", ModelConfig(width=2, blocks=0, downsamplings=1))
    monkeypatch.setattr(export, "NEEDED", ("onnx", "a_package_that_nobody_wrote"))
    with pytest.raises(ExportError, match=r"needs a_package_that_nobody_wrote: pip install 'gencomp\[onnx\]'"):
        export_onnx(package, tmp_path / "onnx")
    result = CliRunner().invoke(
        main, ["export", "--onnx", str(tmp_path / "onnx"), "--model", str(tmp_path / "package")]
    )
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert not (tmp_path / "onnx").exists()


def test_the_command_refuses_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, ["export", "--onnx", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (2, f"gencomp: {tmp_path} exists: name a new folder\n")


@pytest.mark.slow
def test_the_command_writes_the_files_and_says_which(tmp_path: Path) -> None:
    random_package(tmp_path / "package", ModelConfig(width=2, blocks=0, downsamplings=1))
    result = CliRunner().invoke(
        main, ["export", "--onnx", str(tmp_path / "onnx"), "--model", str(tmp_path / "package")]
    )
    assert (result.exit_code, result.stderr) == (0, "")
    names = ["encoder.onnx", "generator.onnx", "io.json"]
    sizes = {name: (tmp_path / "onnx" / name).stat().st_size for name in names}
    assert result.stdout == "".join(f"{tmp_path / 'onnx' / name}: {size} bytes\n" for name, size in sizes.items())
