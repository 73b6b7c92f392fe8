"""`GET /api/services/{name}/history` and `…/logs`: what a service said, the latest `limit` of it, in the order it was said."""

import msgspec

from pulseboard.bus.history import History
from pulseboard.server.asked import parse_lines, parse_place, parse_service, parse_span, told_as_problem
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events import StatusEvent
from pulseboard.wire.logs import LinePlace, LineView, view_line

MOST = 1_000
"""The most events or lines of one answer."""


class PastStatus(StatusEvent, frozen=True, kw_only=True):
    """A status event with its feed id."""

    id: str


class PastLine(LineView, frozen=True, kw_only=True):
    """A log line with the instance whose it is."""

    instance: str


class Statuses(msgspec.Struct):
    """Some of a history. `before` is what to ask for next, to go further back; None at the beginning."""

    events: list[PastStatus]
    before: str | None


class Lines(msgspec.Struct):
    """Some of a log. `before` is what to ask for next, to go further back; None at the beginning.

    `truncated` says that there may be less than `limit`, since only so much of the log is looked through for one answer.
    """

    lines: list[PastLine]
    before: str | None
    truncated: bool


async def read_statuses(
    history: History, name: str, start: str | None, end: str | None, before: str | None, limit: int
) -> Statuses:
    """Return what a service said of its status; raise a Problem."""
    service, span, place = parse_service(name), parse_span(start, end), parse_place(before, Cursor.parse)
    with told_as_problem():
        found = await history.read("status", service, limit, span=span, before=place)
    views = [
        PastStatus(**msgspec.structs.asdict(entry.event), id=str(entry.cursor))
        for entry in reversed(found)
        if isinstance(entry.event, StatusEvent)
    ]
    return Statuses(views, views[0].id if len(found) == limit else None)


async def read_lines(
    history: History,
    name: str,
    level: str | None,
    contains: str | None,
    start: str | None,
    end: str | None,
    before: str | None,
    limit: int,
) -> Lines:
    """Return what a service logged; raise a Problem."""
    service, span, place = parse_service(name), parse_span(start, end), parse_place(before, LinePlace.parse)
    wanted = parse_lines(level, contains)
    with told_as_problem():
        found = await history.read_lines(service, limit, lines=wanted, span=span, before=place)
    views = [
        PastLine(**msgspec.structs.asdict(view_line(line, place)), instance=instance)
        for place, instance, line in reversed(found.lines)
    ]
    return Lines(views, None if found.before is None else str(found.before), found.truncated)
