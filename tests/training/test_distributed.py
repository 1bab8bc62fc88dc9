"""Two processes with half the batch each do what one process does with the whole batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("distributed_run.py")
TOLERANCE = 1e-3
"""Relative; gradients of the halves are summed in another order, and Adam divides small ones by themselves."""


def test_two_gloo_processes_give_the_loss_trace_of_one_with_the_whole_batch(photo_shards: Path, tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    found = []
    for name, launcher in {"one": (sys.executable,), "two": torchrun}.items():
        output = tmp_path / f"{name}.json"
        command = [*launcher, str(SCRIPT), str(photo_shards), str(tmp_path / name), str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(output.read_text()))
    one, two = found
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert [row["step"] for row in two["history"]] == [1, 2, 3, 4, 5, 6]
    for alone, together in zip(one["history"], two["history"], strict=True):
        assert together == pytest.approx(alone, rel=TOLERANCE, abs=1e-5)
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-2, abs=1e-2)
    assert one["history"][-1]["loss"] != one["history"][-2]["loss"]
