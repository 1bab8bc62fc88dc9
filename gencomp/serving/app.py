"""The endpoints. All that takes time is done in the pool; the event loop only waits, counts and refuses."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gencomp.codec.container import StreamInfo
from gencomp.serving.answers import SAFE, Endpoint, answered, http_error, page_answer
from gencomp.serving.body import Bodies
from gencomp.serving.limits import Limits
from gencomp.serving.metrics import Metrics
from gencomp.serving.multipart import file_of
from gencomp.serving.page import page
from gencomp.serving.pool import Done, Pool
from gencomp.serving.query import kind_of, nothing, rate_of
from gencomp.serving.refusal import GONE, GoneError
from gencomp.serving.service import Answer, Service

T = TypeVar("T")


class Application:
    """What the endpoints share; made in the event loop that serves them."""

    def __init__(self, service: Service, limits: Limits, pool: Pool) -> None:
        self._service = service
        self._limits = limits
        self._pool = pool
        self._bodies = Bodies(limits)
        self._metrics = Metrics(pool, limits)

    def asgi(self) -> Starlette:
        """The application that uvicorn runs."""
        routes = [
            Route("/", self._page),
            Route("/model", self._model),
            Route("/healthz", self._health),
            Route("/metrics", self._prometheus),
            *(
                Route(f"/{name}", self._counted(name, endpoint), methods=["POST"])
                for name, endpoint in (
                    ("compress", self._compress),
                    ("decompress", self._decompress),
                    ("info", self._info),
                )
            ),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: http_error})

    async def _compress(self, request: Request) -> Response:
        rate = rate_of(request.query_params.multi_items())
        return await self._worked(request, lambda data: self._service.compress(data, rate))

    async def _decompress(self, request: Request) -> Response:
        kind = kind_of(request.query_params.multi_items(), request.headers.get("accept", ""))
        response = await self._worked(request, lambda data: self._service.decompress(data, kind))
        response.headers["Vary"] = "Accept"
        return response

    async def _info(self, request: Request) -> Response:
        nothing(request.query_params.multi_items())
        async with self._bodies.of(request) as body:
            content_type = request.headers.get("content-type", "")
            about = await asyncio.to_thread(lambda: self._service.info(file_of(body, content_type)))
        return JSONResponse(about._asdict(), headers=SAFE)

    async def _worked(self, request: Request, work: Callable[[bytes], Answer]) -> Response:
        """What a worker answers to the request's body."""
        self._pool.check_room()  # before a body is read in vain
        content_type = request.headers.get("content-type", "")
        async with self._bodies.of(request) as body:
            job = partial(_apply, work, body, content_type)
            done = await _unless_gone(request, self._pool.run(job))
        answer = done.result
        return Response(answer.content, media_type=answer.media_type, headers=_headers(answer, done))

    def _counted(self, operation: str, endpoint: Endpoint) -> Endpoint:
        """An endpoint whose every outcome is an answer and is counted."""

        async def answer(request: Request) -> Response:
            started = time.perf_counter()
            status = GONE
            try:
                response = await answered(request, endpoint)
                status = response.status_code
                return response
            finally:
                self._metrics.count(operation, status, time.perf_counter() - started)

        return answer

    async def _page(self, request: Request) -> Response:
        return page_answer(page())

    async def _model(self, request: Request) -> Response:
        models = self._service.models
        about = {
            "model": models.name,
            "fingerprint": models.fingerprint.hex(),
            "channels": models.channels,
            "nested": models.codec.package.config.nested,
            "max_body_bytes": self._limits.body_bytes,
            "max_pixels": self._limits.pixels,
        }
        return JSONResponse(about, headers=SAFE)

    async def _health(self, request: Request) -> Response:
        """503 where every worker is in a pass that nobody waits for any more, which only a restart is sure to end."""
        pool = self._pool
        state = {"waiting": pool.waiting, "running": pool.running, "overdue": pool.overdue}
        if pool.stuck:
            return JSONResponse(state | {"status": "stuck"}, HTTPStatus.SERVICE_UNAVAILABLE, SAFE)
        return JSONResponse(state | {"status": "ok"}, headers=SAFE)

    async def _prometheus(self, request: Request) -> Response:
        media_type = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self._metrics.text(), headers=SAFE | {"Content-Type": media_type})


def _apply(work: Callable[[bytes], Answer], body: bytes, content_type: str) -> Answer:
    return work(file_of(body, content_type))


async def _unless_gone(request: Request, work: Coroutine[object, object, T]) -> T:
    """What `work` gives; it is cancelled when the client closes its connection. Raises GoneError."""
    working, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise GoneError
        return working.result()
    finally:
        working.cancel()
        left.cancel()
        await asyncio.gather(working, left, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _headers(answer: Answer, done: Done[Answer]) -> Mapping[str, str]:
    return (
        SAFE
        | about_headers(answer.about)
        | notice_header(answer.notices)
        | {
            "Content-Disposition": f'attachment; filename="{answer.file_name}"',
            "Server-Timing": f"wait;dur={done.waited * 1e3:.1f}, work;dur={done.worked * 1e3:.1f}",
        }
    )


def about_headers(about: StreamInfo) -> dict[str, str]:
    """The stream that was made or read."""
    return {
        "Gencomp-Bytes": str(about.total_bytes),
        "Gencomp-Bpp": f"{about.bpp:.6f}",
        "Gencomp-Channels": str(about.channels),
        "Gencomp-Entropy": about.entropy,
        "Gencomp-Model": about.fingerprint,
        "Gencomp-Size": f"{about.width}x{about.height}",
    }


def notice_header(notices: Sequence[str]) -> dict[str, str]:
    """What was not taken over from a picture, if anything: printable ASCII, whatever a file's own words are."""
    text = "".join(one if " " <= one <= "~" else "?" for one in "; ".join(notices))
    return {"Gencomp-Notice": text} if text else {}
