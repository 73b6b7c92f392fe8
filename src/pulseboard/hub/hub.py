"""The hub: from one feed to every reader. It lives in one event loop and never waits for a reader."""

import asyncio
import logging
import random
import time
from contextlib import aclosing
from dataclasses import dataclass

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed import Batch, Blind, Feed, Reset
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection, Framing, View
from pulseboard.hub.frames import (
    BlindView,
    BoardView,
    beats_frame,
    board_bytes,
    bye_bytes,
    heartbeat_frame,
    ping_frame,
    snapshot_bytes,
    status_frame,
)
from pulseboard.hub.ring import Ring
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import InvalidEvent

WRITE_MAX_BYTES = 128 * 1024
"""The most that is handed to one connection in one write, so that one that is far behind does not fill memory."""
BLOCKED_MAX_S = 30.0
"""A reader that took nothing for so long is frozen or gone, and is let go; it may come back and resume."""
BEATS_EVERY_S = 1.0
GREETING_S = 0.1
"""How long a board that was made for one reader serves others."""
GREETINGS_MAX = 32
"""How many such boards are held: readers choose their filters, and so how many differ."""
RETRY_MS = (500, 3_000)
"""Readers come back spread over this, so that a restart is not met by all of them at once."""

log = logging.getLogger("pulseboard.hub")

_Shared = dict[tuple[int, View, Framing], tuple[bytes, int]]


@dataclass(frozen=True)
class HubOptions:
    """What readers are told and how often."""

    ping_s: float = 5.0
    heartbeat_s: float = 20.0
    version: str = ""
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class _Greeting:
    data: bytes
    position: int
    made_at: float


class Hub:
    """Applies the feed to the board, and gives each connection what it has not seen, when it can take it."""

    def __init__(self, board: Board, clock: RedisClock, rejections: Rejections, options: HubOptions) -> None:
        self.board = board
        self.blind: BlindView | None = BlindView(clock.now_ms(), "no answer from Redis yet")
        self._clock = clock
        self._rejections = rejections
        self._options = options
        self._ring = Ring()
        self._cursor = ZERO
        self._began = False
        self._connections: set[Connection] = set()
        self._beats: dict[tuple[str, str], int] = {}
        self._forgot_at: Cursor | None = None
        self._greetings: dict[tuple[View, Framing, str | None], _Greeting] = {}
        self._farewell: str | None = None

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._connections)

    @property
    def closing(self) -> bool:
        """True once no stream is taken any more."""
        return self._farewell is not None

    async def run(self, feed: Feed) -> None:
        """Serve the feed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="pulseboard-hub-tick")
            async with aclosing(feed.read()) as items:
                async for item in items:
                    self.take(item)

    def take(self, item: Batch | Reset | Blind) -> None:
        """Apply one item of the feed and flush."""
        match item:
            case Blind(reason):
                if self.blind is None:
                    self.blind = BlindView(self._clock.now_ms(), reason)
                    self._ring.append(ping_frame(self._clock.now_ms(), self.blind, self._cursor))
            case Reset():
                self._restart(item)
            case Batch():
                if self.blind is not None:
                    self.blind = None
                    self._ring.append(ping_frame(self._clock.now_ms(), None, self._cursor))
                self._apply(item)
        self._flush()

    def join(self, connection: Connection, since: Cursor | None = None) -> None:
        """Begin to serve a connection: from `since` if the ring still holds what followed, else from the board of this tick."""
        if self._farewell is not None:
            self._end(connection, self._farewell)
            return
        self._connections.add(connection)
        position = self._find(since) if since is not None else None
        if since is not None and position is not None and not connection.view.seed:
            connection.position, connection.fresh = position, False
            # What is not replayed, since it is not in the feed: who is alive by now, and whether we can see.
            now = self._clock.now_ms()
            greeting = (beats_frame(now, self.board.seen(), since), ping_frame(now, self.blind, since))
            data = b"".join(connection.view.pick(frame) or b"" for frame in greeting)
            connection.sink.write(connection.sink.framing(data))
        elif since is not None:
            connection.reason = "what followed the last message that was seen is no longer held"
        self.pump(connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection. Leaving twice is leaving once."""
        self._connections.discard(connection)

    def pump(self, connection: Connection) -> None:
        """Give one connection what it has not seen, for as long as it can take it."""
        if connection in self._connections:
            self._pump(connection, {})

    def close(self, reason: str) -> None:
        """End every stream with a `bye`, and take no more."""
        self._farewell = reason
        for connection in list(self._connections):
            self.leave(connection)
            self._end(connection, reason)

    def forget(self) -> list[tuple[str, str, Cursor]]:
        """Take off the board what ended long ago, and show every reader the board without it."""
        gone = [] if self.blind is not None else self.board.forget(self._clock.now_ms())
        if gone:
            # Forgetting is no event of the feed: who was away meanwhile must not resume as if nothing had happened.
            self._forgot_at = self._cursor
            self._greetings.clear()
            for connection in self._connections:
                if connection.fresh or connection.view.seed:
                    continue
                connection.fresh = True
                if connection.position < self._ring.end:
                    connection.reason = "instances that ended long ago were taken off before all was read"
            self._flush()
        return gone

    def _find(self, since: Cursor) -> int | None:
        if since > self._cursor or (self._forgot_at is not None and since <= self._forgot_at):
            return None
        return self._ring.find(since)

    def _end(self, connection: Connection, reason: str) -> None:
        sink = connection.sink
        if connection.view.seed:
            sink.close(b"")
            return
        # The id would say that it has seen everything, and it would come back as if it had.
        seen = self._cursor if not connection.fresh and connection.position >= self._ring.end else None
        sink.close(sink.framing(bye_bytes(reason, random.randint(*RETRY_MS), seen)))  # noqa: S311

    def _restart(self, reset: Reset) -> None:
        self.blind = None
        self.board.reset(reset)
        self._ring.clear(reset.cursor)
        self._cursor = reset.cursor
        self._beats.clear()
        self._forgot_at = None
        self._greetings.clear()
        for connection in self._connections:
            connection.fresh = True
            connection.reason = reset.reason if self._began else None
        self._began = True

    def _apply(self, batch: Batch) -> None:
        for entry in batch.entries:
            try:
                self.board.apply(entry)
            except InvalidEvent as error:
                self._rejections.add(error, f"feed entry {entry.cursor}")
                continue
            self._cursor = entry.cursor
            self._ring.append(status_frame(entry))
        for beat in batch.beats:
            if self.board.apply_beat(beat):
                self._beats[beat.service, beat.instance] = beat.seen

    def _flush(self) -> None:
        shared: _Shared = {}
        for connection in list(self._connections):
            self._pump(connection, shared)

    def _pump(self, connection: Connection, shared: _Shared) -> None:
        sink = connection.sink
        if sink.writable:
            connection.blocked_since = None
        while sink.writable:
            if connection.position < self._ring.first and not connection.fresh:
                connection.fresh, connection.reason = True, "the reader was too slow for all that came"
            if connection.fresh:
                data = self._greet(connection)
            elif connection.position >= self._ring.end:
                break
            else:
                data = self._read(connection, shared)
            if data:
                sink.write(data)
        if not sink.writable and connection.blocked_since is None:
            connection.blocked_since = time.monotonic()

    def _greet(self, connection: Connection) -> bytes:
        """Return the whole board for a connection, true at the position that it goes on from: both are of one tick.

        That tick may have been a moment ago: what followed it is in the ring. So a crowd that comes back at once, or is reset,
        shares one board instead of having a copy each.
        """
        view, sink = connection.view, connection.sink
        reason, connection.reason = connection.reason, None
        key = (view, sink.framing, reason)
        found = self._greetings.get(key)
        now = time.monotonic()
        if found is None or now - found.made_at > GREETING_S or found.position < self._ring.first:
            if len(self._greetings) >= GREETINGS_MAX:
                self._greetings.clear()
            data = sink.framing(self._board_bytes(view, reason))
            found = self._greetings[key] = _Greeting(data, self._ring.end, now)
        connection.fresh, connection.position = False, found.position
        return found.data

    def _board_bytes(self, view: View, reason: str | None) -> bytes:
        if view.seed:
            return snapshot_bytes(self.board.snapshot(), self._cursor)
        board = BoardView(
            now=self._clock.now_ms(),
            blind=self.blind,
            ping_s=self._options.ping_s,
            version=self._options.version,
            insecure=self._options.insecure,
            expect=[name for name in self.board.expected if view.services is None or name in view.services],
            instances=self.board.view(view.services),
        )
        return board_bytes(board, self._cursor, reset=reason)

    def _read(self, connection: Connection, shared: _Shared) -> bytes:
        """Return the bytes of the next frames for a connection and move it on; who stands where it stood shares them."""
        key = (connection.position, connection.view, connection.sink.framing)
        found = shared.get(key)
        if found is None:
            frames = self._ring.read(connection.position, WRITE_MAX_BYTES)
            data = b"".join(picked for frame in frames if (picked := connection.view.pick(frame)) is not None)
            found = shared[key] = (connection.sink.framing(data) if data else b"", connection.position + len(frames))
        data, connection.position = found
        return data

    async def _tick(self) -> None:
        options = self._options
        pinged_at = beat_at = heartbeat_at = time.monotonic()
        while True:
            await asyncio.sleep(min(BEATS_EVERY_S, options.ping_s, options.heartbeat_s))
            now, now_ms = time.monotonic(), self._clock.now_ms()
            if self._beats and now - beat_at >= BEATS_EVERY_S:
                beat_at = now
                beats = [(service, instance, seen) for (service, instance), seen in self._beats.items()]
                self._beats.clear()
                self._ring.append(beats_frame(now_ms, beats, self._cursor))
            if now - pinged_at >= options.ping_s:
                pinged_at = now
                self._ring.append(ping_frame(now_ms, self.blind, self._cursor))
            if now - heartbeat_at >= options.heartbeat_s:
                heartbeat_at = now
                self._ring.append(heartbeat_frame(self._cursor))
            self._greetings.clear()
            self._flush()
            self._drop_frozen(now)

    def _drop_frozen(self, now: float) -> None:
        for connection in list(self._connections):
            if connection.blocked_since is not None and now - connection.blocked_since > BLOCKED_MAX_S:
                log.info("let go of a reader that took nothing for %.0f s", BLOCKED_MAX_S)
                self.leave(connection)
                connection.sink.abort()
