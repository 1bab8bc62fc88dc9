"""A small DVC pipeline for the flows' tests, and flows as processes that can be counted."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from flows.environment import QUIET

SOURCE = Path(__file__).resolve().parents[2]
MARK = "GENCOMP_TEST_PROCESS"

DVC_YAML = """\
stages:
  shard:
    cmd: mkdir -p data && echo shard ${size} > data/part.txt
    params:
      - size
    outs:
      - data
  train:
    foreach: ${variants}
    do:
      cmd: sh train.sh ${key} ${item.steps}
      deps:
        - data
        - train.sh
      params:
        - variants.${key}
      outs:
        - models/${key}
  evaluate:
    foreach: ${variants}
    do:
      cmd: sh evaluate.sh ${key}
      deps:
        - models/${key}
      metrics:
        - metrics/${key}.json:
            cache: false
  register:
    cmd: cat metrics/a.json metrics/b.json >> registered.txt
    deps:
      - metrics/a.json
      - metrics/b.json
    always_changed: true
"""
TRAIN = (
    "echo training $1; mkdir -p models/$1; cat data/part.txt > models/$1/model.txt; echo $2 >> models/$1/model.txt\n"
)
WAITING_TRAIN = 'echo waiting; touch "$PWD/started-$1"; sleep 300\n'
EVALUATE = """mkdir -p metrics; echo '{"bpp": 0.03, "fingerprint": "00"}' > metrics/$1.json\n"""
PARAMS = "size: 3\nvariants:\n  a: {steps: 1}\n  b: {steps: 2}\n"
GITIGNORE = "/data\n/models\n/.scratch\n/.prefect\n/registered.txt\n"


class Server(NamedTuple):
    api: str
    home: Path


class Family:
    """Processes started with a mark in their environment, which whatever they start inherits."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self._mark = uuid.uuid4().hex
        self._root = root
        self.environment = environment | {MARK: self._mark}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str, background: bool = False) -> subprocess.Popen[str]:
        """`background`: as a script's `&` starts it, deaf to SIGINT."""
        deaf = ["sh", "-c", 'trap \'\' INT; exec "$0" "$@"'] if background else []
        process = subprocess.Popen(
            [*deaf, sys.executable, *arguments],
            cwd=self._root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def members(self) -> list[psutil.Process]:
        """The living processes with the mark."""
        return [process for process in psutil.process_iter() if self._marked(process)]

    def commands(self) -> list[str]:
        return [" ".join(process.cmdline()) for process in self.members()]

    def end(self) -> None:
        for process in self.members():
            process.kill()
        for started in self._started:
            started.communicate()

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self._mark
        except psutil.Error:
            return False


def clean_environment(folder: Path) -> dict[str, str]:
    """A user's environment without Prefect settings, with `flows` importable; nothing is written outside `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GIT_", "MLFLOW_"))}
    return kept | {"PYTHONPATH": str(SOURCE), "HOME": str(folder), "DVC_SITE_CACHE_DIR": str(folder / "site")}


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.05)
    return False


def shell(root: Path, *command: str) -> str:
    environment = os.environ | QUIET | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True).stdout
