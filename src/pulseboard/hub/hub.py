"""The hub: from one feed to every reader. It lives in one event loop and never waits for a reader."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

import msgspec

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.feed.reader import BLOCK_MS, FeedReader
from pulseboard.bus.history.incidents import InstanceLoss
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection, View
from pulseboard.hub.fan_out import FanOut
from pulseboard.hub.frames import (
    board_bytes,
    bye_bytes,
    event_frame,
    heartbeats_frame,
    keepalive_frame,
    ping_frame,
    retry_bytes,
    snapshot_bytes,
)
from pulseboard.hub.freshness import observe
from pulseboard.hub.options import HubOptions
from pulseboard.hub.ring import Frame, Ring
from pulseboard.tasks import run_for_ever
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.state import State
from pulseboard.wire.views import BlindView, BoardView, CoverageGapView, Freshness

BEATS_EVERY_S = 1.0
BEATS_PER_RHYTHM = 8
"""Silence must be told in time: within an eighth of the fastest rhythm, but not oftener than BEATS_LEAST_S."""
BEATS_LEAST_S = 0.1
RETRY_MS = (500, 3_000)
"""Readers come back spread over this, so that a restart is not met by all of them at once."""
RETRY_OLD_MS = (10, 100)
"""Those that end by themselves are spread already, and their page shall hardly see it."""

log = logging.getLogger("pulseboard.hub")


class Hub:
    """Applies the feed to the board, and gives each connection what it has not seen, when it can take it."""

    def __init__(
        self,
        board: Board,
        clock: RedisClock,
        rejections: Rejections,
        options: HubOptions,
        *,
        ring: Ring | None = None,
    ) -> None:
        self.board = board
        self.ring = ring or Ring()
        self.cursor = ZERO
        self.epoch = 0
        """How often the reading began anew: a position of an earlier epoch has no continuation."""
        self.sight = Freshness(BlindView(clock.now_ms(), "no answer from Redis yet"))
        self.options = options
        self._clock = clock
        self._rejections = rejections
        self._fan_out = FanOut(self.ring, self._board_bytes)
        self._beats: dict[tuple[str, str], Heartbeat] = {}
        self._moved = asyncio.Event()
        self._arriving: set[Connection] = set()
        self._farewell: str | None = None

    @property
    def blind(self) -> BlindView | None:
        """Since when and why the server cannot see Redis; None while it can."""
        return self.sight.blind

    @property
    def now_ms(self) -> int:
        """What time it is for the board, by Redis' clock."""
        return self._clock.now_ms()

    @property
    def clients(self) -> int:
        """How many streams are open."""
        return len(self._fan_out)

    @property
    def closing(self) -> bool:
        """True once no stream is taken any more."""
        return self._farewell is not None

    async def run(self, feed: FeedReader) -> None:
        """Serve the feed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_for_ever(self._tick(feed)), name="pulseboard-hub-tick")
            async with aclosing(feed.read()) as items:
                async for item in items:
                    self.take(item)

    def take(self, item: Batch | Reset | FeedUnavailable) -> None:
        """Apply one item of the feed and flush."""
        match item:
            case FeedUnavailable(reason):
                since = self._clock.now_ms() if self.blind is None else self.blind.since
                if self.blind != (blind := BlindView(since, reason)):
                    self.sight = observe(self.sight, blind=blind)
                    self._ping()
            case Reset():
                self._restart(item)
            case Batch():
                self._apply(item)
        self._moved.set()
        self._fan_out.flush()

    def listen(self, gap: CoverageGapView | None) -> None:
        """Tell readers at once from when to when plain publishes were not heard; None: there is no such time any more."""
        self.sight = msgspec.structs.replace(self.sight, gap=gap)
        self._ping()
        self._fan_out.flush()

    def join(self, connection: Connection, since: Cursor | None = None) -> bool:
        """Begin to serve a connection: from `since` if the ring holds what followed, or without it from the board of this tick.

        False when the ring cannot say what followed: then `catch_up` may find it in Redis.
        """
        if since is not None and self._farewell is None:
            position = self.ring.find(since)
            if position is None:
                return False
            self.greet_back(connection, since)
            connection.position, connection.fresh = position, False
        self.enter(connection)
        return True

    def enter(self, connection: Connection) -> None:
        """Serve a connection from where it stands; once the hub is closing, end it."""
        if self._farewell is not None:
            self._end(connection, self._farewell)
            return
        if lifetime_s := self.options.stream_lifetime_s:
            connection.ends_at = time.monotonic() + lifetime_s * random.uniform(0.9, 1.1)  # noqa: S311
        self._fan_out.add(connection)

    def greet_back(self, connection: Connection, since: Cursor) -> None:
        """Tell one that resumes what is in no feed: who is alive by now, and whether we can see."""
        now = self._clock.now_ms()
        view, sink = connection.view, connection.sink
        heartbeats = self.board.heartbeats(view.services)
        frames = [
            heartbeats_frame(now, self.sight.observed_until, heartbeats, since),
            self._ping_frame(now, since),
        ]
        # Proxies and browsers hold a stream back until its first byte.
        frames += [keepalive_frame(since)] if view.seed else []
        sink.write(sink.framing(b"".join(view.pick(frame) or b"" for frame in frames)))

    async def reach(self, cursor: Cursor, timeout_s: float) -> bool:
        """Wait until the feed has been read up to a cursor; return whether it was."""
        return await self._wait_until(lambda: self.cursor >= cursor, timeout_s)

    async def begun(self, timeout_s: float) -> bool:
        """Wait until the board has been read from Redis; return whether it was."""
        return await self._wait_until(lambda: self.epoch > 0, timeout_s)

    async def _wait_until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not holds() and not self.closing:
                    self._moved.clear()
                    await self._moved.wait()
        return holds()

    @contextmanager
    def arriving(self, connection: Connection) -> Iterator[None]:
        """Wake a connection that is being brought up to date when the hub is closed meanwhile."""
        self._arriving.add(connection)
        try:
            yield
        finally:
            self._arriving.discard(connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection. Leaving twice is leaving once."""
        self._fan_out.discard(connection)

    def pump(self, connection: Connection) -> None:
        """Give one connection what it has not seen: it can take more."""
        self._fan_out.pump(connection)

    def close(self, reason: str) -> None:
        """End every stream with a `bye`, and take no more."""
        self._farewell = reason
        for connection in self._fan_out.take_all():
            self._end(connection, reason)
        self._moved.set()
        for connection in self._arriving:
            connection.woken.set()

    def forgettable(self) -> list[tuple[str, str, Cursor]]:
        """Return what ended so long ago that it should leave the board; while blind, nothing."""
        return (
            []
            if self.blind is not None
            else self.board.forgettable(self._clock.now_ms(), self.sight)
        )

    def states(self, service: str) -> dict[str, State]:
        """Return the state of each instance of a service, by its name; nothing where there is none."""
        return self.board.states_of(service, self.sight)

    def losses(self) -> list[InstanceLoss]:
        """Return whoever is lost and was not declared so yet; while blind, nobody."""
        return [] if self.blind is not None else self.board.losses(self.sight)

    def _end(
        self, connection: Connection, reason: str, retry_ms_between: tuple[int, int] = RETRY_MS
    ) -> None:
        sink, retry_ms = connection.sink, random.randint(*retry_ms_between)  # noqa: S311
        if connection.rest is not None:
            sink.abort()  # what came now would be in the middle of a message
            return
        if connection.view.seed:
            sink.close(sink.framing(retry_bytes(retry_ms)))
            return
        # The id would say that it has seen everything, and it would come back as if it had.
        seen = (
            self.cursor if not connection.fresh and connection.position >= self.ring.end else None
        )
        sink.close(sink.framing(bye_bytes(reason, retry_ms, seen)))

    def _see(self, observed_until: int, since: int) -> None:
        """Take a sign of life of Redis; what was said while this server was blind, it could not hear."""
        was_blind = self.blind is not None and self.epoch > 0
        self.sight = observe(
            self.sight,
            observed_until=observed_until,
            observed_since=max(since, observed_until) if was_blind else since,
        )

    def _ping(self) -> None:
        self.ring.append(self._ping_frame(self._clock.now_ms(), self.cursor))

    def _ping_frame(self, now: int, cursor: Cursor) -> Frame:
        return ping_frame(now, self.sight, cursor, self.board.omitted(now))

    def _restart(self, reset: Reset) -> None:
        self._see(reset.observed_until, reset.observed_since)
        self.board.reset(reset)
        self._refill(reset)
        self.cursor = reset.cursor
        self._beats.clear()
        self._fan_out.begin_anew(reset.reason if self.epoch else None)
        self.epoch += 1

    def _refill(self, reset: Reset) -> None:
        """Begin the ring with what happened last: readers that come back after a restart then need not ask Redis each."""
        recent = reset.recent
        if not recent or recent[-1].cursor != reset.cursor:
            self.ring.clear(reset.cursor)
            return
        self.ring.clear(recent[0].cursor)
        for entry in recent[1:]:
            self.ring.append(event_frame(entry))
        # After them, for whoever appeared in them has beaten since.
        self.ring.append(
            heartbeats_frame(
                self._clock.now_ms(),
                self.sight.observed_until,
                self.board.heartbeats(),
                reset.cursor,
            )
        )

    def _apply(self, batch: Batch) -> None:
        was_blind = self.blind is not None
        self._see(batch.observed_until, batch.observed_since)
        for entry in batch.entries:
            try:
                self.board.apply(entry)
            except InvalidEvent as error:
                # The board has no room for it, but readers see it pass.
                self._rejections.add(error, f"feed entry {entry.cursor}")
            self.cursor = entry.cursor
            self.ring.append(event_frame(entry))
        for heartbeat in batch.heartbeats:
            if self.board.apply_heartbeat(heartbeat):
                self._beats[heartbeat.service, heartbeat.instance] = heartbeat
        if was_blind:
            # First who was heard meanwhile, then that we can judge again.
            self._tell_beats()
            self._ping()

    def _tell_beats(self) -> None:
        heartbeats = list(self._beats.values())
        self._beats.clear()
        self.ring.append(
            heartbeats_frame(
                self._clock.now_ms(), self.sight.observed_until, heartbeats, self.cursor
            )
        )

    def _board_bytes(self, view: View) -> bytes:
        if view.seed:
            return snapshot_bytes(self.board.snapshot(), self.cursor)

        def shown(service: str) -> bool:
            return view.services is None or service in view.services

        board = BoardView(
            **msgspec.structs.asdict(self.sight),
            now=self._clock.now_ms(),
            omitted=self.board.omitted(self._clock.now_ms()),
            ping_s=self.options.ping_s,
            version=self.options.version,
            insecure=self.options.insecure,
            expect=[name for name in self.board.expected if shown(name)],
            instances=self.board.view(view.services),
            incidents=[incident for incident in self.board.incidents if shown(incident.service)],
        )
        return board_bytes(board, self.cursor)

    def _beats_every_s(self) -> float | None:
        """Return how often signs of life are told; None when there are none to wait for."""
        fastest_s = self.board.fastest_s()
        if fastest_s is None:
            return None
        return min(BEATS_EVERY_S, max(BEATS_LEAST_S, fastest_s / BEATS_PER_RHYTHM))

    async def _tick(self, feed: FeedReader) -> None:
        options = self.options
        pinged_at = heartbeat_at = time.monotonic()
        while True:
            beats_every_s = self._beats_every_s()
            every_s = beats_every_s or BEATS_EVERY_S
            feed.block_ms = min(
                BLOCK_MS, int(every_s * 1000)
            )  # what is told so often must be heard as often
            await asyncio.sleep(min(every_s, options.ping_s, options.keepalive_s))
            now = time.monotonic()
            if self._beats or (beats_every_s is not None and self.blind is None):
                self._tell_beats()
            if now - pinged_at >= options.ping_s:
                pinged_at = now
                self._ping()
            if now - heartbeat_at >= options.keepalive_s:
                heartbeat_at = now
                self.ring.append(keepalive_frame(self.cursor))
            self._fan_out.flush()
            self._fan_out.let_go(options.write_deadline_s)
            self._end_old(now)

    def _end_old(self, now: float) -> None:
        """End the streams that have lived their time: they come back on any server, so that none keeps more than its share."""
        for connection in self._fan_out.take_old(now):
            self._end(
                connection,
                "this stream has lived its time; the next goes on where it ended",
                RETRY_OLD_MS,
            )
