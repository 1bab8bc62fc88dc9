"""Where a page's numbers come from: the lock file's digests, and facts of the machine and the moment."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import torch

from gencomp.config import convert, read_yaml
from gencomp.evaluation.commit import commit
from gencomp.evaluation.page import Fact

LOCKED = ("download@", "shard@", "train@", "evaluate@", "anchors@", "gate@")
"""Heads of the names of the stages whose outputs a report reads."""


class _Output(msgspec.Struct):
    path: str
    md5: str = ""


class _Stage(msgspec.Struct):
    outs: list[_Output] = []


class _Lock(msgspec.Struct):
    stages: dict[str, _Stage] = {}


def locked(lock: Path) -> list[Fact]:
    """The MD5 of each output that a report reads, as dvc.lock has it; none where there is no such file."""
    if not lock.exists():
        return []
    stages = convert(read_yaml(lock), _Lock, str(lock)).stages
    names = sorted(name for name in stages if name.startswith(LOCKED))
    return [Fact(f"dvc.lock, {out.path}", out.md5) for name in names for out in stages[name].outs if out.md5]


def machine(threads: int | None = None) -> list[Fact]:
    """Facts that differ from run to run, and so stand on pages that are no output of the pipeline: date, commit of
    this code where it is a checkout, hardware. `threads` that worked, if not those of PyTorch alone."""
    root = Path(__file__).parents[2]
    return [
        Fact("Made", "", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        *([Fact("Commit", made)] if (root / ".git").exists() and (made := commit(root)) else []),
        Fact("Machine", "", f"{_processor()}, {_counted(threads)}, {platform.system()}{_gpu()}"),
    ]


def _counted(threads: int | None) -> str:
    threads = threads or torch.get_num_threads()
    return f"{threads} {'thread' if threads == 1 else 'threads'}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.processor() or platform.machine()}"


def _gpu() -> str:
    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
