"""The feed, read: every event in order, each once, or a `Reset` that says why the reader must start afresh.

One blocked XREAD on one connection, supervised: an answer, even an empty one, is a sign of life; silence condemns the link.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import redis
import redis.asyncio

from pulseboard.bus.clock import RedisClock, look
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import open_async_client
from pulseboard.bus.connection.errors import REDIS_ERRORS, describe_error
from pulseboard.bus.feed.entries import (
    INCIDENTS_SHOWN,
    Batch,
    Entry,
    FeedUnavailable,
    Heartbeat,
    Reset,
    Row,
    name_entry,
    parse_heartbeat,
    parse_incident_row,
    parse_row,
    parse_stamped,
    parse_times,
    rows_of,
)
from pulseboard.bus.keys import PROBE_TTL_MS, Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import ZERO, Cursor

BLOCK_MS = 1_000
DEADLINE_S = 4.0
"""A blocked read that has not come back by then hangs on a dead link (redis-py issue 2417): no error will ever say so."""
COUNT = 500
LOOK_EVERY_S = 2.0
RECENT_MAX = 2_000
RECENT_MAX_BYTES = 4 * 1024 * 1024
"""What a server reads of the past when it starts: after a restart all its readers come back at once, and want that."""
JUMP_MS = 2_000
"""Redis' clock that ran so much ahead of ours between two reads was set: all silence looks longer than it was."""
BACK_MS = 500
"""One that is so much behind ours was set back, or a failover led to a host that is behind."""

log = logging.getLogger("pulseboard.feed")


class FeedReader:
    """One reader of the feed and the beats of a namespace. A read blocks for up to `block_ms`, which may be set meanwhile."""

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
        self._clock = clock
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes
        self._cursor: Cursor | None = None
        self._beats = ZERO
        self._added = 0  # how many entries the feed had got by our cursor
        self._origin: str | None = None  # which Redis this one was promoted from, if any
        self._looked_at = float("-inf")
        self._heard = (0, 0.0)  # up to when by Redis' clock (ms), and when that was here (s)

    async def read(self) -> AsyncGenerator[Batch | Reset | FeedUnavailable, None]:
        """Yield what happens, first a Reset or a FeedUnavailable, until closed. Reconnects for ever with the seed's delay."""
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
        async with asyncio.timeout(DEADLINE_S):
            set_back = await self._read_clock(client)
            await self._probe(client)
            up_since, origin = await self._read_origin(client)
            since = max(set_back, up_since)
            reason = await self._find_break(client, origin)
            if reason is None:
                first: Batch | Reset = await self._catch_up(client, since)
            else:
                first = await self._take_snapshot(client, reason, since)
            self._origin = (
                origin  # not before: until a break is told, the next try must find it again
            )
        log.info("reading the feed from %s", self._address)
        yield first
        while True:
            check_cancelled()
            async with asyncio.timeout(DEADLINE_S):
                item = await self._read_on(client)
            yield item

    async def _read_on(self, client: redis.asyncio.Redis) -> Batch | Reset:
        before = self._cursor, self._added, self._beats
        try:
            return await self._check(client, await self._read_batch(client), *before)
        except BaseException:
            # What was read and is not handed on must be read again.
            self._cursor, self._added, self._beats = before
            raise

    async def _check(
        self,
        client: redis.asyncio.Redis,
        batch: Batch,
        before: Cursor | None,
        added: int,
        heartbeats: Cursor,
    ) -> Batch | Reset:
        """Return what was read from these positions on, or a Reset when it is not all that there was."""
        # A full batch means this reader is behind, and what it has not read yet may be trimmed before it does.
        if self._added - added >= COUNT and not await self._is_continuous(client, before, added):
            return await self._take_snapshot(client, "the server fell behind the feed")
        if len(batch.heartbeats) >= COUNT and not await client.xrange(
            self._keys.heartbeats, str(heartbeats), str(heartbeats)
        ):
            whole = await self._catch_up(client)
            return Batch(
                batch.entries, whole.heartbeats, whole.observed_until, batch.observed_since
            )
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            batch = replace(
                batch, observed_since=max(batch.observed_since, await self._read_clock(client))
            )
            await self._probe(client)
            # A FLUSHDB breaks no connection: the feed goes on, from nothing.
            if not await self._is_continuous(client, self._cursor, self._added):
                return await self._take_snapshot(client, "Redis lost its data")
        return batch

    async def _find_break(self, client: redis.asyncio.Redis, origin: str) -> str | None:
        """Return why this reader cannot go on after its cursor, or None when it can."""
        if self._cursor is None:
            return "the server started"
        if origin != self._origin:
            # Replication is asynchronous: what the old master took last may be lost, though what was read is all there.
            return (
                "Redis failed over to another node, which may lack the last events of the old one"
            )
        if not await self._is_continuous(client, self._cursor, self._added):
            return "Redis lost events, or dropped them before they were read"
        return None

    async def _is_continuous(
        self, client: redis.asyncio.Redis, cursor: Cursor | None, added: int
    ) -> bool:
        return bool(
            await client.eval(read_script("is_continuous"), 1, self._keys.feed, str(cursor), added)
        )

    async def _catch_up(self, client: redis.asyncio.Redis, since: int = 0) -> Batch:
        """Return everybody's last sign of life: the beats that came while this reader was away may be trimmed."""
        observed_until = self._clock.now_ms()
        # The position first: what came after it is read again, which does no harm.
        latest: Any = await client.xrevrange(self._keys.heartbeats, count=1)
        self._beats = Cursor.parse(latest[0][0]) if latest else ZERO
        seen: Any = await client.hgetall(self._keys.seen)
        self._heard = (observed_until, time.monotonic())
        return Batch(
            heartbeats=[Heartbeat(*who, ms) for who, ms in parse_times(seen).items()],
            observed_until=observed_until,
            observed_since=since,
        )

    async def _take_snapshot(
        self, client: redis.asyncio.Redis, reason: str, since: int = 0
    ) -> Reset:
        keys = (*self._keys.shared, self._keys.heartbeats, self._keys.incidents)
        (
            feed_id,
            beats_id,
            self._added,
            observed_until,
            board,
            seen,
            lost,
            incidents,
            recent,
        ) = await client.eval(
            read_script("snapshot"), len(keys), *keys, INCIDENTS_SHOWN, RECENT_MAX, RECENT_MAX_BYTES
        )
        self._cursor, self._beats = Cursor.parse(feed_id), Cursor.parse(beats_id)
        self._heard = (observed_until, time.monotonic())
        return Reset(
            reason,
            self._cursor,
            sorted(self._parse_board(board[1::2]), key=lambda entry: entry.cursor),
            [Heartbeat(*who, ms) for who, ms in parse_times(seen).items()],
            parse_times(lost),
            list(
                self._rejections.sift(
                    rows_of(incidents), parse_incident_row, lambda _: "the incidents stream"
                )
            ),
            list(self._sift(rows_of(recent[::-1]))),
            observed_until,
            since,
        )

    async def _read_batch(self, client: redis.asyncio.Redis) -> Batch:
        asked_ms, block_ms = self._clock.now_ms(), self.block_ms
        answer = await client.execute_command(  # type: ignore[no-untyped-call]
            *(
                "XREAD",
                "COUNT",
                COUNT,
                "BLOCK",
                block_ms,
                "STREAMS",
                self._keys.feed,
                self._keys.heartbeats,
            ),
            *(str(self._cursor), str(self._beats)),
        )
        entries: list[Entry] = []
        heartbeats: list[Heartbeat] = []
        whole: list[int] = []
        cut: list[int] = []
        for key, rows in answer or []:
            last = Cursor.parse(rows[-1][0])
            (cut if len(rows) >= COUNT else whole).append(last.ms)
            if key.decode() == self._keys.heartbeats:
                self._beats = last
                heartbeats.extend(map(parse_heartbeat, rows))
            else:
                self._cursor = last
                self._added += len(rows)
                entries.extend(self._sift(rows))
        # An empty answer comes when the block is over. A stream that was cut short says nothing of what follows.
        observed_until = min(cut) if cut else max(whole, default=asked_ms + block_ms)
        if observed_until < asked_ms - BACK_MS:
            self._looked_at = float(
                "-inf"
            )  # we are behind, or Redis' clock was set back: see which, and at once
        return Batch(entries, heartbeats, observed_until, self._note_jump(observed_until))

    def _note_jump(self, observed_until: int) -> int:
        """Note up to when all was heard; return the time from which silence counts if Redis' clock was set ahead, else 0."""
        (before, at), now = self._heard, time.monotonic()
        self._heard = (observed_until, now)
        return observed_until if observed_until - before - (now - at) * 1000 > JUMP_MS else 0

    async def _probe(self, client: redis.asyncio.Redis) -> None:
        """Raise what Redis says when it takes no writes: then no service can be heard, though all can be read."""
        await client.set(self._keys.probe, "", px=PROBE_TTL_MS)

    async def _read_clock(self, client: redis.asyncio.Redis) -> int:
        """Return the time from which silence counts if Redis' clock was set back, else 0."""
        known = self._cursor is not None  # or what we expect is by this machine's clock
        asked_at, expected_ms = time.monotonic(), self._clock.now_ms()
        now_ms = await look(client, self._keys)
        self._clock.set(now_ms, asked_at)
        self._looked_at = time.monotonic()
        return now_ms if known and now_ms < expected_ms - BACK_MS else 0

    async def _read_origin(self, client: redis.asyncio.Redis) -> tuple[int, str]:
        """Return since when Redis is up, in ms by its clock, for nobody could be heard before; and what it was a replica of.

        0 and nothing where it does not tell.
        """
        try:
            uptime_s = int((await client.info("server"))["uptime_in_seconds"])
            origin = str((await client.info("replication")).get("master_replid2", ""))
        except (redis.ResponseError, KeyError):  # the user's rights (ACL) do not reach so far
            return 0, ""
        return self._clock.now_ms() - uptime_s * 1000, origin

    def _sift(self, rows: Iterable[Row]) -> Iterable[Entry]:
        return self._rejections.sift(
            rows, lambda row: parse_row(row, self._max_event_bytes), name_entry
        )

    def _parse_board(self, jsons: Iterable[bytes]) -> Iterable[Entry]:
        return self._rejections.sift(
            jsons,
            lambda json: Entry(*parse_stamped(json, self._max_event_bytes)),
            lambda _: "the board hash",
        )
