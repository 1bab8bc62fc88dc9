"""The small version of benchmarks/kills.py: a pipeline of shell commands, and a few kills."""

import random
import shutil
from pathlib import Path

from benchmarks.kills import Tree, finished, kill, locked, temporaries
from tests.flows.checkouts import Server, shell

SLOWER_TRAIN = "sleep 1\n"


def test_flows_killed_at_random_end_in_the_hashes_of_an_unbroken_run_and_leave_nothing(
    checkout: Path, environment: dict[str, str], server: Server, tmp_path: Path
) -> None:
    with (checkout / "train.sh").open("a") as script:
        script.write(SLOWER_TRAIN)
    unbroken = Path(shutil.copytree(checkout, tmp_path / "unbroken"))
    shell(unbroken, "dvc", "repro")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    tree = Tree(checkout, environment | {"PREFECT_API_URL": server.api, "TMPDIR": str(scratch)})
    killed = kill(tree, 3, random.Random(5), longest_wait=8.0)
    assert len(killed.victims) == 3
    assert killed.survivors == []
    assert finished(tree), (tmp_path / "output.txt").read_text()
    assert locked(checkout) == locked(unbroken)
    assert temporaries(checkout, scratch) == []
    assert (checkout / "registered.txt").read_text() == (unbroken / "registered.txt").read_text()
