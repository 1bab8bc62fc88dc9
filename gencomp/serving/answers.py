"""What every answer carries, and what becomes of what fails."""

import logging
from collections.abc import Callable, Coroutine
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from gencomp.serving.page import Page
from gencomp.serving.refusal import GONE, GoneError, Refusal

Endpoint = Callable[[Request], Coroutine[object, object, Response]]

SAFE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
logger = logging.getLogger(__name__)


def error_body(message: str) -> dict[str, str]:
    """The JSON of every refusal."""
    return {"error": message}


def page_answer(page: Page) -> Response:
    """A page, with what a browser may do for it."""
    html, policy = page
    return HTMLResponse(html, headers=SAFE | {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"})


async def answered(request: Request, endpoint: Endpoint) -> Response:
    """What an endpoint answers, a refusal as its status and line."""
    try:
        return await endpoint(request)
    except Refusal as refusal:
        waits = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
        return JSONResponse(error_body(str(refusal)), refusal.status, SAFE | waits)
    except GoneError:
        return Response(status_code=GONE)
    except Exception:  # whatever failed, the client gets one line and the operator the traceback
        logger.exception("%s failed", request.url.path)
        return JSONResponse(error_body("the server failed"), HTTPStatus.INTERNAL_SERVER_ERROR, SAFE)


async def http_error(request: Request, error: Exception) -> Response:
    """404 and 405."""
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(error.detail), error.status_code, {**SAFE, **(error.headers or {})})
