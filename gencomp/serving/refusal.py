"""Why a request gets no picture: a status and one line."""

from http import HTTPStatus

GONE = 499
"""The status under which requests are counted whose client did not wait for an answer."""


class Refusal(Exception):
    """What a client is told; the message is one line."""

    def __init__(self, status: HTTPStatus, message: str, *, retry_after: int | None = None) -> None:
        """`retry_after`: seconds, where trying again helps."""
        super().__init__(" ".join(message.split()))
        self.status = status
        self.retry_after = retry_after


class GoneError(Exception):
    """The client closed its connection before its answer was ready."""
