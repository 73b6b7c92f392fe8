"""Parses a stream request: the view of the client, and the event after which it resumes."""

from typing import NamedTuple
from urllib.parse import parse_qs

from litestar.types import HTTPScope

from pulseboard.hub.view import View
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import check_parameters, parse_log_filter, parse_service
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.kinds import SSE_EVENTS

PARAMETERS = ("kinds", "services", "level", "contains", "since", "lastEventId")


class ResumePoint(NamedTuple):
    """The id of the last event that the client received, or the reason why it is invalid.

    Both are None if the request contains no id.
    """

    since: Cursor | None = None
    error: str | None = None


def parse_view(scope: HTTPScope) -> View:
    """Return the view that the client selected; raise a Problem if a parameter is invalid."""
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [name for name, values in query.items() for _ in values]
    check_parameters(given, PARAMETERS, lists=("kinds", "services"))
    kinds = _parse_names(query.get("kinds"))
    if kinds is not None and (unknown := kinds - SSE_EVENTS):
        raise Problem(
            400,
            "unknown-kind",
            f"kinds can be {', '.join(sorted(SSE_EVENTS))}, not {', '.join(sorted(unknown))[:80]}.",
        )
    services = _parse_names(query.get("services"))
    for service in services or ():
        parse_service(service)
    level, contains = query.get("level", [""])[0], query.get("contains", [""])[0]
    lines = parse_log_filter(level, contains) if level or contains else None
    return View(kinds=kinds, services=services, lines=lines)


def parse_resume_point(scope: HTTPScope) -> ResumePoint:
    """Return the point after which the client resumes.

    An invalid id raises no Problem: an EventSource does not reconnect after an HTTP error. The
    stream begins with a `reset` instead.
    """
    # A browser that reconnects sends the header with the latest id, and repeats the address with an
    # older one. So the header takes precedence. Replacements of EventSource that cannot set the
    # header add the parameter `lastEventId`.
    header = next(
        (value.decode("latin-1") for name, value in scope["headers"] if name == b"last-event-id"),
        "",
    )
    query = parse_qs(scope["query_string"].decode("latin-1"))
    text = header or query.get("lastEventId", query.get("since", [""]))[0]
    if not text:
        return ResumePoint()
    try:
        return ResumePoint(Cursor.parse(text))
    except ValueError as error:
        return ResumePoint(error=str(error))


def _parse_names(values: list[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    return frozenset(name for value in values for name in value.split(",") if name)
