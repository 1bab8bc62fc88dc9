"""Packages: the same bytes for the same model, checked before use, never executed."""

import hashlib
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gencomp.models.compressor import Compressor, ModelConfig, initialise
from gencomp.models.content import PACKAGE_FILES, content_hash
from gencomp.models.context import ContextNetwork, ContextWeights
from gencomp.models.entropy import fit_frequencies
from gencomp.models.package import MAX_JSON_BYTES, PackageError, load_package, save_package

CONFIG = ModelConfig(width=4, blocks=1, channels=2)


def write(folder: Path, seed: int = 0) -> Compressor:
    compressor = Compressor(CONFIG)
    initialise(compressor, torch.Generator().manual_seed(seed))
    save_package(folder, CONFIG, compressor, fit_frequencies(np.array([[1, 2, 3, 2, 1], [0, 0, 9, 1, 1]])))
    return compressor


def test_a_package_comes_back_as_it_was(tmp_path: Path) -> None:
    written = write(tmp_path)
    read = load_package(tmp_path)
    assert read.config == CONFIG
    assert read.frequencies.tolist() == fit_frequencies(np.array([[1, 2, 3, 2, 1], [0, 0, 9, 1, 1]])).tolist()
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        assert torch.equal(read.compressor(x).x_hat, written.eval()(x).x_hat)


def test_the_same_model_gives_the_same_bytes_and_holds_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(PACKAGE_FILES)


def test_another_generator_has_another_fingerprint_but_another_encoder_does_not(tmp_path: Path) -> None:
    write(tmp_path / "a", seed=0)
    write(tmp_path / "b", seed=1)
    first, second = load_package(tmp_path / "a"), load_package(tmp_path / "b")
    assert first.fingerprint != second.fingerprint
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    encoder = {name: tensor + 1 if name.startswith("E.") else tensor for name, tensor in tensors.items()}
    save_file(encoder, tmp_path / "a" / "model.safetensors")
    assert load_package(tmp_path / "a").fingerprint == first.fingerprint


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(PackageError, match=name):
        load_package(tmp_path)


@pytest.mark.parametrize("name", PACKAGE_FILES)
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(PackageError) as error:
        load_package(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [{"width": 8}, {"width": 10**9}, {"channels": 3}, {"width": "4"}, {"unknown": 1}, {"blocks": -1}],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused_before_anything_is_allocated(
    tmp_path: Path, change: dict[str, object]
) -> None:
    write(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(PackageError):
        load_package(tmp_path)


GIANTS: tuple[dict[str, object], ...] = (
    {"width": 256, "downsamplings": 6, "blocks": 64},
    {"light": {"encoder": [1024] * 3, "generator": [1024] * 3}},
    {"light": {"generator": [1024] * 3, "encoder_blocks": [64] * 3, "generator_blocks": [64] * 3}},
    {"mode": "sc", "classes": 65535},
)
"""Up to a terabyte of weights, were they made."""
LOADING = """
import resource, sys, tracemalloc
from pathlib import Path
from gencomp.models.package import PackageError, load_package

pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (most, most))
for folder in sys.argv[1:]:
    tracemalloc.start()
    try:
        load_package(Path(folder))
    except PackageError as error:
        print(tracemalloc.get_traced_memory()[1], error)
    tracemalloc.stop()
"""
"""Loads packages where there is 0.5 GiB for it, and says how much of it Python took and why they were refused."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc how much memory it has")
def test_giant_networks_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(len(GIANTS))]
    for folder, change in zip(folders, GIANTS, strict=True):
        write(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))
    done = subprocess.run([sys.executable, "-c", LOADING, *map(str, folders)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert len(said) == len(GIANTS)
    for peak, reason in said:
        assert reason.endswith("its tensors are not those of the network in config.json")
        assert int(peak) < 50e6


@pytest.mark.parametrize("name", ["config.json", "tables.json"])
@pytest.mark.parametrize(
    "text",
    [
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"width":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        *(b'"\xff"', b'{"width":1e999}', b"[" + b"9" * 5000 + b"]", b"\xef\xbb\xbf{}", b"NaN", b""),
    ],
    ids=["lists", "objects", "closed", "no text", "infinite", "digits", "mark", "nan", "empty"],
)
def test_json_that_is_no_model_is_refused_in_one_line(tmp_path: Path, name: str, text: bytes) -> None:
    write(tmp_path)
    (tmp_path / name).write_bytes(text)
    with pytest.raises(PackageError, match=rf"^[^\n]*{name}: [^\n]+$"):
        load_package(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "tables.json"])
def test_json_files_larger_than_any_model_needs_are_not_read(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    kept = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(kept.ljust(MAX_JSON_BYTES))
    load_package(tmp_path)
    (tmp_path / name).write_bytes(b"[" + b"[]," * (3 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(PackageError, match=f"{name}: more than {MAX_JSON_BYTES} bytes, which no model needs"):
            load_package(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_JSON_BYTES
    finally:
        tracemalloc.stop()


def test_the_largest_tables_that_fit_a_model_are_far_below_the_limit(tmp_path: Path) -> None:
    config = ModelConfig(width=2, blocks=0, channels=16, levels=8)
    row = [2**24 // 8] * 8
    save_package(tmp_path, config, Compressor(config), np.array([row] * 16), np.array([[row] * 64] * 16))
    assert (tmp_path / "tables.json").stat().st_size < MAX_JSON_BYTES / 5
    assert load_package(tmp_path).contexts is not None


@pytest.mark.parametrize("rows", [[[1, 2, 3, 4, 5]] * 2, [[2**24, 0, 0, 0, 0]] * 2, [[2**24]] * 2, []], ids=str)
def test_tables_that_could_not_code_are_refused(tmp_path: Path, rows: list[list[int]]) -> None:
    write(tmp_path)
    (tmp_path / "tables.json").write_text(json.dumps({"static": rows}))
    with pytest.raises(PackageError, match="tables.json"):
        load_package(tmp_path)


def by_context(channels: int = CONFIG.channels, contexts: int = 25) -> list[list[list[int]]]:
    return [[[2**24 - 4, 1, 1, 1, 1]] * contexts] * channels


@pytest.mark.parametrize(
    "rows", [by_context(1), by_context(contexts=24), [[[2**24, 0, 0, 0, 0]] * 25] * CONFIG.channels]
)
def test_tables_by_context_that_could_not_code_are_refused(tmp_path: Path, rows: list[list[list[int]]]) -> None:
    write(tmp_path)
    static = json.loads((tmp_path / "tables.json").read_text())
    (tmp_path / "tables.json").write_text(json.dumps(static | {"context": by_context()}))
    assert load_package(tmp_path).contexts is not None
    (tmp_path / "tables.json").write_text(json.dumps(static | {"context": rows}))
    with pytest.raises(PackageError, match="tables.json"):
        load_package(tmp_path)


def test_tables_by_context_come_back_and_belong_to_the_fingerprint(tmp_path: Path) -> None:
    compressor = write(tmp_path / "plain")
    plain = load_package(tmp_path / "plain")
    contexts = np.array(by_context())
    save_package(tmp_path / "context", CONFIG, compressor, plain.frequencies, contexts)
    package = load_package(tmp_path / "context")
    assert plain.contexts is None
    assert np.array_equal(package.contexts, contexts)
    assert package.fingerprint != plain.fingerprint


def write_network(folder: Path, channels: int = CONFIG.channels, levels: int = CONFIG.levels) -> ContextWeights:
    network = ContextNetwork(channels, levels, (6, 4))
    network.initialise(torch.Generator().manual_seed(1))
    compressor = write(folder)
    save_package(folder, CONFIG, compressor, load_package(folder).frequencies, None, network.weights())
    return network.weights()


def test_a_context_network_comes_back_and_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    write(tmp_path)
    plain = load_package(tmp_path)
    weights = write_network(tmp_path)
    package = load_package(tmp_path)
    assert plain.network is None and package.network is not None
    assert np.array_equal(package.network.before, weights.before) and package.network.before.dtype == np.int16
    assert np.array_equal(package.network.biases[2], weights.biases[2])
    assert package.fingerprint != plain.fingerprint
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(tensors | {"context.b3": tensors["context.b3"] + 1}, tmp_path / "model.safetensors")
    assert load_package(tmp_path).fingerprint != package.fingerprint


@pytest.mark.parametrize("wrong", [{"channels": CONFIG.channels + 1}, {"levels": CONFIG.levels - 1}], ids=str)
def test_a_context_network_of_another_shape_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    write_network(tmp_path, **wrong)
    with pytest.raises(PackageError, match="its context network is not one for C = "):
        load_package(tmp_path)


@pytest.mark.parametrize("change", ["missing", "float", "inexact", "huge"])
def test_a_context_network_that_could_not_decode_everywhere_is_refused(tmp_path: Path, change: str) -> None:
    write_network(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    match change:
        case "missing":
            del tensors["context.seen"]
        case "float":
            tensors["context.last"] = tensors["context.last"].float()
        case "inexact":
            tensors["context.b2"] = torch.full_like(tensors["context.b2"], 2**24)
        case "huge":
            tensors["context.b1"] = torch.zeros(CONFIG.channels, 5000, dtype=torch.int32)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(PackageError, match="context network") as error:
        load_package(tmp_path)
    assert "\n" not in str(error.value)


def test_single_precision_packages_keep_their_fingerprints() -> None:
    """Streams carry it: another one here makes every stream that was written unreadable."""
    golden = Path(__file__).parents[1] / "codec" / "golden" / "package"
    expected = "6e2a429eaed1c01dcd458953965cb667c19db19ff5ee6203bf94e69e5c53354d"
    assert load_package(golden).fingerprint.hex() == expected


def test_half_precision_halves_the_file_and_is_used_in_single_precision(tmp_path: Path) -> None:
    written = write(tmp_path / "single")
    save_package(tmp_path / "half", CONFIG, written, load_package(tmp_path / "single").frequencies, half=True)
    sizes = {kind: (tmp_path / kind / "model.safetensors").stat().st_size for kind in ("single", "half")}
    assert sizes["half"] < 0.6 * sizes["single"]
    read = load_package(tmp_path / "half")
    for name, tensor in read.compressor.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, written.state_dict()[name].half().float())


def test_the_fingerprint_of_a_half_precision_package_is_over_its_tensors_as_stored(tmp_path: Path) -> None:
    compressor = write(tmp_path / "single")
    single = load_package(tmp_path / "single")
    save_package(tmp_path / "half", CONFIG, compressor, single.frequencies, half=True)
    half = load_package(tmp_path / "half")
    digest = hashlib.sha256((tmp_path / "half" / "config.json").read_bytes())
    digest.update(half.frequencies.astype("<i8").tobytes())
    for name, tensor in sorted(load_file(tmp_path / "half" / "model.safetensors").items()):
        if name.startswith("G."):
            digest.update(f"{name[2:]} torch.float16 {list(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
    assert half.fingerprint == digest.digest() != single.fingerprint
    save_package(tmp_path / "again", CONFIG, half.compressor, half.frequencies, half=True)
    assert content_hash(tmp_path / "again") == content_hash(tmp_path / "half")
    assert load_package(tmp_path / "again").fingerprint == half.fingerprint


@pytest.mark.parametrize("half", [False, True])
def test_counts_among_the_tensors_stay_whole_numbers(tmp_path: Path, half: bool) -> None:
    """As in normalisations that track statistics."""
    config = msgspec.structs.replace(CONFIG, normalisation="tracked")
    written = Compressor(config)
    counts = {name for name, tensor in written.state_dict().items() if not tensor.is_floating_point()}
    assert counts
    save_package(tmp_path, config, written, fit_frequencies(np.ones((2, 5), np.int64)), half=half)
    read = load_package(tmp_path).compressor.state_dict()
    assert all(torch.equal(read[name], written.state_dict()[name]) for name in counts)
    assert {tensor.dtype for name, tensor in read.items() if name not in counts} == {torch.float32}


def test_numbers_that_half_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    compressor = write(tmp_path / "single")
    frequencies = load_package(tmp_path / "single").frequencies
    with torch.no_grad():
        next(compressor.G.parameters()).view(-1)[0] = 70000
    with pytest.raises(PackageError, match=r"^G\.[^\n]+ reaches 70000, which half precision cannot hold$"):
        save_package(tmp_path / "half", CONFIG, compressor, frequencies, half=True)
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("change", ["mixed", "bfloat16", "float64"])
def test_tensors_of_other_or_mixed_types_are_refused(tmp_path: Path, change: str) -> None:
    write(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    types = {"mixed": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
    names = sorted(tensors)[:1] if change == "mixed" else sorted(tensors)
    save_file(tensors | {name: tensors[name].to(types[change]) for name in names}, tmp_path / "model.safetensors")
    with pytest.raises(PackageError, match=r"^[^\n]*where all must be of torch.float32 or all of torch.float16$"):
        load_package(tmp_path)
