"""Log lines of one service, or of all services merged.

Either the latest page by page, or all of a time range.
"""

import heapq
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pulseboard.bus.history.reader import PAGE, HistoryReader, StoredLine, TimeRange, extract_lines
from pulseboard.wire.events.log import LinePosition, LineView, LogFilter, view_line

MERGE_PAGE = 10
"""Entries per service that are held in memory while the logs of all services are merged."""


class PastLine(LineView, frozen=True, kw_only=True):
    """A log line with its service and instance."""

    service: str
    instance: str


class LogPage(msgspec.Struct):
    """Log lines, oldest first.

    `before`: the id that continues with older lines; None at the beginning.

    `truncated`: only a bounded part of the log was searched, so there may be fewer than `limit`
    lines here although older ones match.
    """

    lines: list[PastLine]
    before: str | None
    truncated: bool


class LogQuery(NamedTuple):
    """Which log lines are wanted."""

    lines: LogFilter
    time_range: TimeRange


async def read_lines(
    history: HistoryReader,
    service: str,
    query: LogQuery,
    *,
    before: LinePosition | None,
    limit: int,
) -> LogPage:
    """Return the latest `limit` matching lines of a service that are older than `before`."""
    found = await history.read_lines(
        service, limit, lines=query.lines, time_range=query.time_range, before=before
    )
    lines = [to_past_line(service, line) for line in reversed(found.lines)]
    return LogPage(lines, None if found.before is None else str(found.before), found.truncated)


async def read_merged_lines(
    history: HistoryReader, query: LogQuery, *, before: LinePosition | None, limit: int
) -> LogPage:
    """Return the latest `limit` matching lines of all services that are older than `before`."""
    time_range = query.time_range
    latest: list[tuple[LinePosition, PastLine]] = []
    searched_to: LinePosition | None = None
    for service in await history.list_logging_services():
        found = await history.read_lines(
            service, limit, lines=query.lines, time_range=time_range, before=before
        )
        if found.truncated and found.before is not None:
            searched_to = max(found.before, searched_to or found.before)
        candidates = [(line.place, to_past_line(service, line)) for line in found.lines]
        latest = heapq.nlargest(limit, latest + candidates, key=itemgetter(0))
        if len(latest) == limit:
            # Lines older than the oldest of a full page cannot enter it any more.
            time_range = TimeRange(latest[-1][0].cursor.ms, time_range.end_ms)
    if searched_to is not None:
        # The log of one service was searched only down to here. Older lines of the others are left
        # for the next page, or that page would have lines missing between them.
        latest = [placed for placed in latest if placed[0] >= searched_to]
    lines = [line for _, line in reversed(latest)]
    is_full = len(lines) == limit
    next_before = lines[0].id if is_full else None if searched_to is None else str(searched_to)
    return LogPage(lines, next_before, searched_to is not None and not is_full)


async def iterate_lines(
    history: HistoryReader, service: str, query: LogQuery, *, page: int = PAGE
) -> AsyncGenerator[list[PastLine], None]:
    """Yield all matching lines of a service, oldest first."""
    pages = history.read_forwards("log", service, time_range=query.time_range, page=page)
    async with aclosing(pages):
        async for entries in pages:
            yield [
                to_past_line(service, placed)
                for entry in entries
                for placed in extract_lines(entry, query.lines)
            ]


async def iterate_merged_lines(
    history: HistoryReader, query: LogQuery
) -> AsyncGenerator[Sequence[PastLine], None]:
    """Yield all matching lines of all services, oldest first.

    Holds at most MERGE_PAGE entries of each service.
    """
    async with AsyncExitStack() as stack:
        sources = [
            await stack.enter_async_context(
                aclosing(iterate_lines(history, service, query, page=MERGE_PAGE))
            )
            for service in await history.list_logging_services()
        ]
        # Of each service the place of its next line, its number, and its lines in reverse order.
        heads: list[tuple[LinePosition, int, list[PastLine]]] = []

        async def fetch_head(number: int) -> None:
            async for page in sources[number]:
                if page:
                    page.reverse()
                    heapq.heappush(heads, (LinePosition.parse(page[-1].id), number, page))
                    return

        for number in range(len(sources)):
            await fetch_head(number)
        merged: list[PastLine] = []
        while heads:
            _, number, page = heapq.heappop(heads)
            merged.append(page.pop())
            if page:
                heapq.heappush(heads, (LinePosition.parse(page[-1].id), number, page))
            else:
                await fetch_head(number)
            if len(merged) >= PAGE:
                yield merged
                merged = []
        yield merged


def to_past_line(service: str, placed: StoredLine) -> PastLine:
    """Return a log line in the shape of the API."""
    place, instance, line, dropped = placed
    return PastLine(
        **msgspec.structs.asdict(view_line(line, place, dropped)),
        service=service,
        instance=instance,
    )
