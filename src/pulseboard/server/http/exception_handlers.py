"""Exception handlers of the framework: each turns an exception into a problem document."""

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.params import ParameterKwarg
from litestar.types import ExceptionHandlersMap

from pulseboard.server.http.errors_to_problems import to_problem
from pulseboard.server.http.parameters import query_parameters
from pulseboard.server.http.problems import CONTENT_TYPE, Problem
from pulseboard.wire.codec import encode
from pulseboard.wire.errors import PulseboardError

log = logging.getLogger("pulseboard.server")

BODY_MAX_BYTES = 65_536

AnyRequest = Request[Any, Any, Any]


def respond_to_known_error(request: AnyRequest, error: PulseboardError) -> Response[bytes]:
    """Answer an error of our own with its problem document."""
    problem = to_problem(error)
    return respond_to_bug(request, error) if problem is None else _respond(problem)


def respond_to_bug(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer an unexpected exception.

    Its details go to the log only, because they may contain secrets.
    """
    log.error("%s %s failed", request.method, ascii(request.url.path[:200]), exc_info=error)
    return _respond(
        Problem(500, "internal-error", "The server failed internally: see its log for the reason.")
    )


def respond_to_deep_body(_: AnyRequest, __: RecursionError) -> Response[bytes]:
    """Answer a body that is nested too deeply for the JSON parser."""
    return _respond(Problem(400, "malformed", "The body is nested too deeply."))


def respond_to_http_error(_: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answer the framework's own errors, as for an unknown path or a wrong method."""
    # Python 3.13 renamed the phrase of this status, and the code must not depend on it.
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = f"A request body has at most {BODY_MAX_BYTES} bytes."
        return _respond(Problem(413, "too-large", detail))
    if isinstance(error.__cause__, SerializationException):
        return _respond(Problem(400, "malformed", f"The body is not JSON: {error.detail}."))
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    headers = [
        (name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()
    ]
    return _respond(Problem(error.status_code, code, error.detail, headers=headers))


def respond_to_invalid_request(request: AnyRequest, error: ValidationException) -> Response[bytes]:
    """Answer an invalid parameter or body. The framework's own message names only the URL."""
    faults: list[Any] = [
        fault for fault in error.extra or () if isinstance(fault, dict) and "key" in fault
    ]
    if not faults:  # a required parameter is missing
        detail = f"{error.detail.partition(' for path')[0]}."
        return _respond(Problem(400, "bad-parameter", detail))
    has_body = "data" in request.route_handler.parsed_fn_signature.parameters
    if faults[0].get("source") == "body" or has_body:
        return _respond(Problem(400, "bad-body", f"The body is invalid: {faults[0]['message']}."))
    name = str(faults[0]["key"])
    given = request.query_params.getall(name, [])
    shown = f", not {given[-1][:40]!a}" if given else ""
    detail = f"{name} must be {_describe_parameter(request, name)}{shown}."
    return _respond(Problem(400, "bad-parameter", detail, parameter=name))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    PulseboardError: respond_to_known_error,
    ValidationException: respond_to_invalid_request,
    HTTPException: respond_to_http_error,
    RecursionError: respond_to_deep_body,
    Exception: respond_to_bug,
}


def _describe_parameter(request: AnyRequest, name: str) -> str:
    field = query_parameters(request.route_handler).get(name)
    bounds = None if field is None else field.kwarg_definition
    if field is None or field.annotation is not int or not isinstance(bounds, ParameterKwarg):
        return "as /schema/openapi.json describes it"
    return f"a whole number from {bounds.ge} to {bounds.le}"


def _respond(problem: Problem) -> Response[bytes]:
    return Response(
        encode(problem.document),
        status_code=problem.status,
        media_type=CONTENT_TYPE,
        headers={name.decode(): value.decode() for name, value in problem.headers},
    )
