"""The periodic work of a hub: heartbeats, pings, keep-alives and deadlines."""

import asyncio
import time
from typing import TYPE_CHECKING

from pulseboard.bus.feed.reader import BLOCK_MS, FeedReader

if TYPE_CHECKING:
    from pulseboard.hub.hub import Hub

HEARTBEATS_EVERY_S = 1.0
REPORTS_PER_INTERVAL = 8
"""Clients must learn of silence in time.

The hub reports heartbeats every eighth of the shortest interval, but not more often than every
HEARTBEATS_AT_LEAST_S.
"""
HEARTBEATS_AT_LEAST_S = 0.1


class Ticker:
    """Runs the periodic work of one hub."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub

    async def run(self, feed: FeedReader) -> None:
        """Run until cancelled. Adapts how long a read of `feed` waits to the heartbeats."""
        hub, options = self._hub, self._hub.options
        pinged_at = kept_alive_at = time.monotonic()
        while True:
            report_every_s = self._report_every_s()
            every_s = report_every_s or HEARTBEATS_EVERY_S
            # Heartbeats must be read as often as they are reported.
            feed.block_ms = min(BLOCK_MS, int(every_s * 1000))
            await asyncio.sleep(min(every_s, options.ping_s, options.keepalive_s))
            now = time.monotonic()
            hub.report_heartbeats(even_none=report_every_s is not None and hub.blind is None)
            if now - pinged_at >= options.ping_s:
                pinged_at = now
                hub.report_ping()
            if now - kept_alive_at >= options.keepalive_s:
                kept_alive_at = now
                hub.report_keepalive()
            hub.flush()
            hub.enforce_deadlines(now)

    def _report_every_s(self) -> float | None:
        """Return how often heartbeats are reported; None if no instance declared an interval."""
        shortest_s = self._hub.board.shortest_interval_s()
        if shortest_s is None:
            return None
        return min(
            HEARTBEATS_EVERY_S, max(HEARTBEATS_AT_LEAST_S, shortest_s / REPORTS_PER_INTERVAL)
        )
