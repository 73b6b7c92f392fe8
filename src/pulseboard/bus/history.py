"""History, read: what a service said, of one kind, backwards from a moment.

Bounded in what is looked through for one question.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import open_async_client, told_as_unavailable
from pulseboard.bus.entries import Entry, parse_kept
from pulseboard.bus.keys import HistoryKind, Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events import MAX_EVENT_BYTES
from pulseboard.wire.logs import LinePlace, LogEvent, LogFilter, LogLine
from pulseboard.wire.metrics import Kind, MetricEvent, Value

PAGE = 100
LOOKED_THROUGH = 20_000
"""Entries looked through for one question: a history holds no more by default, and a filter may take none of them."""


class Span(NamedTuple):
    """From when and until when, in ms by Redis' clock, both inclusive; None is as far as it goes."""

    start_ms: int | None = None
    end_ms: int | None = None


ALL_TIME = Span()


class PlacedLine(NamedTuple):
    """One line with its place, and whose it is."""

    place: LinePlace
    instance: str
    line: LogLine


class Sample(NamedTuple):
    """One value of a metric: whose, when (ms by Redis' clock), and what."""

    instance: str
    at_ms: int
    kind: Kind
    value: Value


class Samples(NamedTuple):
    """The values of a metric, in order; `truncated` when there may be older ones that were not looked at."""

    samples: list[Sample]
    truncated: bool


class History:
    """Reads the histories of services. Raises BusUnavailable when Redis is away."""

    def __init__(
        self, address: RedisAddress, keys: Keys, rejections: Rejections, *, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self._client = open_async_client(address, keys)
        self._keys = keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes

    async def read(
        self, kind: HistoryKind, service: str, limit: int, *, span: Span = ALL_TIME, before: Cursor | None = None
    ) -> list[Entry]:
        """Return the last `limit` events of a service within `span` and before an event, the latest first."""
        found: list[Entry] = []
        async with aclosing(self._backwards(kind, service, span, before, min(limit, PAGE))) as entries:
            async for entry in entries:
                found.append(entry)
                if len(found) >= limit:
                    break
        return found

    async def read_lines(
        self, service: str, limit: int, *, lines: LogFilter, span: Span = ALL_TIME, before: LinePlace | None = None
    ) -> list[PlacedLine]:
        """Return the last `limit` lines that are wanted, within `span` and before a line, the latest first."""
        found: list[PlacedLine] = []
        bound = None if before is None else Cursor(before.cursor.ms, before.cursor.seq + 1)
        async with aclosing(self._backwards("log", service, span, bound, PAGE)) as entries:
            async for entry in entries:
                cursor, event = entry.cursor, entry.event
                if not isinstance(event, LogEvent):
                    continue
                for number, line in reversed([*enumerate(event.lines)]):
                    place = LinePlace(cursor, number)
                    if (before is None or place < before) and lines.takes(line):
                        found.append(PlacedLine(place, event.instance, line))
                if len(found) >= limit:
                    break
        return found[:limit]

    async def read_samples(self, service: str, name: str, span: Span = ALL_TIME) -> Samples:
        """Return every value of one metric within `span`."""
        found: list[Sample] = []
        looked = 0
        async with aclosing(self._backwards("metric", service, span, None, PAGE)) as entries:
            async for entry in entries:
                looked += 1
                event = entry.event
                if isinstance(event, MetricEvent) and name in event.metrics:
                    found.append(Sample(event.instance, entry.cursor.ms, event.kind(name), event.metrics[name]))
        return Samples(found[::-1], looked >= LOOKED_THROUGH)

    async def _backwards(
        self, kind: HistoryKind, service: str, span: Span, before: Cursor | None, page: int
    ) -> AsyncGenerator[Entry, None]:
        key, left = self._keys.history(service, kind), LOOKED_THROUGH
        start = "-" if span.start_ms is None else str(span.start_ms)
        end = "+" if span.end_ms is None else str(span.end_ms)
        if before is not None and (span.end_ms is None or before.ms <= span.end_ms):
            end = f"({before}"
        while left > 0:
            with told_as_unavailable():
                rows: Any = await self._client.xrevrange(key, end, start, count=page)
            for entry in self._rejections.sift(
                rows,
                lambda row: parse_kept(kind, row, self._max_event_bytes),
                lambda _: f"the {kind} history of {service}",
            ):
                yield entry
            if len(rows) < page:
                return
            left -= page
            end = f"({rows[-1][0].decode()}"

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()
