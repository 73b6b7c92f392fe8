"""Replay of a part of the feed, for a client whose position is not in this server's ring.

The server reads it page by page, so memory stays bounded.
"""

import asyncio

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import Entry, format_entry_name, parse_feed_entry, parse_rows
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import Cursor

PAGE = 200
"""The maximum number of events that the server reads for a client at a time."""
PAGE_MAX_BYTES = 64 * 1024
"""The maximum size of those events, unless a single event is larger.

Many clients that reconnect together and read slowly must not fill the memory of the server.
"""
CONCURRENT_READS = 4
"""The number of pages that a server reads at once, however many clients reconnect together."""


class FeedReplay:
    """Reads parts of the feed. Raises BusUnavailable when Redis is unreachable."""

    def __init__(
        self, bus: BusClient, rejections: Rejections, *, max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self._keys = bus.keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes
        self._turns = asyncio.Semaphore(CONCURRENT_READS)
        self._script = bus.redis.register_script(read_script("replay"))

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        """Return a page of the events after `since`, up to `bound`, and the cursor it reaches.

        None when the events after `since` are incomplete: `since` is unknown, or events that
        followed it were trimmed or lost.
        """
        async with self._turns:
            args: list[str | int] = [str(since), str(bound), PAGE, PAGE_MAX_BYTES]
            with bus_errors():
                is_complete, *found = await self._script(keys=[self._keys.feed], args=args)
        # Without this check, the caller could wait for a client that has disconnected.
        check_cancelled()
        if not is_complete:
            return None
        rows, has_more = parse_rows(found[0]), found[1]
        entries = self._rejections.sift(
            rows, lambda row: parse_feed_entry(row, self._max_event_bytes), format_entry_name
        )
        return list(entries), Cursor.parse(rows[-1][0]) if has_more else max(since, bound)
