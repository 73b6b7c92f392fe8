"""The feed, read: every event in order, each once, or a `Reset` that says why the reader must start afresh.

One blocked XREAD on one connection, supervised: an answer, even an empty one, is a sign of life; silence condemns the link.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import FAILURES, check_cancelled, describe, open_async_client, retry_delay_s
from pulseboard.bus.clock import RedisClock
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events import MAX_EVENT_BYTES, StatusEvent, parse_event

BLOCK_MS = 1_000
DEADLINE_S = 4.0
"""A blocked read that has not come back by then hangs on a dead link (redis-py issue 2417): no error will ever say so."""
COUNT = 500
LOOK_EVERY_S = 2.0

log = logging.getLogger("pulseboard.feed")


@dataclass(frozen=True, slots=True)
class Beat:
    """One sign of life: who, and when by Redis' clock (ms)."""

    service: str
    instance: str
    seen: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its place in the feed."""

    cursor: Cursor
    event: StatusEvent


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought, in order. Both empty is a sign of life too."""

    entries: list[Entry] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reset:
    """Start afresh from here: the whole board, true at `cursor`."""

    reason: str
    cursor: Cursor
    board: list[Entry]
    beats: list[Beat]


@dataclass(frozen=True, slots=True)
class Blind:
    """Redis is out of sight."""

    reason: str


class Feed:
    """One reader of the feed and the beats of a namespace."""

    def __init__(
        self,
        address: RedisAddress,
        keys: Keys,
        clock: RedisClock,
        rejections: Rejections,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._address = address
        self._keys = keys
        self._clock = clock
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes
        self._cursor: Cursor | None = None
        self._beats = ZERO
        self._added = 0
        self._looked_at = float("-inf")

    async def read(self) -> AsyncGenerator[Batch | Reset | Blind, None]:
        """Yield what happens, first a Reset or a Blind, until closed. Reconnects for ever with the seed's delay."""
        attempt = 0
        while True:
            client = open_async_client(self._address, timeout_s=None)
            try:
                async with aclosing(self._session(client)) as session:
                    async for item in session:
                        attempt = 0
                        yield item
            except FAILURES as error:
                reason = describe(error)
                log.log(
                    logging.DEBUG if attempt else logging.ERROR,
                    "cannot read the feed from %s: %s",
                    self._address,
                    reason,
                )
                yield Blind(reason)
            finally:
                await client.aclose()
            attempt += 1
            await asyncio.sleep(retry_delay_s(attempt))

    async def _session(self, client: redis.asyncio.Redis) -> AsyncGenerator[Batch | Reset, None]:
        async with asyncio.timeout(DEADLINE_S):
            await self._read_clock(client)
            reason = await self._find_break(client)
            first = Batch() if reason is None else await self._take_snapshot(client, reason)
        log.info("reading the feed from %s", self._address)
        yield first
        while True:
            check_cancelled()
            async with asyncio.timeout(DEADLINE_S):
                before = self._cursor
                item: Batch | Reset = (batch := await self._read_batch(client))
                # A full batch means this reader is behind, and what it has not read yet may be trimmed before it does.
                if len(batch.entries) >= COUNT and not await self._is_continuous(client, str(before)):
                    item = await self._take_snapshot(client, "the server fell behind the feed")
                elif time.monotonic() - self._looked_at > LOOK_EVERY_S:
                    await self._read_clock(client)
                    # A FLUSHDB breaks no connection: the feed goes on, from nothing.
                    if not await self._is_continuous(client, str(self._cursor)):
                        item = await self._take_snapshot(client, "Redis lost its data")
            yield item

    async def _find_break(self, client: redis.asyncio.Redis) -> str | None:
        """Return why this reader cannot go on after its cursor, or None when it can."""
        if self._cursor is None:
            return "the server started"
        if not await self._is_continuous(client, str(self._cursor)):
            return "Redis lost events, or dropped them before they were read"
        return None

    async def _is_continuous(self, client: redis.asyncio.Redis, cursor: str) -> bool:
        unbroken, self._added = await client.eval(read_script("continuity"), 1, self._keys.feed, cursor, self._added)
        return bool(unbroken)

    async def _take_snapshot(self, client: redis.asyncio.Redis, reason: str) -> Reset:
        keys = (self._keys.feed, self._keys.beats, self._keys.board)
        feed_id, beats_id, _, fields, beats, self._added = await client.eval(read_script("snapshot"), len(keys), *keys)
        self._cursor, self._beats = Cursor.parse(feed_id), Cursor.parse(beats_id)
        board = [entry for json in fields[1::2] if (entry := self._parse_stamped(json)) is not None]
        board.sort(key=lambda entry: entry.cursor)
        return Reset(reason, self._cursor, board, self._parse_beats(beats))

    async def _read_batch(self, client: redis.asyncio.Redis) -> Batch:
        answer = await client.execute_command(  # type: ignore[no-untyped-call]
            "XREAD",
            "COUNT",
            COUNT,
            "BLOCK",
            BLOCK_MS,
            "STREAMS",
            self._keys.feed,
            self._keys.beats,
            str(self._cursor),
            str(self._beats),
        )
        batch = Batch()
        for key, rows in _streams(answer):
            if key == self._keys.beats:
                self._beats = Cursor.parse(rows[-1][0])
                batch.beats.extend(self._parse_beats(rows))
                continue
            self._cursor = Cursor.parse(rows[-1][0])
            batch.entries.extend(entry for row in rows if (entry := self._parse_row(row)) is not None)
        return batch

    async def _read_clock(self, client: redis.asyncio.Redis) -> None:
        asked_at = time.monotonic()
        seconds, microseconds = await client.time()
        self._clock.set(int(seconds) * 1000 + int(microseconds) / 1000, asked_at)
        self._looked_at = time.monotonic()

    def _parse_row(self, row: tuple[bytes, dict[bytes, bytes]]) -> Entry | None:
        id, fields = row
        try:
            if fields.get(b"kind") != b"status":
                raise InvalidEvent(
                    "wrong-type", f"the feed holds an entry of kind {fields.get(b'kind', b'none')[:40]!r}"
                )
            return Entry(Cursor.parse(id), parse_event(fields.get(b"data", b""), max_bytes=self._max_event_bytes))
        except InvalidEvent as error:
            self._rejections.add(error, f"feed entry {id.decode()}")
            return None

    def _parse_stamped(self, json: bytes) -> Entry | None:
        try:
            event = parse_event(json, max_bytes=self._max_event_bytes)
            id = json[json.rindex(b'"id":"') + 6 : -2]
            return Entry(Cursor.parse(id), event)
        except InvalidEvent as error:
            self._rejections.add(error, "the board hash")
        except ValueError:
            self._rejections.add(
                InvalidEvent("malformed", "a board entry does not end with its feed id"), "the board hash"
            )
        return None

    def _parse_beats(self, rows: list[Any]) -> list[Beat]:
        beats = []
        for id, pairs in rows:
            fields = pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
            who = [fields.get(name, b"").decode("utf-8", "replace") for name in (b"service", b"instance")]
            beats.append(Beat(who[0], who[1], Cursor.parse(id).ms))
        return beats


def _streams(answer: list[Any] | None) -> list[tuple[str, list[Any]]]:
    return [(key.decode(), rows) for key, rows in answer or []]
