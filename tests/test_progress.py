"""What a terminal shows of long work."""

import os
import pty
import subprocess
import sys

import pytest

WITHOUT_RICH = "import sys; sys.modules['rich.console'] = None"


def shown(total: int, before: str = "") -> str:
    """What a terminal gets of a line of so many parts; a process of its own has the terminal as its stderr."""
    leader, follower = pty.openpty()
    program = f"""
{before}
from gencomp.progress import moving_line
with moving_line("photo.jpg") as progress:
    for done in range({total} + 1):
        progress(done, {total})
"""
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    subprocess.run([sys.executable, "-c", program], stderr=follower, check=True, timeout=600, env=environment)
    os.write(follower, b"end")
    os.close(follower)
    data = b""
    while not data.endswith(b"end"):
        data += os.read(leader, 1 << 16)
    os.close(leader)
    return data.removesuffix(b"end").decode()


@pytest.mark.parametrize(("before", "expected"), [("", "3/3"), (WITHOUT_RICH, "photo.jpg: 3 of 3")])
def test_a_terminal_shows_how_far_long_work_is_with_rich_and_without(before: str, expected: str) -> None:
    found = shown(3, before)
    assert "photo.jpg" in found and expected in found


@pytest.mark.parametrize("before", ["", WITHOUT_RICH])
def test_what_has_only_one_part_is_not_shown(before: str) -> None:
    assert "photo.jpg" not in shown(1, before)


def test_nothing_is_shown_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    from gencomp.progress import moving_line

    with moving_line("photo.jpg") as progress:
        progress(3, 3)
    assert capfd.readouterr() == ("", "")
