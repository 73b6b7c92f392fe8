"""Errors of the HTTP interface: problem documents (RFC 9457) with a stable `code`."""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.params import ParameterKwarg
from litestar.types import Send

from pulseboard.wire.codec import encode
from pulseboard.wire.errors import PulseboardError

log = logging.getLogger("pulseboard.server")

BODY_MAX_BYTES = 65_536
CONTENT_TYPE = "application/problem+json"


class Problem(PulseboardError):
    """An answer that is an error. `detail` says what the caller can do."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: list[tuple[bytes, bytes]] | None = None,
        **more: Any,
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
        } | more


async def send_problem(problem: Problem, send: Send) -> None:
    """Send a problem as a raw ASGI response."""
    body = encode(problem.document)
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        *problem.headers,
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def answer_problem(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """Turn a Problem raised by a route into its response."""
    headers = {name.decode(): value.decode() for name, value in problem.headers}
    return Response(
        encode(problem.document),
        status_code=problem.status,
        media_type=CONTENT_TYPE,
        headers=headers,
    )


def answer_fault(request: Request[Any, Any, Any], fault: Exception) -> Response[bytes]:
    """Answer for a mistake of ours: its story is for the log, not for whoever asked."""
    log.error("%s %s failed inside", request.method, ascii(request.url.path[:200]), exc_info=fault)
    return answer_problem(
        request, Problem(500, "internal-error", "The server failed inside; its log says how.")
    )


def answer_too_deep(request: Request[Any, Any, Any], _: RecursionError) -> Response[bytes]:
    """Answer for a body that nests so deep that it cannot be read."""
    return answer_problem(request, Problem(400, "malformed", "The body nests too deep."))


def answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Turn the framework's own errors (no such path, wrong method) into problem documents."""
    if (
        error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    ):  # its phrase is another one from Python 3.13 on
        return answer_problem(
            request, Problem(413, "too-large", f"A request is at most {BODY_MAX_BYTES} bytes.")
        )
    if isinstance(error.__cause__, SerializationException):
        return answer_problem(
            request, Problem(400, "malformed", f"The body is no JSON: {error.detail}.")
        )
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    headers = [
        (name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()
    ]
    return answer_problem(request, Problem(error.status_code, code, error.detail, headers=headers))


def answer_invalid(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Say which parameter is wrong, what it may be and what it was: the framework names only the address."""
    faults: list[Any] = [
        fault for fault in error.extra or () if isinstance(fault, dict) and "key" in fault
    ]
    if not faults:  # one that is missing
        return answer_problem(
            request, Problem(400, "bad-parameter", f"{error.detail.partition(' for path')[0]}.")
        )
    if (
        faults[0].get("source") == "body"
        or "data" in request.route_handler.parsed_fn_signature.parameters
    ):
        return answer_problem(
            request,
            Problem(400, "bad-body", f"The body is not what it must be: {faults[0]['message']}."),
        )
    name = str(faults[0]["key"])
    given = request.query_params.getall(name, [])
    was = f", not {given[-1][:40]!a}" if given else ""
    return answer_problem(
        request,
        Problem(
            400, "bad-parameter", f"{name} must be {_allowed(request, name)}{was}.", parameter=name
        ),
    )


def _allowed(request: Request[Any, Any, Any], name: str) -> str:
    parameter = request.route_handler.parsed_fn_signature.parameters[name]
    bounds = parameter.kwarg_definition
    if parameter.annotation is not int or not isinstance(bounds, ParameterKwarg):
        return "what /schema/openapi.json says"
    return f"a whole number from {bounds.ge} to {bounds.le}"
