"""The history of a service: events of one kind, backwards in pages or all forwards.

Each query is bounded in the entries that it scans and in the entries that it holds at a time.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple

import redis.asyncio

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import Entry, parse_history_entry
from pulseboard.bus.rejections import Rejections
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import HistoryTrimmed
from pulseboard.wire.events.log import LinePosition, LogEvent, LogFilter, LogLine
from pulseboard.wire.events.metric import MetricEvent, MetricKind, Value
from pulseboard.wire.kinds import HISTORIES, HistoryKind

PAGE = 100
SCAN_MAX_ENTRIES = 20_000
"""Entries that one query scans at most.

A history holds no more by default, and a filter may match none of them.
"""


class TimeRange(NamedTuple):
    """A range of time in ms by Redis' clock, both ends included; None is an open end."""

    start_ms: int | None = None
    end_ms: int | None = None


ALL_TIME, ALL_LINES = TimeRange(), LogFilter()


class StoredLine(NamedTuple):
    """One log line with its place, its instance, and the number of lines dropped before it."""

    place: LinePosition
    instance: str
    line: LogLine
    dropped: int = 0


class LinePage(NamedTuple):
    """Log lines, the latest first, and the line before which the next page starts.

    `before` is None at the beginning of the log. `truncated` says that the scan stopped after
    SCAN_MAX_ENTRIES entries, so that older lines may match too.
    """

    lines: list[StoredLine]
    before: LinePosition | None
    truncated: bool


class Sample(NamedTuple):
    """One value of a metric, with its instance and its time (ms by Redis' clock)."""

    instance: str
    at_ms: int
    kind: MetricKind
    value: Value


class Samples(NamedTuple):
    """The values of a metric, in order; `truncated` if older values were not scanned."""

    samples: list[Sample]
    truncated: bool


class HistoryReader:
    """Reads the histories of services. Raises BusUnavailable when Redis is unreachable."""

    def __init__(
        self, bus: BusClient, rejections: Rejections, *, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes

    async def read(
        self,
        kind: HistoryKind,
        service: str,
        limit: int,
        *,
        time_range: TimeRange = ALL_TIME,
        before: Cursor | None = None,
    ) -> list[Entry]:
        """Return the last `limit` events in `time_range` and before an event, the latest first."""
        if before == ZERO:
            return []
        found: list[Entry] = []
        start = None if before is None else f"({before}"
        page = min(limit, PAGE)
        async with aclosing(self._scan_back(kind, service, time_range, start, page)) as pages:
            async for entries, _ in pages:
                found += entries
                if len(found) >= limit:
                    break
        return found[:limit]

    async def read_lines(
        self,
        service: str,
        limit: int,
        *,
        lines: LogFilter,
        time_range: TimeRange = ALL_TIME,
        before: LinePosition | None = None,
    ) -> LinePage:
        """Return the last `limit` lines that match, in `time_range` and before a line."""
        found: list[StoredLine] = []
        next_cursor: Cursor | None = None
        # The entry of the line `before` is included: it also holds the lines in front of it.
        start = None if before is None else str(before.cursor)
        async with aclosing(self._scan_back("log", service, time_range, start, PAGE)) as pages:
            async for entries, page_end in pages:
                next_cursor = page_end
                for stored in (
                    stored for entry in entries for stored in reversed(extract_lines(entry, lines))
                ):
                    if before is None or stored.place < before:
                        found.append(stored)
                        if len(found) == limit:
                            return LinePage(found, stored.place, truncated=False)
        next_place = None if next_cursor is None else LinePosition(next_cursor, 0)
        return LinePage(found, next_place, truncated=next_cursor is not None)

    async def read_forwards(
        self, kind: HistoryKind, service: str, *, time_range: TimeRange = ALL_TIME, page: int = PAGE
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield all events in `time_range`, the oldest first, up to the latest one at the start.

        Raises HistoryTrimmed when Redis trimmed events before they were read.
        """
        key = self._keys.history(service, kind)
        start, end = _format_range(time_range)
        with bus_errors():
            latest: Any = await self._client.xrevrange(key, end, start, count=1)
        last_read = None
        while latest and last_read != latest[0][0]:
            with bus_errors():
                rows: Any = await self._client.xrange(
                    key, start, latest[0][0].decode(), count=page + 1
                )
            if last_read is not None:
                # Redis trims the oldest entry first. While the last entry that was read is still
                # there, all entries after it are there too.
                if not rows or rows[0][0] != last_read:
                    raise HistoryTrimmed(
                        f"the history of {service} was trimmed faster than it was read"
                    )
                del rows[0]
            if not rows:
                return
            last_read = rows[-1][0]
            start = last_read.decode()
            yield list(self._parse(kind, service, rows))

    async def list_services(self) -> list[str]:
        """Return the sorted names of all services that have, or have had, data in Redis."""
        return await read_service_names(self._client, self._keys.services, self._keys.line_counts)

    async def list_logging_services(self) -> list[str]:
        """Return the names of all services that have ever logged a line, sorted."""
        return await read_service_names(self._client, self._keys.line_counts)

    async def has_history(self, service: str) -> bool:
        """Return whether Redis holds any event of a service."""
        with bus_errors():
            return bool(
                await self._client.exists(
                    *(self._keys.history(service, kind) for kind in HISTORIES)
                )
            )

    async def read_samples(
        self, service: str, name: str, time_range: TimeRange = ALL_TIME
    ) -> Samples:
        """Return every value of one metric in `time_range`."""
        found: list[Sample] = []
        next_cursor: Cursor | None = None
        async with aclosing(self._scan_back("metric", service, time_range, None, PAGE)) as pages:
            async for entries, page_end in pages:
                next_cursor = page_end
                for cursor, event in ((entry.cursor, entry.event) for entry in entries):
                    if isinstance(event, MetricEvent) and name in event.metrics:
                        found.append(
                            Sample(event.instance, cursor.ms, event.kind(name), event.metrics[name])
                        )
        return Samples(found[::-1], truncated=next_cursor is not None)

    async def _scan_back(
        self,
        kind: HistoryKind,
        service: str,
        time_range: TimeRange,
        before: str | None,
        page: int,
    ) -> AsyncGenerator[tuple[list[Entry], Cursor | None], None]:
        """Yield the pages of `time_range`, the latest first.

        `before` is an end for XREVRANGE, used if it is earlier than the end of the range. With each
        page comes the cursor of its last entry; None at the beginning of the history.
        """
        key, left = self._keys.history(service, kind), SCAN_MAX_ENTRIES
        start, end = _format_range(time_range)
        if before is not None and (
            time_range.end_ms is None or Cursor.parse(before.lstrip("(")).ms <= time_range.end_ms
        ):
            end = before
        while left > 0:
            check_cancelled()
            with bus_errors():
                rows: Any = await self._client.xrevrange(key, end, start, count=page)
            entries = self._parse(kind, service, rows)
            page_end = Cursor.parse(rows[-1][0]) if len(rows) == page else None
            yield list(entries), page_end
            if page_end is None:
                return
            left -= page
            end = f"({page_end}"

    def _parse(self, kind: HistoryKind, service: str, rows: list[Any]) -> Iterable[Entry]:
        return self._rejections.sift(
            rows,
            lambda row: parse_history_entry(kind, row, self._max_event_bytes),
            lambda _: f"the {kind} history of {service}",
        )


async def read_service_names(client: redis.asyncio.Redis, *hashes: str) -> list[str]:
    """Return the sorted names of the services that have a field in one of some hashes.

    A field is `<service>`, or `<service>/<more>`.
    """
    with bus_errors():
        fields: list[Any] = [field for key in hashes for field in await client.hkeys(key)]
    return sorted({field.decode("utf-8", "replace").partition("/")[0] for field in fields})


def extract_lines(entry: Entry, wanted: LogFilter = ALL_LINES) -> list[StoredLine]:
    """Return the lines of an entry that match, in order.

    The first one carries the number of lines that were dropped before the entry.
    """
    event = entry.event
    if not isinstance(event, LogEvent):
        return []
    lines = [
        StoredLine(LinePosition(entry.cursor, number), event.instance, line)
        for number, line in enumerate(event.lines)
        if wanted.matches(line)
    ]
    if lines and event.dropped:
        lines[0] = lines[0]._replace(dropped=event.dropped)
    return lines


def _format_range(time_range: TimeRange) -> tuple[str, str]:
    """Return the two ends of a range as XRANGE accepts them."""
    start_ms, end_ms = time_range
    return "-" if start_ms is None else str(start_ms), "+" if end_ms is None else str(end_ms)
