"""The bank's errors: each is a problem document (RFC 9457) with a stable `code`."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from pulseboard.demo.bank.values import Problem

_MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)


class BankProblem(HTTPException):
    """The bank refuses a request or fails."""

    def __init__(
        self, status: int, code: str, detail: str, *, retry_after_s: int | None = None
    ) -> None:
        headers = None if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        super().__init__(detail=detail, status_code=status, headers=headers)
        self.code = code


def create_problem_response(_: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Turn an exception into a problem document; an unexpected one is logged and becomes 500."""
    if not isinstance(error, HTTPException):
        _log.exception("unexpected error in the bank", exc_info=error)
        error = BankProblem(500, "internal", "The bank failed unexpectedly")
    status = HTTPStatus(error.status_code)
    code = error.code if isinstance(error, BankProblem) else status.phrase.lower().replace(" ", "-")
    problem = Problem(status=status, title=status.phrase, code=code, detail=error.detail)
    return Response(problem, status_code=status, media_type=_MEDIA_TYPE, headers=error.headers)
