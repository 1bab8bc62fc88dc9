from pathlib import Path

import pytest

from flows import worktree
from flows.environment import for_stages, for_worktree
from tests.flows.checkouts import shell


def test_a_worktree_has_the_uncommitted_changes_and_no_deleted_or_ignored_file(checkout: Path) -> None:
    (checkout / "params.yaml").write_text("size: 5\n")
    (checkout / "evaluate.sh").unlink()
    shell(checkout, "git", "mv", "train.sh", "learn.sh")
    (checkout / "new" / "code").mkdir(parents=True)
    (checkout / "new" / "code" / "naïve name.py").write_text("x = 1\n")
    (checkout / "data").mkdir()
    (checkout / "data" / "part.txt").write_text("ignored\n")
    folder = worktree.create(checkout, "a", checkout / ".dvc" / "cache")
    assert (folder / "params.yaml").read_text() == "size: 5\n"
    assert (folder / "new" / "code" / "naïve name.py").read_text() == "x = 1\n"
    assert (folder / "learn.sh").exists()
    assert not (folder / "evaluate.sh").exists()
    assert not (folder / "train.sh").exists()
    assert not (folder / "data").exists()


def test_a_worktree_uses_the_checkouts_cache_and_keeps_its_local_configuration(checkout: Path) -> None:
    local = "[core]\n    hardlink_lock = true\n['remote \"store\"']\n    url = s3://bucket/100%\n"
    (checkout / ".dvc" / "config.local").write_text(local)
    folder = worktree.create(checkout, "a", checkout / ".dvc" / "cache")
    assert shell(folder, "dvc", "cache", "dir").strip() == str(checkout / ".dvc" / "cache")
    assert shell(folder, "dvc", "config", "core.hardlink_lock").strip() == "true"
    assert shell(folder, "dvc", "config", "remote.store.url").strip() == "s3://bucket/100%"


def test_removing_worktrees_keeps_the_scratch_folder_that_they_share(checkout: Path) -> None:
    (checkout / ".scratch" / "train").mkdir(parents=True)
    (checkout / ".scratch" / "train" / "state").write_text("resume\n")
    folder = worktree.create(checkout, "a", checkout / ".dvc" / "cache")
    assert (folder / ".scratch" / "train" / "state").read_text() == "resume\n"
    worktree.sweep(checkout)
    assert (checkout / ".scratch" / "train" / "state").read_text() == "resume\n"
    assert not (checkout / worktree.FOLDER).exists()
    assert shell(checkout, "git", "worktree", "list").count("\n") == 1


def test_a_worktree_left_by_a_killed_flow_is_replaced(checkout: Path) -> None:
    folder = worktree.create(checkout, "a", checkout / ".dvc" / "cache")
    (folder / "leftover").write_text("x")
    assert worktree.create(checkout, "a", checkout / ".dvc" / "cache") == folder
    assert not (folder / "leftover").exists()


def test_a_repository_without_a_commit_is_refused_in_one_line(tmp_path: Path) -> None:
    shell(tmp_path, "git", "init", "-q")
    with pytest.raises(worktree.WorktreeError, match="need a git commit") as caught:
        worktree.create(tmp_path, "a", tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "sqlite:////top/mlflow.db"),
        ("sqlite:///runs/ml.db", "sqlite:////top/runs/ml.db"),
        ("sqlite:////else/ml.db", "sqlite:////else/ml.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_a_worktree_logs_to_the_checkouts_mlflow_store(given: str | None, expected: str) -> None:
    environment = {"MLFLOW_TRACKING_URI": given} if given else {}
    assert for_worktree(Path("/top"), environment)["MLFLOW_TRACKING_URI"] == expected


def test_stages_see_no_telemetry_and_no_git_folder_of_a_hook() -> None:
    environment = for_stages(Path("/top"), {"GIT_DIR": "/x/.git", "DVC_NO_ANALYTICS": "0", "PATH": "/usr/bin"})
    assert "GIT_DIR" not in environment
    assert environment["DVC_NO_ANALYTICS"] == "1"
    assert environment["PATH"].endswith(":/usr/bin")
