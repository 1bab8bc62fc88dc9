"""Files of arrays are read; files that would run something are refused before they do."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomp.weights.arrays import script_arrays, torch_arrays, unpickled_arrays
from gencomp.weights.failure import WeightsError
from tests.weights.packages import old_pickle, tree


class Command:
    """Unpickled without restriction, it makes a file."""

    def __init__(self, path: Path, call: Callable[[str], object] = os.system) -> None:
        self.command = f"touch {path}" if call is os.system else f"open({str(path)!r}, 'w')"
        self.call = call

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return self.call, (self.command,)


@pytest.mark.parametrize("write", [old_pickle, lambda value: pickle.dumps(value, 4)], ids=["numpy 1", "numpy 2"])
def test_pickled_arrays_are_read_under_their_keys(write: Callable[[object], bytes]) -> None:
    arrays = unpickled_arrays(write(tree()))
    assert np.array_equal(arrays["AlexNet_0/Conv_0/kernel"], tree()["AlexNet_0"]["Conv_0"]["kernel"])
    assert len(arrays) == 6


@pytest.mark.parametrize("call", [os.system, eval, exec], ids=lambda call: call.__name__)
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, call: Callable[[str], object]) -> None:
    data = pickle.dumps(tree() | {"more": Command(tmp_path / "made", call)})
    with pytest.raises(WeightsError, match=f"asks for .*{call.__name__}"):
        unpickled_arrays(data)
    assert list(tmp_path.iterdir()) == []
    pickle.loads(data)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_command_within_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="asks for"):
        unpickled_arrays(old_pickle({"a": np.array([Command(tmp_path / "made")], object)}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [Path("a"), np.float64(1), io.BytesIO(b"a"), np.random.default_rng(0)],
    ids=lambda value: type(value).__name__,
)
def test_other_objects_are_refused(value: object) -> None:
    with pytest.raises(WeightsError):
        unpickled_arrays(old_pickle({"a": value}))


def test_every_truncated_pickle_is_refused() -> None:
    data = old_pickle(tree())
    for length in range(0, len(data), 97):
        with pytest.raises(WeightsError):
            unpickled_arrays(data[:length])


def test_a_torch_file_of_tensors_is_read_and_one_that_would_run_something_is_refused(tmp_path: Path) -> None:
    good, bad = io.BytesIO(), io.BytesIO()
    torch.save({"alpha": torch.ones(1, 2, 1, 1)}, good)
    torch.save({"alpha": Command(tmp_path / "made")}, bad)
    assert torch_arrays(good.getvalue())["alpha"].shape == (1, 2, 1, 1)
    with pytest.raises(WeightsError, match="not a torch file of tensors"):
        torch_arrays(bad.getvalue())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [[torch.ones(2)], {"a": torch.ones(2, dtype=torch.float64)}, {"a": "b"}], ids=repr)
def test_torch_files_of_something_else_are_refused(value: object) -> None:
    file = io.BytesIO()
    torch.save(value, file)
    with pytest.raises(WeightsError):
        torch_arrays(file.getvalue())


class Block(torch.nn.Module):
    """Something with tensors below it."""

    def __init__(self) -> None:
        super().__init__()
        self.stride = [2, 1]
        self.inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, (1, 3)), torch.nn.PReLU(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def scripted(module: torch.nn.Module) -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


def with_pickle(data: bytes, pickled: bytes) -> bytes:
    """A TorchScript file with another data.pkl."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("/data.pkl") else old.read(name))
    return file.getvalue()


def test_the_tensors_of_a_torchscript_file_are_read_by_the_path_of_their_attribute() -> None:
    block = Block().eval()
    found = script_arrays(scripted(block))
    state = {name.replace(".", "/"): tensor.numpy() for name, tensor in block.state_dict().items()}
    assert set(found) == set(state)
    assert all(np.array_equal(found[name], state[name]) for name in state)


def test_a_torchscript_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    data = with_pickle(scripted(Block()), pickle.dumps({"more": Command(tmp_path / "made")}, 2))
    with pytest.raises(WeightsError, match="asks for .*system"):
        script_arrays(data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"PK", scripted(Block())[:-500], with_pickle(scripted(Block()), b"damaged")])
def test_a_damaged_torchscript_file_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="not a TorchScript file"):
        script_arrays(data)


def test_tensors_of_other_types_are_refused() -> None:
    with pytest.raises(WeightsError, match="asks for torch.DoubleStorage"):
        script_arrays(scripted(torch.nn.Linear(2, 2).double()))
