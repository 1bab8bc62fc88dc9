"""A real server of a study over HTTP."""

import http.client
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from gencomp.cli import main
from gencomp.evaluation.study.app import PAGE
from gencomp.evaluation.study.ballots import read_ballots
from gencomp.evaluation.study.plan import Study
from gencomp.serving.page import page
from tests.evaluation.study.conftest import SIZES
from tests.evaluation.study.served import Participant, StudyServer, ballot
from tests.serving.served import PATIENCE


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, study_folder: Path) -> Iterator[StudyServer]:
    """One that takes no votes."""
    with closing(StudyServer(study_folder, tmp_path_factory.mktemp("shared") / "votes.sqlite")) as started:
        yield started


def test_it_says_where_it_is_and_counts_what_it_has(serve: Callable[..., StudyServer]) -> None:
    server = serve()
    assert server.announced == f"{server.url} serves 'Copies', 0 participants and 0 votes so far; Ctrl-C ends it\n"
    assert server.url.startswith("http://127.0.0.1:") and server.errors() == ""
    server.join().vote(0, "left")
    assert json.loads(server.ask("/healthz").body) == {"status": "ok", "participants": 1, "votes": 1}
    assert server.stop() == 0
    assert serve("--host", "0.0.0.0").announced.endswith("1 participants and 1 votes so far; Ctrl-C ends it\n")


def test_the_page_is_sealed(server: StudyServer) -> None:
    answer = server.ask("/")
    assert answer.status == 200 and answer.body.decode() == PAGE.read_text()
    policy = answer.headers["Content-Security-Policy"]
    assert policy == page(PAGE, "'self' data:").policy and "unsafe" not in policy and "default-src 'none'" in policy
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


def test_nothing_that_a_browser_gets_tells_what_it_shows(server: StudyServer, study: Study) -> None:
    """Not the codec, not the setting, not the picture's name, not which trials are there to catch."""
    one = server.join()
    got = [one.ask(path) for path in ("/", "/api/study", "/api/session", "/healthz")]
    got.append(one.ask("/api/vote", ballot(0, "left")))
    shown = one.session()["trials"]
    got += [one.ask(f"/pictures/{trial['left']}.png") for trial in shown]
    text = "".join(str(answer.headers) for answer in got) + b"".join(answer.body for answer in got[:5]).decode()
    assert [
        word for word in ("ours", "theirs", "c4", "q1", "q2", "q4", *SIZES) if re.search(rf"\b{word}\b", text)
    ] == []
    assert all(set(trial) == {"left", "right", "original", "width", "height"} for trial in shown)
    assert len(shown) == len(study.schedules[0]) == 14
    one.close()


def test_pictures_are_the_studys_and_are_kept_by_browsers(
    server: StudyServer, study: Study, study_folder: Path
) -> None:
    hash = study.pairs[0].other.picture
    answer = server.ask(f"/pictures/{hash}.png")
    assert answer.body == (study_folder / "pictures" / f"{hash}.png").read_bytes()
    assert answer.headers["Content-Type"] == "image/png" and "immutable" in answer.headers["Cache-Control"]
    for path in (f"/pictures/{'0' * 64}.png", "/pictures/..%2Fstudy.json", "/pictures/study.json", "/study.json"):
        assert server.ask(path).status == 404


def test_the_first_vote_counts_whoever_sends_another(server: StudyServer, study_folder: Path) -> None:
    one = server.join()
    assert one.session()["answered"] == []
    assert one.vote(0, "left") == {"counted": True, "choice": "left", "answered": [0]}
    assert one.vote(0, "right") == {"counted": False, "choice": "left", "answered": [0]}
    assert one.vote(3, "right")["answered"] == [0, 3]
    again = Participant(server, one.token)
    assert again.session()["answered"] == [0, 3]
    stored = read_ballots(study_folder, server.database)
    assert [(vote.trial, vote.choice, vote.layout, vote.pixel_ratio) for vote in stored] == [
        (0, "left", "two", 1.5),
        (3, "right", "two", 1.5),
    ]
    assert stored[0].participant == again.session()["code"]


def test_times_are_those_of_both_clocks(server: StudyServer, study_folder: Path) -> None:
    one = server.join()
    one.session()
    time.sleep(0.3)
    one.vote(0, "left")
    one.vote(1, "left")
    first, second = read_ballots(study_folder, server.database)
    assert first.client_ms == 900 and 300 <= first.server_ms < 60_000
    assert second.server_ms < first.server_ms


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("/api/join", {"consent": False}, 403, "nobody takes part without having agreed"),
        ("/api/join", {}, 422, "consent"),
        ("/api/join", b"", 400, "the request has no body: send a JSON object"),
        ("/api/join", b"{", 400, "not JSON"),
        ("/api/join", b"\xff\xfe", 400, "not JSON"),
        ("/api/vote", ballot(14, "left"), 422, "there is no such trial"),
        ("/api/vote", ballot(-1, "left"), 422, "trial"),
        ("/api/vote", ballot(0, "both"), 422, "Invalid enum value 'both'"),
        ("/api/vote", ballot(0, "left") | {"client_ms": "soon"}, 422, "client_ms"),
        ("/api/vote", ballot(0, "left") | {"pixel_ratio": 1e9}, 422, "pixel_ratio"),
        ("/api/vote", ballot(0, "left") | {"more": 1}, 422, "unknown field `more`"),
        ("/api/vote", b"[" * 1000, 422, "Expected `object`, got `array`"),
        ("/api/vote", b" " * 2000, 413, "over this server's limit of 1024 bytes"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    shared: StudyServer, path: str, body: object, status: int, reason: str
) -> None:
    one = shared.join()
    answer = one.ask(path, body)
    assert answer.status == status and reason in answer.error
    one.close()
    assert json.loads(shared.ask("/healthz").body)["votes"] == 0 and shared.errors() == ""


def test_foreign_tokens_are_refused(server: StudyServer) -> None:
    for token, reason in (("x" * 22, "not of this study"), ("x" * 65, "token is needed"), ("", "token is needed")):
        for path, body in (("/api/session", None), ("/api/vote", ballot(0, "left"))):
            answer = server.ask(path, body, token)
            assert answer.status == 401 and reason in answer.error
    assert server.ask("/api/session", headers={"Authorization": "Basic eDp4"}).status == 401
    assert server.ask("/api/vote").status == 405


def test_a_full_study_takes_nobody_more(serve: Callable[..., StudyServer]) -> None:
    server = serve("--max-participants", 2)
    first, _ = server.join(), server.join()
    answer = server.ask("/api/join", {"consent": True})
    assert answer.status == 409 and "all the participants it needs" in answer.error
    assert first.vote(0, "left")["counted"]


def crowd(server: StudyServer, participants: int, most: int) -> Counter[tuple[str, int, str]]:
    """So many at once, each with a connection of its own; the votes that were acknowledged."""
    acknowledged = Counter[tuple[str, int, str]]()
    together, lock = threading.Barrier(participants), threading.Lock()
    failures: list[BaseException] = []

    def take_part(number: int) -> None:
        try:
            together.wait(PATIENCE)
            one = server.join()
            session = one.session()
            for trial in range(len(session["trials"][:most])):
                choice = "left" if (number + trial) % 3 else "right"
                assert one.vote(trial, choice)["counted"]
                with lock:
                    acknowledged[session["code"], trial, choice] += 1
            one.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take_part, args=(number,)) for number in range(participants)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    assert failures == []
    return acknowledged


def stored(server: StudyServer, folder: Path) -> Counter[tuple[str, int, str]]:
    return Counter((one.participant, one.trial, one.choice) for one in read_ballots(folder, server.database))


def test_two_hundred_at_once_lose_no_vote(server: StudyServer, study: Study, study_folder: Path) -> None:
    acknowledged = crowd(server, 200, 3)
    assert len(acknowledged) == 600
    assert stored(server, study_folder) == acknowledged
    given = Counter(one.schedule for one in read_ballots(study_folder, server.database))
    assert given == dict.fromkeys(range(len(study.schedules)), 15)


@pytest.mark.slow
def test_two_hundred_at_once_lose_no_vote_of_whole_schedules(server: StudyServer, study_folder: Path) -> None:
    acknowledged = crowd(server, 200, 14)
    assert len(acknowledged) == 2800
    assert stored(server, study_folder) == acknowledged


def test_a_server_that_is_killed_keeps_what_it_acknowledged(
    serve: Callable[..., StudyServer], study_folder: Path
) -> None:
    server = serve()
    acknowledged = Counter[tuple[str, int, str]]()

    def vote() -> None:
        one = server.join()
        code = one.session()["code"]
        try:
            for trial in range(14):
                one.vote(trial, "right")
                acknowledged[code, trial, "right"] += 1
        except (ConnectionError, http.client.HTTPException):
            pass

    threads = [threading.Thread(target=vote) for _ in range(4)]
    for one in threads:
        one.start()
    while acknowledged.total() < 8:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGKILL)
    for one in threads:
        one.join(PATIENCE)
    assert stored(server, study_folder) >= acknowledged and acknowledged.total() >= 8
    assert f"{4} participants" in serve().announced


def test_votes_are_exported_while_they_come(server: StudyServer, study_folder: Path, tmp_path: Path) -> None:
    server.join().vote(2, "left")
    options = ["study", "export", str(study_folder), "--db", str(server.database)]
    said = CliRunner().invoke(main, options)
    assert said.exit_code == 0 and len(said.stdout.splitlines()) == 2
    written = CliRunner().invoke(main, [*options, "--output", str(tmp_path / "votes.csv")])
    assert written.stdout == f"{tmp_path / 'votes.csv'}: 1 votes\n"
    assert (tmp_path / "votes.csv").read_text() == said.stdout
    assert "add --force" in CliRunner().invoke(main, [*options, "--output", str(tmp_path / "votes.csv")]).stderr


@pytest.mark.parametrize("command", ["serve", "export", "analyse"])
def test_what_is_no_study_is_refused_in_a_line(command: str, study_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_bytes(b"damaged" * 999)
    for options, reason in (
        ([tmp_path / "nowhere"], "no such"),
        ([tmp_path], "study.json: no such study; `gencomp study make` makes one"),
        ([study_folder, "--db", tmp_path / "votes.sqlite"], "not a usable database of votes"),
    ):
        said = CliRunner().invoke(main, ["study", command, *map(str, options)])
        assert (said.exit_code, said.stdout) == (2, "") and said.stderr.count("\n") == 1
        assert said.stderr.startswith("gencomp: ") and reason in said.stderr
