"""The feed reader: yields every event once and in order, or a `Reset` with the reason.

It reads by a blocking XREAD on one connection. Each answer, even an empty one, proves that the
connection works. After DEADLINE_S without an answer the reader closes the connection and opens a
new one.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import redis.asyncio

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import open_async_client
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error
from pulseboard.bus.feed import queries
from pulseboard.bus.feed.clock_observer import ClockObserver
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Reset
from pulseboard.bus.feed.position import FeedPosition
from pulseboard.bus.feed.queries import FeedQueries, FeedRead
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES

BLOCK_MS = 1_000
"""The initial limit for a read to wait for new entries; see `FeedReader.block_ms`."""
DEADLINE_S = 4.0
"""Time without an answer to a blocking read after which its connection is considered dead.

redis-py does not report a dead connection by itself (redis-py issue 2417).
"""

log = logging.getLogger("pulseboard.feed")


class FeedReader:
    """Reads the feed and the heartbeats of a namespace.

    A read waits up to `block_ms` for new entries. The caller may change `block_ms` at any time.
    """

    def __init__(
        self,
        address: RedisAddress,
        keys: Keys,
        clock: RedisClock,
        rejections: Rejections,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.block_ms = BLOCK_MS
        self._address = address
        self._keys = keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes
        self._clock = ClockObserver(clock, keys)
        self._position: FeedPosition | None = None
        self._replication_id: str | None = None

    async def read(self) -> AsyncGenerator[Batch | Reset | FeedUnavailable, None]:
        """Yield batches, resets and failures until the caller closes the generator.

        The first item is a Reset or a FeedUnavailable. After a failure the reader reconnects, with
        `retry_delay_s` between two attempts, without end.
        """
        attempt = 0
        while True:
            client = open_async_client(self._address, self._keys, timeout_s=None)
            try:
                async with aclosing(self._session(client)) as session:
                    async for item in session:
                        attempt = 0
                        yield item
            except REDIS_ERRORS as error:
                reason = describe_error(error)
                log.log(
                    logging.DEBUG if attempt else logging.ERROR,
                    "cannot read the feed from %s: %s",
                    self._address,
                    reason,
                )
                yield FeedUnavailable(reason)
            finally:
                await client.aclose()
            attempt += 1
            await asyncio.sleep(retry_delay_s(attempt))

    async def _session(self, client: redis.asyncio.Redis) -> AsyncGenerator[Batch | Reset, None]:
        """Yield the batches and resets of one connection, until it fails."""
        feed = FeedQueries(client, self._keys, self._rejections, self._max_event_bytes)
        async with asyncio.timeout(DEADLINE_S):
            first, position = await self._resume(client, feed)
            self._position = position
        log.info("reading the feed from %s", self._address)
        yield first
        while True:
            check_cancelled()
            async with asyncio.timeout(DEADLINE_S):
                item, position = await self._read_next(client, feed, position)
                # Set after the read: if the read fails halfway, the next session repeats it.
                self._position = position
            yield item

    async def _resume(
        self, client: redis.asyncio.Redis, feed: FeedQueries
    ) -> tuple[Batch | Reset, FeedPosition]:
        """Return the first item on a new connection, and the position after it.

        The reader continues after its last position if it can; otherwise it starts from a snapshot.
        """
        set_back_since = await self._clock.check(client, first=self._position is None)
        await feed.check_writable()
        origin = await feed.read_origin(self._clock.now_ms())
        since_ms = max(set_back_since, origin.up_since_ms)
        reason = await self._find_break(feed, origin.replication_id)
        resumed: tuple[Batch | Reset, FeedPosition]
        if reason is not None or self._position is None:
            resumed = await self._read_snapshot(feed, reason or "the server started", since_ms)
        else:
            resumed = await self._catch_up(feed, self._position, since_ms)
        # Set at the end: if this attempt fails, the next one must find the same break again.
        self._replication_id = origin.replication_id
        return resumed

    async def _find_break(self, feed: FeedQueries, replication_id: str) -> str | None:
        """Return why the reader cannot continue after its position, or None if it can."""
        if self._position is None:
            return "the server started"
        if replication_id != self._replication_id:
            # Replication is asynchronous: the new node may have all events that this reader has
            # read, and still lack later events of the old node.
            return (
                "Redis failed over to another node, which may lack the last events of the old one"
            )
        if not await feed.is_continuous(self._position):
            return "Redis lost events, or dropped them before they were read"
        return None

    async def _read_next(
        self, client: redis.asyncio.Redis, feed: FeedQueries, position: FeedPosition
    ) -> tuple[Batch | Reset, FeedPosition]:
        asked_ms, block_ms = self._clock.now_ms(), self.block_ms
        read = await feed.read_next(position, block_ms)
        observed_until = read.observed_until_ms
        if observed_until is None:  # No new entry came within `block_ms`.
            observed_until = asked_ms + block_ms
        observed_since = self._clock.advance(observed_until, asked_ms)
        batch = Batch(read.entries, read.heartbeats, observed_until, observed_since)
        return await self._verify(client, feed, position, read, batch)

    async def _verify(
        self,
        client: redis.asyncio.Redis,
        feed: FeedQueries,
        before: FeedPosition,
        read: FeedRead,
        batch: Batch,
    ) -> tuple[Batch | Reset, FeedPosition]:
        """Return the batch, or an item that replaces it if entries after `before` are lost."""
        position = read.position
        # A full batch means that the reader is behind, so Redis may have trimmed unread entries.
        is_full = position.entries_added - before.entries_added >= queries.COUNT
        if is_full and not await feed.is_continuous(before):
            return await self._read_snapshot(feed, "the server fell behind the feed")
        is_full = len(read.heartbeats) >= queries.COUNT
        if is_full and not await feed.has_heartbeat(before.heartbeats):
            whole, position = await self._catch_up(feed, position)
            entries, observed_since = batch.entries, batch.observed_since
            return replace(whole, entries=entries, observed_since=observed_since), position
        if self._clock.is_check_due:
            set_back_since = await self._clock.check(client, first=False)
            batch = replace(batch, observed_since=max(batch.observed_since, set_back_since))
            await feed.check_writable()
            # After a FLUSHDB the connection still works, but the feed is empty and starts again.
            if not await feed.is_continuous(position):
                return await self._read_snapshot(feed, "Redis lost its data")
        return batch, position

    async def _catch_up(
        self, feed: FeedQueries, position: FeedPosition, since_ms: int = 0
    ) -> tuple[Batch, FeedPosition]:
        """Return the last sign of life of each instance, in place of the missed heartbeats."""
        observed_until = self._clock.now_ms()
        heartbeats, cursor = await feed.read_last_seen()
        self._clock.restart(observed_until)
        batch = Batch(heartbeats=heartbeats, observed_until=observed_until, observed_since=since_ms)
        return batch, position._replace(heartbeats=cursor)

    async def _read_snapshot(
        self, feed: FeedQueries, reason: str, since_ms: int = 0
    ) -> tuple[Reset, FeedPosition]:
        reset, position = await feed.read_snapshot(reason, since_ms)
        self._clock.restart(reset.observed_until)
        return reset, position
