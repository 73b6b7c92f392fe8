"""What a reader missed, read from Redis when this server's ring no longer holds it. Page by page, so that it stays bounded."""

import asyncio

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import Entry, name_entry, parse_feed_entry, rows_of
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import Cursor

PAGE = 200
PAGE_MAX_BYTES = 64 * 1024
"""What a reader is given in one go, so that a crowd that comes back and takes nothing does not fill memory."""
AT_ONCE = 4
"""So many pages are read at once, however many readers come back together."""


class FeedReplay:
    """Reads stretches of the feed. Raises BusUnavailable when Redis is away."""

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
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._script = self._client.register_script(read_script("replay"))

    async def read(self, since: Cursor, bound: Cursor) -> tuple[list[Entry], Cursor] | None:
        """Return the first events after `since` and not after `bound`, a page of them, and how far that reaches.

        None when not all that followed `since` is there: it is unknown, or what followed was trimmed or lost.
        """
        async with self._turns:
            args: list[str | int] = [str(since), str(bound), PAGE, PAGE_MAX_BYTES]
            with bus_errors():
                whole, *found = await self._script(keys=[self._keys.feed], args=args)
        check_cancelled()  # whoever reads goes on with this to a reader that may be gone, and would wait for it
        if not whole:
            return None
        rows, more = rows_of(found[0]), found[1]
        entries = self._rejections.sift(
            rows, lambda row: parse_feed_entry(row, self._max_event_bytes), name_entry
        )
        return list(entries), Cursor.parse(rows[-1][0]) if more else max(since, bound)
