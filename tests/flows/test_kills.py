"""The small version of benchmarks/kills.py: a pipeline of shell commands, and a few kills."""

import random
import shutil
from pathlib import Path

from benchmarks.kills import START, Hunt, Killed, Run, Tree, compared, locked
from tests.flows.checkouts import Server, shell

STAGE = "train.sh"
SLOWER_TRAIN = "sleep 3\n"
KINDS = ["flow", "guard", "dvc", "stage", "worker"]
RUN = Run({START: 4.0, STAGE: 2.0}, {START: ["flow"], STAGE: KINDS})


def test_flows_killed_at_random_end_in_the_hashes_of_an_unbroken_run_and_leave_nothing(
    checkout: Path, environment: dict[str, str], server: Server, tmp_path: Path
) -> None:
    with (checkout / "train.sh").open("a") as script:
        script.write(SLOWER_TRAIN)
    unbroken = Path(shutil.copytree(checkout, tmp_path / "other" / "checkout"))
    shell(unbroken, "dvc", "repro")
    (tmp_path / "tmp").mkdir()
    (unbroken / ".scratch").mkdir()
    (unbroken / ".scratch" / "flow.lock").touch()
    tree = Tree(checkout, environment | {"TMPDIR": str(tmp_path / "tmp")})
    done = Killed([], [], [], [], [])
    hunt = Hunt(tree, RUN, random.Random(5), server.api, lambda: compared(checkout, unbroken), done)
    for _ in range(len(KINDS)):
        hunt.kill()
    hunt.to_the_end()
    assert sorted(victim.split()[0] for victim in done.victims) == sorted(KINDS), tree.output.read_text()
    assert f"stage {STAGE}" in done.victims
    assert [done.survivors, done.failed, done.wrong] == [[], [], []], tree.output.read_text()
    assert locked(checkout) == locked(unbroken) != {}
    assert (checkout / "registered.txt").read_text() == (unbroken / "registered.txt").read_text()


def test_what_differs_from_an_unbroken_run_is_told(checkout: Path, tmp_path: Path) -> None:
    unbroken = Path(shutil.copytree(checkout, tmp_path / "other" / "checkout"))
    for root in (checkout, unbroken):
        shell(root, "dvc", "repro", "shard")
    (checkout / "data" / "tmpx").mkdir()
    (checkout / "data" / "tmpx" / "part.txt").touch()
    (checkout / "dvc.lock").write_text((checkout / "dvc.lock").read_text().replace("size: 3", "size: 4"))
    assert compared(checkout, unbroken) == ["dvc.lock: shard", "left: data/tmpx/part.txt"]
