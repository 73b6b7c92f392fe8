"""The hub: sends one feed to every client, in one event loop, without waiting for a client."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from contextlib import aclosing

import msgspec

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.feed.reader import FeedReader
from pulseboard.bus.history.incidents import InstanceLoss
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.board_encoder import encode_board
from pulseboard.hub.connection import Connection
from pulseboard.hub.fan_out import FanOut
from pulseboard.hub.frames import event_frame, heartbeats_frame, keepalive_frame, ping_frame
from pulseboard.hub.freshness import observe
from pulseboard.hub.options import HubOptions
from pulseboard.hub.resume import UNKNOWN, Replay, resume
from pulseboard.hub.ring import Frame, Ring
from pulseboard.hub.ticker import Ticker
from pulseboard.hub.view import View
from pulseboard.tasks import run_for_ever
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.instances import InstanceKey
from pulseboard.wire.state import State
from pulseboard.wire.views import BlindView, CoverageGapView, Freshness

RETRY_MS = (500, 3_000)
"""The range of random delays before clients reconnect, so that they do not all come at once."""
RETRY_EXPIRED_MS = (10, 100)
"""The range after the lifetime of a stream, which the hub already makes random per client."""
EXPIRED = "this stream reached its maximum lifetime; the next one continues from here"


class Hub:
    """Applies the feed to the board and the ring, and serves the attached connections.

    `replay` reads missed events from Redis for clients that return; without it they receive a
    `reset` when the ring lacks those events.
    """

    def __init__(
        self,
        board: Board,
        clock: RedisClock,
        rejections: Rejections,
        options: HubOptions,
        *,
        replay: Replay | None = None,
        ring: Ring | None = None,
    ) -> None:
        self.board = board
        self.ring = ring or Ring()
        self.cursor = ZERO
        self.epoch = 0
        """The number of resets so far: positions of an earlier epoch have no continuation."""
        self.freshness = Freshness(BlindView(clock.now_ms(), "no answer from Redis yet"))
        self.options = options
        self._clock = clock
        self._rejections = rejections
        self._replay = replay
        self._fan_out = FanOut(self.ring, self._encode_board)
        self._unreported: dict[InstanceKey, Heartbeat] = {}
        self._advanced = asyncio.Event()
        self._resuming: set[Connection] = set()
        self._close_reason: str | None = None

    @property
    def blind(self) -> BlindView | None:
        """Since when and why the server cannot reach Redis; None while it can."""
        return self.freshness.blind

    @property
    def now_ms(self) -> int:
        """The current time by Redis' clock, in ms."""
        return self._clock.now_ms()

    @property
    def clients(self) -> int:
        """The number of open streams."""
        return len(self._fan_out)

    @property
    def closing(self) -> bool:
        """True once the hub attaches no more connections."""
        return self._close_reason is not None

    async def run(self, feed: FeedReader) -> None:
        """Apply the feed until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_for_ever(Ticker(self).run(feed)), name="pulseboard-hub-tick")
            async with aclosing(feed.read()) as items:
                async for item in items:
                    self.apply(item)

    def apply(self, item: Batch | Reset | FeedUnavailable) -> None:
        """Apply one item of the feed and flush."""
        match item:
            case FeedUnavailable(reason):
                since = self._clock.now_ms() if self.blind is None else self.blind.since
                if self.blind != (blind := BlindView(since, reason)):
                    self.freshness = observe(self.freshness, blind=blind)
                    self.report_ping()
            case Reset():
                self._apply_reset(item)
            case Batch():
                self._apply_batch(item)
        self._advanced.set()
        self._fan_out.flush()

    def report_gap(self, gap: CoverageGapView | None) -> None:
        """Report the latest coverage gap to the clients at once; None: no gap remains."""
        self.freshness = msgspec.structs.replace(self.freshness, gap=gap)
        self.report_ping()
        self._fan_out.flush()

    async def attach(
        self,
        connection: Connection,
        since: Cursor | None = None,
        *,
        reset_reason: str | None = None,
    ) -> None:
        """Serve a connection: from `since` if the missed events are available, else from a board.

        Waits only while the connection receives missed events from Redis. `reset_reason` explains
        to a client that tried to resume why it receives a board instead. Once the hub is closing,
        the stream ends at once.
        """
        if reset_reason is not None:
            connection.await_board(reset_reason)
        if (
            since is not None
            and not self.closing
            and not self._resume_from_ring(connection, since)
            and not await self._resume_from_redis(connection, since)
        ):
            return
        if self._close_reason is not None:
            self._close(connection, self._close_reason)
            return
        if lifetime_s := self.options.stream_lifetime_s:
            connection.ends_at = time.monotonic() + lifetime_s * random.uniform(0.9, 1.1)  # noqa: S311
        self._fan_out.attach(connection)

    def detach(self, connection: Connection) -> None:
        """Stop serving a connection; do nothing if it is not attached."""
        self._fan_out.detach(connection)

    def resume_writing(self, connection: Connection) -> None:
        """Continue a connection whose sink accepts bytes again."""
        self._fan_out.resume_writing(connection)

    def close(self, reason: str) -> None:
        """End every stream with a `bye`, and attach no more connections."""
        self._close_reason = reason
        for connection in self._fan_out.detach_all():
            self._close(connection, reason)
        self._advanced.set()
        for connection in self._resuming:
            connection.wake_resume()

    def write_liveness(self, connection: Connection, cursor: Cursor) -> None:
        """Give a connection that resumes the facts that are in no feed entry.

        These are the last sign of life of each instance, and whether the server can reach Redis.
        """
        view, sink = connection.view, connection.sink
        heartbeats = self.board.heartbeats(view.services)
        frames = [self._heartbeats_frame(heartbeats, cursor), self._ping_frame(cursor)]
        if view.status_stream:
            # Proxies and browsers withhold a stream until its first byte.
            frames.append(keepalive_frame(cursor))
        sink.write(sink.framing(b"".join(view.pick(frame) or b"" for frame in frames)))

    async def wait_for_cursor(self, cursor: Cursor, timeout_s: float) -> bool:
        """Wait until the feed has been read up to a cursor; return whether it was."""
        return await self._wait_until(lambda: self.cursor >= cursor, timeout_s)

    async def wait_for_board(self, timeout_s: float) -> bool:
        """Wait until the board has been read from Redis; return whether it was."""
        return await self._wait_until(lambda: self.epoch > 0, timeout_s)

    def evictable(self) -> list[tuple[str, str, Cursor]]:
        """Return the instances to remove from the board; none while blind."""
        if self.blind is not None:
            return []
        return self.board.evictable(self._clock.now_ms(), self.freshness)

    def losses(self) -> list[InstanceLoss]:
        """Return the instances that are lost and not yet declared lost; none while blind."""
        return [] if self.blind is not None else self.board.losses(self.freshness)

    def states(self, service: str) -> dict[str, State]:
        """Return the state of each instance of a service, by its name."""
        return self.board.states_of(service, self.freshness)

    def flush(self) -> None:
        """Give every connection the frames that it has not received."""
        self._fan_out.flush()

    def report_heartbeats(self, *, even_none: bool = True) -> None:
        """Append a frame of the heartbeats since the last such frame.

        `even_none`: append it even if it has no heartbeats.
        """
        if self._unreported or even_none:
            heartbeats = list(self._unreported.values())
            self._unreported.clear()
            self.ring.append(self._heartbeats_frame(heartbeats, self.cursor))

    def report_ping(self) -> None:
        """Append a `ping`."""
        self.ring.append(self._ping_frame(self.cursor))

    def report_keepalive(self) -> None:
        """Append a keep-alive comment."""
        self.ring.append(keepalive_frame(self.cursor))

    def enforce_deadlines(self, now: float) -> None:
        """Abort clients that read nothing, and end the streams that reached their lifetime.

        `now` is of the monotonic clock. An expired client reconnects to any server, so that no
        server keeps more than its share.
        """
        self._fan_out.abort_stalled(self.options.write_deadline_s)
        for connection in self._fan_out.detach_expired(now):
            self._close(connection, EXPIRED, RETRY_EXPIRED_MS)

    def _resume_from_ring(self, connection: Connection, since: Cursor) -> bool:
        position = self.ring.find(since)
        if position is None:
            return False
        self.write_liveness(connection, since)
        connection.follow(position)
        return True

    async def _resume_from_redis(self, connection: Connection, since: Cursor) -> bool:
        """Bring a connection up to the ring, or to the board; return False if it was aborted."""
        if self._replay is None:
            connection.await_board(UNKNOWN)
            return True
        self._resuming.add(connection)
        try:
            return await resume(self, self._replay, connection, since)
        finally:
            self._resuming.discard(connection)

    async def _wait_until(self, holds: Callable[[], bool], timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not holds() and not self.closing:
                    self._advanced.clear()
                    await self._advanced.wait()
        return holds()

    def _close(
        self, connection: Connection, reason: str, retry_range_ms: tuple[int, int] = RETRY_MS
    ) -> None:
        position = connection.position
        # Only a client that has every frame gets the hub's cursor. A client that is behind would
        # resume from it, and miss the events in between.
        has_all = position is not None and position >= self.ring.end
        retry_ms = random.randint(*retry_range_ms)  # noqa: S311
        connection.close(reason, retry_ms, self.cursor if has_all else None)

    def _observe(self, observed_until: int, observed_since: int) -> None:
        """Note an answer of Redis. The server could observe nothing while it was blind."""
        was_blind = self.blind is not None and self.epoch > 0
        self.freshness = observe(
            self.freshness,
            observed_until=observed_until,
            observed_since=max(observed_since, observed_until) if was_blind else observed_since,
        )

    def _apply_reset(self, reset: Reset) -> None:
        self._observe(reset.observed_until, reset.observed_since)
        self.board.reset(reset)
        self._refill_ring(reset)
        self.cursor = reset.cursor
        self._unreported.clear()
        self._fan_out.require_board(reset.reason if self.epoch else None)
        self.epoch += 1

    def _refill_ring(self, reset: Reset) -> None:
        """Begin the ring with the last events, so that few clients resume from Redis afterwards."""
        recent = reset.recent
        if not recent or recent[-1].cursor != reset.cursor:
            self.ring.clear(reset.cursor)
            return
        self.ring.clear(recent[0].cursor)
        for entry in recent[1:]:
            self.ring.append(event_frame(entry))
        # The frame follows the events, because their instances have sent heartbeats since then.
        self.ring.append(self._heartbeats_frame(self.board.heartbeats(), reset.cursor))

    def _apply_batch(self, batch: Batch) -> None:
        was_blind = self.blind is not None
        self._observe(batch.observed_until, batch.observed_since)
        for entry in batch.entries:
            try:
                self.board.apply(entry)
            except InvalidEvent as error:
                # The board has no room for this instance, but clients receive the event.
                self._rejections.add(error, f"feed entry {entry.cursor}")
            self.cursor = entry.cursor
            self.ring.append(event_frame(entry))
        for heartbeat in batch.heartbeats:
            if self.board.apply_heartbeat(heartbeat):
                self._unreported[heartbeat.service, heartbeat.instance] = heartbeat
        if was_blind:
            # The heartbeats come first: with the ping, clients judge states again.
            self.report_heartbeats()
            self.report_ping()

    def _heartbeats_frame(self, heartbeats: list[Heartbeat], cursor: Cursor) -> Frame:
        now, observed_until = self._clock.now_ms(), self.freshness.observed_until
        return heartbeats_frame(now, observed_until, heartbeats, cursor)

    def _ping_frame(self, cursor: Cursor) -> Frame:
        now = self._clock.now_ms()
        return ping_frame(now, self.freshness, cursor, self.board.omitted(now))

    def _encode_board(self, view: View) -> bytes:
        now = self._clock.now_ms()
        return encode_board(view, self.board, self.freshness, self.options, now, self.cursor)
