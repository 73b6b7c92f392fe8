"""History, read: what a service said, of one kind, backwards from a moment, or the whole of a span forwards.

Bounded in what is looked through for one question, and in what is held at once.
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
"""Entries looked through for one question: a history holds no more by default, and a filter may take none of them."""


class TimeRange(NamedTuple):
    """From when and until when, in ms by Redis' clock, both inclusive; None is as far as it goes."""

    start_ms: int | None = None
    end_ms: int | None = None


ALL_TIME, ALL_LINES = TimeRange(), LogFilter()


class StoredLine(NamedTuple):
    """One line with its place, whose it is, and how many of that instance were dropped before it."""

    place: LinePosition
    instance: str
    line: LogLine
    dropped: int = 0


class LinePage(NamedTuple):
    """Lines that were found, the latest first, and before which line to go on looking; None at the beginning of the log.

    `truncated` says that no more than SCAN_MAX_ENTRIES entries were looked through, and older lines that are wanted may be there.
    """

    lines: list[StoredLine]
    before: LinePosition | None
    truncated: bool


class Sample(NamedTuple):
    """One value of a metric: whose, when (ms by Redis' clock), and what."""

    instance: str
    at_ms: int
    kind: MetricKind
    value: Value


class Samples(NamedTuple):
    """The values of a metric, in order; `truncated` when there may be older ones that were not looked at."""

    samples: list[Sample]
    truncated: bool


class HistoryReader:
    """Reads the histories of services. Raises BusUnavailable when Redis is away."""

    def __init__(
        self,
        bus: BusClient,
        rejections: Rejections,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
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
        """Return the last `limit` events of a service within `span` and before an event, the latest first."""
        if before == ZERO:
            return []
        found: list[Entry] = []
        end = None if before is None else f"({before}"
        async with aclosing(
            self._backwards(kind, service, time_range, end, min(limit, PAGE))
        ) as pages:
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
        """Return the last `limit` lines that are wanted, within `span` and before a line."""
        found: list[StoredLine] = []
        on: Cursor | None = None
        # The entry of that line as well: those before it are in there.
        end = None if before is None else str(before.cursor)
        async with aclosing(self._backwards("log", service, time_range, end, PAGE)) as pages:
            async for entries, reached in pages:
                on = reached
                for placed in (
                    placed for entry in entries for placed in reversed(extract_lines(entry, lines))
                ):
                    if before is None or placed.place < before:
                        found.append(placed)
                        if len(found) == limit:
                            return LinePage(found, placed.place, truncated=False)
        return LinePage(
            found, None if on is None else LinePosition(on, 0), truncated=on is not None
        )

    async def read_forwards(
        self, kind: HistoryKind, service: str, *, time_range: TimeRange = ALL_TIME, page: int = PAGE
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield all that a service said within `span`, the oldest first, up to what is the latest when it is asked for.

        Raises Overtaken when something left Redis before it was read.
        """
        key = self._keys.history(service, kind)
        start = "-" if time_range.start_ms is None else str(time_range.start_ms)
        end = "+" if time_range.end_ms is None else str(time_range.end_ms)
        with bus_errors():
            latest: Any = await self._client.xrevrange(key, end, start, count=1)
        read = None
        while latest and read != latest[0][0]:
            with bus_errors():
                rows: Any = await self._client.xrange(
                    key, start, latest[0][0].decode(), count=page + 1
                )
            if read is not None:
                # The oldest goes first: while the last one read is there, nothing after it is gone.
                if not rows or rows[0][0] != read:
                    raise HistoryTrimmed(f"what {service} said was trimmed faster than it was read")
                del rows[0]
            if not rows:
                return
            read = rows[-1][0]
            start = read.decode()
            yield list(self._sift(kind, service, rows))

    async def list_services(self) -> list[str]:
        """Return the names of all services that something is kept of, or was, sorted."""
        return await read_service_names(self._client, self._keys.services, self._keys.line_counts)

    async def has_history(self, service: str) -> bool:
        """Say whether there is anything of a service, of whatever kind."""
        with bus_errors():
            return bool(
                await self._client.exists(
                    *(self._keys.history(service, kind) for kind in HISTORIES)
                )
            )

    async def list_logging_services(self) -> list[str]:
        """Return the names of all services that ever logged a line, sorted."""
        return await read_service_names(self._client, self._keys.line_counts)

    async def read_samples(
        self, service: str, name: str, time_range: TimeRange = ALL_TIME
    ) -> Samples:
        """Return every value of one metric within `span`."""
        found: list[Sample] = []
        on: Cursor | None = None
        async with aclosing(self._backwards("metric", service, time_range, None, PAGE)) as pages:
            async for entries, reached in pages:
                on = reached
                for cursor, event in ((entry.cursor, entry.event) for entry in entries):
                    if isinstance(event, MetricEvent) and name in event.metrics:
                        found.append(
                            Sample(event.instance, cursor.ms, event.kind(name), event.metrics[name])
                        )
        return Samples(found[::-1], truncated=on is not None)

    async def _backwards(
        self, kind: HistoryKind, service: str, time_range: TimeRange, before: str | None, page: int
    ) -> AsyncGenerator[tuple[list[Entry], Cursor | None], None]:
        """Yield page by page what is within `span`, from `before` on (as XREVRANGE takes it) if that is earlier than its end.

        With each page comes the cursor after which to go on looking; None at the beginning of the history.
        """
        key, left = self._keys.history(service, kind), SCAN_MAX_ENTRIES
        start = "-" if time_range.start_ms is None else str(time_range.start_ms)
        end = "+" if time_range.end_ms is None else str(time_range.end_ms)
        if before is not None and (
            time_range.end_ms is None or Cursor.parse(before.lstrip("(")).ms <= time_range.end_ms
        ):
            end = before
        while left > 0:
            check_cancelled()
            with bus_errors():
                rows: Any = await self._client.xrevrange(key, end, start, count=page)
            entries = self._sift(kind, service, rows)
            on = Cursor.parse(rows[-1][0]) if len(rows) == page else None
            yield list(entries), on
            if on is None:
                return
            left -= page
            end = f"({on}"

    def _sift(self, kind: HistoryKind, service: str, rows: list[Any]) -> Iterable[Entry]:
        return self._rejections.sift(
            rows,
            lambda row: parse_history_entry(kind, row, self._max_event_bytes),
            lambda _: f"the {kind} history of {service}",
        )


async def read_service_names(client: redis.asyncio.Redis, *hashes: str) -> list[str]:
    """Return the names, sorted, of the services that have a field in some hashes: `<service>`, or with more after a slash."""
    with bus_errors():
        fields: list[Any] = [field for key in hashes for field in await client.hkeys(key)]
    return sorted({field.decode("utf-8", "replace").partition("/")[0] for field in fields})


def extract_lines(entry: Entry, wanted: LogFilter = ALL_LINES) -> list[StoredLine]:
    """Return the lines of an entry that are wanted, in order; the first says how many were dropped before the entry."""
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
