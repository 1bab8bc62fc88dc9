"""The endpoints of a study. No answer names a codec, a setting or a rate, or tells a catch trial from another."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from gencomp.evaluation.study.plan import PICTURES, Study
from gencomp.evaluation.study.votes import FullError, OutsideError, UnknownTokenError, Vote, Votes
from gencomp.serving.answers import SAFE, Endpoint, answered, http_error, logger, page_answer
from gencomp.serving.body import Bodies
from gencomp.serving.limits import Limits
from gencomp.serving.page import page
from gencomp.serving.refusal import Refusal

T = TypeVar("T")

PAGE = Path(__file__).with_name("page.html")
KEPT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=31536000, immutable"}
"""Pictures never change: their names are their hashes."""
MOST_TOKEN = 64
"""Characters."""


class _Join(msgspec.Struct, forbid_unknown_fields=True):
    consent: bool


class Application:
    """One study; made in the event loop that serves it. `votes` is used in one thread of its own."""

    def __init__(self, folder: Path, study: Study, votes: Votes, limits: Limits, most: int) -> None:
        """`most`: participants."""
        self._folder = folder / PICTURES
        self._study = study
        self._votes = votes
        self._most = most
        self._bodies = Bodies(limits, "a JSON object")
        self._hashes = study.hashes()
        self._lengths = [len(schedule) for schedule in study.schedules]
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="votes")

    def asgi(self) -> Starlette:
        """The application that uvicorn runs."""
        routes = [
            Route("/", self._page),
            Route("/api/study", _refusing(self._about)),
            Route("/api/join", _refusing(self._join), methods=["POST"]),
            Route("/api/session", _refusing(self._session)),
            Route("/api/vote", _refusing(self._vote), methods=["POST"]),
            Route("/pictures/{name}.png", _refusing(self._picture)),
            Route("/healthz", _refusing(self._health)),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: http_error})

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown()

    async def _page(self, request: Request) -> Response:
        return page_answer(page(PAGE, "'self' data:"))

    async def _about(self, request: Request) -> Response:
        """What a participant is told before the first trial."""
        about = {
            "title": self._study.title,
            "welcome": self._study.welcome,
            "question": self._study.question,
            "trials": max(self._lengths),
        }
        return JSONResponse(about, headers=SAFE)

    async def _join(self, request: Request) -> Response:
        body = await self._json(request, _Join)
        if not body.consent:
            raise Refusal(HTTPStatus.FORBIDDEN, "nobody takes part without having agreed to")
        token = await self._written(partial(self._votes.join, len(self._study.schedules), self._most))
        return JSONResponse({"token": token}, HTTPStatus.CREATED, SAFE)

    async def _session(self, request: Request) -> Response:
        """Everything that a participant's page shows, in order, and which of it was voted on."""
        code, schedule, done = await self._written(partial(self._votes.session, _token(request)))
        trials = []
        for trial in self._study.schedules[schedule]:
            left, right, original = self._study.pictures(trial)
            subject = self._study.subject(trial)
            trials.append(
                {
                    "left": left,
                    "right": right,
                    "original": original,
                    "width": subject.width,
                    "height": subject.height,
                }
            )
        return JSONResponse({"code": code, "trials": trials, "answered": done}, headers=SAFE)

    async def _vote(self, request: Request) -> Response:
        token = _token(request)
        vote = await self._json(request, Vote)
        recorded = await self._written(partial(self._votes.vote, token, vote, self._lengths))
        return JSONResponse(recorded._asdict(), headers=SAFE)

    async def _picture(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._hashes:
            raise Refusal(HTTPStatus.NOT_FOUND, "no such picture")
        return FileResponse(self._folder / f"{name}.png", media_type="image/png", headers=KEPT)

    async def _health(self, request: Request) -> Response:
        counts = await self._written(self._votes.counts)
        return JSONResponse({"status": "ok"} | counts._asdict(), headers=SAFE)

    async def _json(self, request: Request, kind: type[T]) -> T:
        async with self._bodies.of(request) as body:
            try:
                return msgspec.json.decode(body, type=kind)
            except msgspec.ValidationError as error:
                raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Refusal(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None

    async def _written(self, work: Callable[[], T]) -> T:
        """What `work` gives, done in the one thread that has the database. A client that goes does not stop it."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(self._writer, work))
        except UnknownTokenError:
            message = "this token is not of this study: open its first page to begin"
            raise Refusal(HTTPStatus.UNAUTHORIZED, message) from None
        except OutsideError:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no such trial") from None
        except FullError:
            raise Refusal(HTTPStatus.CONFLICT, "the study has all the participants it needs: thank you") from None
        except sqlite3.Error:
            logger.exception("the database failed")
            message = "the vote could not be saved: try again"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after=2) from None


def _refusing(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose every outcome is an answer."""

    async def answer(request: Request) -> Response:
        return await answered(request, endpoint)

    return answer


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not 0 < len(token) <= MOST_TOKEN:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "a participant's token is needed: open the study's first page to begin")
    return token
