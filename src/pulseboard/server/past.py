"""`GET /api/services/{name}/history` and `…/logs`: what a service said, the latest `limit` of it, in the order it was said."""

import msgspec

from pulseboard.bus.history import History, LinePlace, PlacedLine
from pulseboard.server.asked import parse_lines, parse_place, parse_service, parse_span, unavailable
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.events import StatusEvent
from pulseboard.wire.logs import LogLine

MOST = 1_000
"""The most events or lines of one answer."""


class PastStatus(StatusEvent, frozen=True, kw_only=True):
    """A status event with its feed id."""

    id: str


class PastLine(LogLine, frozen=True, kw_only=True):
    """A log line with its id, and the instance whose it is; `timestamp` is when it came, where nobody said."""

    id: str
    instance: str


class Statuses(msgspec.Struct):
    """Some of a history. `before` is what to ask for next, to go further back; None at the beginning."""

    events: list[PastStatus]
    before: str | None


class Lines(msgspec.Struct):
    """Some of a log. `before` is what to ask for next, to go further back; None at the beginning."""

    lines: list[PastLine]
    before: str | None


async def read_statuses(
    history: History, name: str, start: str | None, end: str | None, before: str | None, limit: int
) -> Statuses:
    """Return what a service said of its status; raise a Problem."""
    service, span, place = parse_service(name), parse_span(start, end), parse_place(before, Cursor.parse)
    try:
        found = await history.read("status", service, limit, span=span, before=place)
    except BusUnavailable as error:
        raise unavailable(error) from error
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
    try:
        found = await history.read_lines(service, limit, lines=wanted, span=span, before=place)
    except BusUnavailable as error:
        raise unavailable(error) from error
    views = [_view_line(placed) for placed in reversed(found)]
    return Lines(views, views[0].id if len(found) == limit else None)


def _view_line(placed: PlacedLine) -> PastLine:
    line = msgspec.structs.asdict(placed.line)
    line["timestamp"] = line["timestamp"] or placed.place.cursor.ms
    return PastLine(**line, id=str(placed.place), instance=placed.instance)
