"""A real `gencomp study serve`, participants who speak HTTP, and raters whose preferences are known."""

import http.client
import json
import math
import os
import random
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gencomp.evaluation.study.ballots import Ballot
from gencomp.evaluation.study.plan import Pair, Side, Study, Trial, other_side
from tests.serving.served import COMMAND, PATIENCE, ROOT, Answer


class StudyServer:
    """A server of its own process, started through the command line."""

    def __init__(self, folder: Path, database: Path, *options: object) -> None:
        self.database = database
        self._log = database.with_name("serve.log")
        command = [COMMAND, "study", "serve", str(folder), "--db", str(database), "--port", "0", *map(str, options)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True
            )
        assert self.process.stdout is not None
        try:
            self.announced = self.process.stdout.readline()
            assert self.announced.startswith("http://"), self.errors()
        except BaseException:
            self.close()
            raise
        self.url = self.announced.split()[0]
        self.address = str(urlsplit(self.url).hostname), int(urlsplit(self.url).port or 0)

    def ask(self, path: str, body: object = None, token: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """GET, or POST where there is a body, JSON unless it is bytes, over a connection of its own."""
        participant = Participant(self, token)
        try:
            return participant.ask(path, body, headers)
        finally:
            participant.close()

    def join(self) -> "Participant":
        """Somebody new, who has agreed."""
        participant = Participant(self, "")
        participant.token = str(participant.told("/api/join", {"consent": True}, 201)["token"])
        return participant

    def errors(self) -> str:
        """What it said on stderr."""
        return self._log.read_text()

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it at once, if it still runs."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Participant:
    """One connection, and the token that the server gave."""

    def __init__(self, server: StudyServer, token: str) -> None:
        self.token = token
        self._connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)

    def close(self) -> None:
        self._connection.close()

    def ask(self, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """GET, or POST where there is a body, JSON unless it is bytes."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        identity = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self._connection.request("GET" if sent is None else "POST", path, sent, identity | dict(headers or {}))
        answer = self._connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def told(self, path: str, body: object = None, status: int = 200) -> dict[str, Any]:
        """The JSON of an answer, whose status is checked."""
        answer = self.ask(path, body)
        assert answer.status == status, answer.body
        return dict(json.loads(answer.body))

    def session(self) -> dict[str, Any]:
        return self.told("/api/session")

    def vote(self, trial: int, choice: str) -> dict[str, Any]:
        return self.told("/api/vote", ballot(trial, choice))


def ballot(trial: int, choice: str) -> dict[str, object]:
    """What the page sends."""
    about = {"looks": 1, "layout": "two", "pixel_ratio": 1.5, "view_width": 800, "view_height": 600}
    return {"trial": trial, "choice": choice, "client_ms": 900} | about


class Rater:
    """Prefers the model with a probability that falls with the other's bytes: one half at `crossing` times its own."""

    def __init__(self, crossing: float, slope: float, seed: int) -> None:
        self._crossing = crossing
        self._slope = slope
        self._random = random.Random(seed)

    def probability(self, ratio: float) -> float:
        """That the model is preferred at a rung."""
        return 1 / (1 + math.exp(-self._slope * math.log2(self._crossing / ratio)))

    def choice(self, study: Study, trial: Trial) -> Side:
        """The side chosen in a trial; right in every catch trial."""
        if trial.kind == "catch":
            return trial.side
        ratio = study.pairs[trial.index].ratio
        assert ratio is not None
        prefers = self._random.random() < self.probability(ratio)
        return trial.side if prefers else other_side(trial.side)


def cast(study: Study, schedule: int, name: str, choose: Callable[[Study, Trial], Side]) -> list[Ballot]:
    """The votes of one rater on a whole schedule, without a server."""
    found = []
    for place, trial in enumerate(study.schedules[schedule]):
        subject = study.subject(trial)
        pair = subject if isinstance(subject, Pair) else None
        found.append(
            Ballot(
                participant=name,
                schedule=schedule,
                trial=place,
                kind=trial.kind,
                key=subject.key,
                model=pair.model.codec if pair else "original",
                model_setting=pair.model.setting if pair else "",
                model_bytes=pair.model.size if pair else None,
                other=pair.other.codec if pair else "degraded",
                other_setting=pair.other.setting if pair else "",
                other_bytes=pair.other.size if pair else None,
                ratio=pair.ratio if pair else None,
                pixels=subject.width * subject.height,
                side=trial.side,
                choice=choose(study, trial),
                client_ms=1500,
                server_ms=1600,
                received="2026-01-01T00:00:00.000+00:00",
                looks=0,
                layout="three",
                pixel_ratio=1.0,
                view_width=1200,
                view_height=800,
            )
        )
    return found
