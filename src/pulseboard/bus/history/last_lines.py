"""The last log lines of lost instances, for their incidents; the search is bounded."""

from collections.abc import Mapping
from typing import Any

import msgspec
import redis.asyncio

from pulseboard.bus.connection.errors import REDIS_ERRORS, bus_errors, is_refusal
from pulseboard.bus.feed.entries import Row, parse_history_entry
from pulseboard.bus.history.reader import extract_lines
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import encode, json_text
from pulseboard.wire.events.log import LineView, shorten_text, view_line

LINES_MAX = 20
LINES_MAX_BYTES = 16_000
"""For one incident. The very last line is kept even if it is larger."""
SCAN_MAX_ENTRIES = 2_000
SCAN_MAX_BYTES = 2_000_000
"""For one log, however many of its instances were lost.

By default a log holds little more.
"""
MESSAGE_MAX, TRACEBACK_MAX, FIELDS_MAX_BYTES = 1_000, 4_000, 2_000
PAGE = 50


class LastLines:
    """Reads the end of logs. Raises BusUnavailable when Redis is unreachable."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys, rejections: Rejections) -> None:
        self._client = client
        self._keys = keys
        self._rejections = rejections

    async def read(self, service: str, until: Mapping[str, int]) -> dict[str, bytes]:
        """Return the last lines of each instance of `until`, in order, as a JSON array.

        `until` has the latest time (ms) at which each instance can have logged.
        """
        tails = {instance: _Tail() for instance in until}
        end, entries, size = str(max(until.values())), SCAN_MAX_ENTRIES, SCAN_MAX_BYTES
        while entries > 0 and size > 0 and not all(tail.full for tail in tails.values()):
            check_cancelled()
            rows = await self._read_page(service, end)
            for entry in self._rejections.sift(
                rows,
                lambda row: parse_history_entry("log", row, SCAN_MAX_BYTES),
                lambda _: f"the log history of {service}",
            ):
                for place, instance, line, dropped in reversed(extract_lines(entry)):
                    if (tail := tails.get(instance)) is not None:
                        tail.add(view_line(line, place, dropped))
            if len(rows) < PAGE:
                break
            entries -= len(rows)
            size -= sum(len(value) for _, fields in rows for value in fields.values())
            end = f"({rows[-1][0].decode()}"
        return {
            instance: b"[" + b",".join(reversed(tail.lines)) + b"]"
            for instance, tail in tails.items()
        }

    async def _read_page(self, service: str, end: str) -> list[Row]:
        with bus_errors():
            try:
                rows: Any = await self._client.xrevrange(
                    self._keys.history(service, "log"), end, "-", count=PAGE
                )
            except REDIS_ERRORS as error:
                if not is_refusal(error):
                    raise
                # A key that is not a stream must not prevent that a loss is recorded.
                return []
        return list(rows)


class _Tail:
    """The last lines of one instance, the latest first, until it is full."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False
        self._bytes = 0

    def add(self, line: LineView) -> None:
        if self.full:
            return
        json = encode(_shorten(line))
        self._bytes += len(json)
        if self.lines and self._bytes > LINES_MAX_BYTES:
            self.full = True
            return
        self.lines.append(json)
        self.full = len(self.lines) == LINES_MAX


def _shorten(line: LineView) -> LineView:
    return msgspec.structs.replace(
        line,
        message=shorten_text(line.message, MESSAGE_MAX),
        fields=line.fields if len(json_text(line.fields)) <= FIELDS_MAX_BYTES else msgspec.UNSET,
        traceback=shorten_text(line.traceback, TRACEBACK_MAX, keep_end=True),
    )
