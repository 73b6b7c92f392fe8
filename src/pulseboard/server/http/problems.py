"""Problem documents (RFC 9457): the JSON body of every error response.

The member `code` identifies the error and does not change between versions; the texts may change.
"""

from http import HTTPStatus
from typing import Any

from litestar.types import Send

from pulseboard.wire.codec import encode
from pulseboard.wire.errors import PulseboardError

CONTENT_TYPE = "application/problem+json"

Headers = list[tuple[bytes, bytes]]
RETRY_SOON: Headers = [(b"retry-after", b"2")]


class Problem(PulseboardError):
    """An error response.

    `detail` says what happened and what the client can do. The document contains each of `members`
    as an additional member.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Headers | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or []
        self.document = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
        } | members


def stopping_problem() -> Problem:
    """Return the error response of a server that is shutting down."""
    return Problem(
        503, "stopping", "The server is stopping: try again in a moment.", headers=RETRY_SOON
    )


async def send_problem(problem: Problem, send: Send) -> None:
    """Send a problem as ASGI messages, for code that runs outside the web framework."""
    body = encode(problem.document)
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *problem.headers,
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
