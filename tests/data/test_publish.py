"""What `gencomp data publish` leaves in a bucket of an S3 server on this machine."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gencomp.cli import main
from gencomp.data.failure import DataError
from gencomp.data.places import BLOCK, place, remote
from gencomp.data.publish import JOURNAL, _Copy, publish
from stages.download import CITYSCAPES_TERMS
from tests.data.conftest import stage_shards


def here(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(url: str) -> dict[str, bytes]:
    system, root = remote(url)
    return {name[len(root) + 1 :]: system.cat_file(name) for name in system.find(root)}


def test_the_url_holds_the_bytes_of_the_folder_and_nothing_is_sent_twice(tmp_path: Path, s3: str) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2, 3])
    assert publish(folder, s3).sent == 4
    assert there(s3) == here(folder)
    assert publish(folder, s3).sent == 0


def test_a_copy_that_was_killed_goes_on_and_shows_no_manifest_until_it_is_whole(tmp_path: Path, s3: str) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2, 3])
    code = (
        "import os, signal, sys; from pathlib import Path; from gencomp.data.publish import publish\n"
        "def tell(line):\n    if line.startswith('3 of'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "publish(Path(sys.argv[1]), sys.argv[2], tell)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder), s3], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert there(s3).keys() == {"train-000000.tar", "train-000001.tar", JOURNAL}
    told: list[str] = []
    assert publish(folder, s3, told.append).sent == 2
    assert [line.split()[3] for line in told] == ["train-000002.tar,", "manifest.json,"]
    assert there(s3) == here(folder)


def test_pictures_that_may_not_be_passed_on_go_to_private_places_alone(tmp_path: Path, s3: str) -> None:
    folder = stage_shards(tmp_path / "shards", [1], license=CITYSCAPES_TERMS)
    refused = CliRunner().invoke(main, ["data", "publish", str(folder), s3])
    assert refused.exit_code == 2 and there(s3) == {}
    assert re.search(r"may not be passed on \(Cityscapes terms .*\); say --private if nobody else", refused.output)
    assert publish(folder, tmp_path / "local").sent == 2
    assert CliRunner().invoke(main, ["data", "publish", str(folder), s3, "--private"]).exit_code == 0
    assert there(s3) == here(folder)


def test_another_version_takes_the_place_of_the_first_and_strangers_stay(tmp_path: Path, s3: str) -> None:
    system, root = remote(s3)
    publish(stage_shards(tmp_path / "one", [1, 2, 3]), s3)
    system.pipe_file(f"{root}/notes.txt", b"mine")
    second = stage_shards(tmp_path / "two", [1, 9])
    assert publish(second, s3).sent == 2
    assert there(s3) == {**here(second), "notes.txt": b"mine"}


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_replacement_that_breaks_off_anywhere_ends_in_the_same_bytes(tmp_path: Path, s3: str, stop: int) -> None:
    """Also where the next copy is of a third version, or of the first again."""

    class StopError(Exception):
        pass

    def tell(line: str) -> None:
        if line.startswith(f"{stop} of"):
            raise StopError

    first, second = stage_shards(tmp_path / "one", [1, 2, 3]), stage_shards(tmp_path / "two", [4, 5, 3])
    for after in (second, first, stage_shards(tmp_path / "three", [4, 2])):
        publish(first, s3)
        with pytest.raises(DataError, match="StopError"):
            publish(second, s3, tell)
        assert "manifest.json" not in there(s3)
        publish(after, s3)
        assert there(s3) == here(after)


def test_what_only_has_the_right_name_and_size_is_sent_again(tmp_path: Path, s3: str) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2])
    system, root = remote(s3)
    tar = folder / "train-000000.tar"
    system.pipe_file(f"{root}/{tar.name}", bytes(tar.stat().st_size))
    assert publish(folder, s3).sent == 3
    assert there(s3) == here(folder)


def test_a_file_that_breaks_off_does_not_appear(s3: str) -> None:
    def blocks() -> Iterator[bytes]:
        yield bytes(2 * BLOCK)
        raise OSError("the disk is gone")

    system, root = remote(s3)
    with pytest.raises(OSError, match="the disk is gone"):
        _Copy(system, root)._put("train-000000.tar", blocks())
    assert there(s3) == {}
    assert not system.call_s3("list_multipart_uploads", Bucket=root.partition("/")[0]).get("Uploads")


def test_a_local_url_and_the_raw_tars_of_a_download_are_copied_too(tmp_path: Path) -> None:
    folder = stage_shards(tmp_path / "shards", [1])
    target = tmp_path / "mounted" / "shards"
    assert publish(folder, place(target.as_uri())).sent == 2
    assert here(target) == here(folder)


def test_a_folder_that_is_not_what_its_manifest_says_is_not_sent(tmp_path: Path, s3: str) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2])
    (folder / "train-000001.tar").write_bytes(b"other")
    with pytest.raises(DataError, match=r"train-000001.tar is not what manifest.json says; run the stage again"):
        publish(folder, s3)
    assert there(s3) == {}
    with pytest.raises(DataError, match="no such file"):
        publish(tmp_path, s3)


def test_the_command_says_what_went_wrong_in_a_line_and_never_a_secret(
    tmp_path: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stage_shards(tmp_path / "shards", [1, 2])
    done = CliRunner().invoke(main, ["data", "publish", str(folder), s3])
    assert done.exit_code == 0 and "3 files" in done.stdout and "3 of them sent now" in done.stdout
    shown = CliRunner().invoke(main, ["data", "inspect", s3])
    assert shown.exit_code == 0 and "4 samples" in shown.stdout
    written = done.output + shown.output
    attempts = [
        ("s3://no-such-bucket-anywhere/x", "no-such-bucket-anywhere/x: .*; is there such a bucket"),
        ("s3://key:hidden-word@lab/x", "without password"),
        ("s3://lab/x?token=hidden-word", "without password and parameters"),
        ("nowhere://lab/x", "nowhere"),
    ]
    for target, problem in attempts:
        failed = CliRunner().invoke(main, ["data", "publish", str(folder), target])
        lines = failed.stderr.strip().splitlines()
        assert failed.exit_code and re.search(problem, lines[-1]), failed.output
        written += failed.output
    remote(s3)[0].clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    failed = CliRunner().invoke(main, ["data", "publish", str(folder), s3])
    assert failed.exit_code and "127.0.0.1:9" in failed.stderr and "\n" not in failed.stderr.strip()
    assert not any(secret in written + failed.output for secret in (os.environ["AWS_SECRET_ACCESS_KEY"], "hidden-word"))
