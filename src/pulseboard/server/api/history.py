"""`GET /api/services/{name}/history`, `…/logs` and `/api/logs`: what was said, the latest `limit` of it in the order it was said,
or the whole of a span.
"""

import heapq
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.history.reader import PAGE, HistoryReader, StoredLine, TimeRange, extract_lines
from pulseboard.hub.hub import Hub
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import (
    bus_errors_as_problems,
    parse_lines,
    parse_place,
    parse_span,
)
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.log import LinePlace, LineView, LogFilter, view_line
from pulseboard.wire.events.status import StatusEvent

MOST = 1_000
"""The most events or lines of one answer."""
MERGED_PAGE = 10
"""So many entries of each service are held while all are merged."""


class PastStatus(StatusEvent, frozen=True, kw_only=True):
    """A status event with its feed id."""

    id: str


class PastLine(LineView, frozen=True, kw_only=True):
    """A log line with the service and the instance whose it is."""

    service: str
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


class Wanted(NamedTuple):
    """Which lines a request asks for."""

    lines: LogFilter
    span: TimeRange

    @classmethod
    def parse(
        cls, level: str | None, contains: str | None, start: str | None, end: str | None
    ) -> "Wanted":
        """Read them from a query; raise a Problem."""
        return cls(parse_lines(level, contains), parse_span(start, end))


async def check_known(
    hub: Hub, history: HistoryReader, name: str, found: Sequence[object] = ()
) -> None:
    """Where nothing was found of a service, raise a Problem if it is not on the board, and nothing at all is kept of it.

    Mostly its name was mistyped.
    """
    if found or name in hub.board.expected or hub.states(name):
        return
    with bus_errors_as_problems():
        kept = await history.has_history(name)
    if not kept:
        raise Problem(
            404,
            "unknown-service",
            f"No service {name!r} is on the board, and nothing of one is kept.",
        )


async def read_statuses(
    history: HistoryReader,
    service: str,
    start: str | None,
    end: str | None,
    before: str | None,
    limit: int,
) -> Statuses:
    """Return what a service said of its status; raise a Problem."""
    span, place = parse_span(start, end), parse_place(before, Cursor.parse)
    with bus_errors_as_problems():
        found = await history.read("status", service, limit, time_range=span, before=place)
    views = _view_statuses(reversed(found))
    return Statuses(views, views[0].id if len(found) == limit else None)


async def all_statuses(
    history: HistoryReader, service: str, span: TimeRange
) -> AsyncGenerator[list[PastStatus], None]:
    """Yield what a service said of its status within `span`, the oldest first."""
    async with aclosing(history.read_forwards("status", service, time_range=span)) as pages:
        async for page in pages:
            yield _view_statuses(page)


def _view_statuses(entries: Iterable[Entry]) -> list[PastStatus]:
    return [
        PastStatus(**msgspec.structs.asdict(entry.event), id=str(entry.cursor))
        for entry in entries
        if isinstance(entry.event, StatusEvent)
    ]


async def read_lines(
    history: HistoryReader, service: str, wanted: Wanted, before: str | None, limit: int
) -> Lines:
    """Return what a service logged; raise a Problem."""
    place = parse_place(before, LinePlace.parse)
    with bus_errors_as_problems():
        found = await history.read_lines(
            service, limit, lines=wanted.lines, time_range=wanted.span, before=place
        )
    views = [view_past_line(service, line) for line in reversed(found.lines)]
    return Lines(views, None if found.before is None else str(found.before), found.truncated)


async def read_all_lines(
    history: HistoryReader, wanted: Wanted, before: str | None, limit: int
) -> Lines:
    """Return what all services logged, merged in the order it came; raise a Problem."""
    place, span = parse_place(before, LinePlace.parse), wanted.span
    latest: list[tuple[LinePlace, PastLine]] = []
    gone_through: LinePlace | None = None
    with bus_errors_as_problems():
        for service in await history.list_logging_services():
            found = await history.read_lines(
                service, limit, lines=wanted.lines, time_range=span, before=place
            )
            if found.truncated and found.before is not None:
                gone_through = max(found.before, gone_through or found.before)
            candidates = latest + [
                (line.place, view_past_line(service, line)) for line in found.lines
            ]
            latest = heapq.nlargest(limit, candidates, key=itemgetter(0))
            if len(latest) == limit:
                # What is older than the oldest of so many is not wanted of the next service either.
                span = TimeRange(latest[-1][0].cursor.ms, span.end_ms)
    if gone_through is not None:
        # Older than this one service's log was not looked through, so what others have there would not be all.
        latest = [placed for placed in latest if placed[0] >= gone_through]
    views = [view for _, view in reversed(latest)]
    on = views[0].id if len(views) == limit else gone_through
    return Lines(
        views, None if on is None else str(on), gone_through is not None and len(views) < limit
    )


async def all_lines(
    history: HistoryReader, service: str, wanted: Wanted, *, page: int = PAGE
) -> AsyncGenerator[list[PastLine], None]:
    """Yield the lines of a service that are wanted, the oldest first."""
    async with aclosing(
        history.read_forwards("log", service, time_range=wanted.span, page=page)
    ) as pages:
        async for entries in pages:
            yield [
                view_past_line(service, placed)
                for entry in entries
                for placed in extract_lines(entry, wanted.lines)
            ]


async def all_lines_of_all(
    history: HistoryReader, wanted: Wanted
) -> AsyncGenerator[Sequence[PastLine], None]:
    """Yield the lines of all services that are wanted, merged, the oldest first. Holds a few entries of each service."""
    async with AsyncExitStack() as stack:
        sources = [
            await stack.enter_async_context(
                aclosing(all_lines(history, service, wanted, page=MERGED_PAGE))
            )
            for service in await history.list_logging_services()
        ]
        heads: list[tuple[LinePlace, int, list[PastLine]]] = []

        async def refill(number: int) -> None:
            async for page in sources[number]:
                if page:
                    page.reverse()
                    heapq.heappush(heads, (LinePlace.parse(page[-1].id), number, page))
                    return

        for number in range(len(sources)):
            await refill(number)
        merged: list[PastLine] = []
        while heads:
            _, number, page = heapq.heappop(heads)
            merged.append(page.pop())
            if page:
                heapq.heappush(heads, (LinePlace.parse(page[-1].id), number, page))
            else:
                await refill(number)
            if len(merged) >= PAGE:
                yield merged
                merged = []
        yield merged


def view_past_line(service: str, placed: StoredLine) -> PastLine:
    """Return one line of a service as readers get it."""
    place, instance, line, dropped = placed
    return PastLine(
        **msgspec.structs.asdict(view_line(line, place, dropped)),
        service=service,
        instance=instance,
    )
