"""A study's server: its address, its database, its end."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from gencomp.evaluation.study.app import Application
from gencomp.evaluation.study.plan import read_study
from gencomp.evaluation.study.votes import Counts, Votes
from gencomp.serving.limits import Limits
from gencomp.serving.listening import bound, place, run

LIMITS = Limits(body_bytes=1024, connections=1024)
"""Votes are small, and a browser holds up to six connections."""
GRACE = 31
"""Seconds for answers that are under way when the server is asked to end."""


class Ready(NamedTuple):
    """What a server says when it can be reached."""

    url: str
    title: str
    counts: Counts
    """What the database holds already."""
    loopback: bool
    """Whether only this machine reaches it."""


def serve(folder: Path, database: Path, host: str, port: int, most: int, ready: Callable[[Ready], None]) -> None:
    """Serve a study to at most `most` participants until SIGTERM or SIGINT. Raises StudyError and ListenError."""
    study, digest = read_study(folder)
    with closing(bound(host, port)) as listener, closing(Votes(database, digest)) as votes:
        counts, (url, loopback) = votes.counts(), place(listener)
        with closing(Application(folder, study, votes, LIMITS, most)) as application:
            run(listener, application.asgi(), LIMITS, GRACE, lambda: ready(Ready(url, study.title, counts, loopback)))
