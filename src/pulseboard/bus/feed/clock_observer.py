"""One feed reader's observation of Redis' clock: detects a clock that was set."""

import time

import redis.asyncio

from pulseboard.bus.clock import RedisClock, fetch_time
from pulseboard.bus.keys import Keys

CLOCK_CHECK_EVERY_S = 2.0
JUMP_MS = 2_000
"""Gain between two reads that shows that Redis' clock was set ahead.

Every silence then looks longer than it was.
"""
SET_BACK_MS = 500
"""Delay that shows that Redis' clock was set back.

Or a failover led to a host with a slower clock.
"""


class ClockObserver:
    """Keeps a `RedisClock` in step with Redis, and detects a clock that was set ahead or back.

    The methods that detect a jump return the time, in ms by Redis' clock, from which the silence of
    an instance counts; 0 when the clock was not set.
    """

    def __init__(self, clock: RedisClock, keys: Keys) -> None:
        self._clock = clock
        self._keys = keys
        self._checked_at = float("-inf")
        self._observed_until_ms = 0  # by Redis' clock
        self._observed_at = 0.0  # by time.monotonic()

    @property
    def is_check_due(self) -> bool:
        """Whether Redis must be asked for its time again."""
        return time.monotonic() - self._checked_at > CLOCK_CHECK_EVERY_S

    def now_ms(self) -> int:
        """Return ms since the epoch by Redis' clock."""
        return self._clock.now_ms()

    async def check(self, client: redis.asyncio.Redis, *, first: bool) -> int:
        """Ask Redis for its time; return the time from which silence counts if it was set back.

        At the first check, the expected time is that of this machine's clock and proves nothing.
        """
        asked_at, expected_ms = time.monotonic(), self._clock.now_ms()
        now_ms = await fetch_time(client, self._keys)
        self._clock.set(now_ms, asked_at)
        self._checked_at = time.monotonic()
        return now_ms if not first and now_ms < expected_ms - SET_BACK_MS else 0

    def restart(self, observed_until_ms: int) -> None:
        """Continue from a snapshot, or another complete observation, of this time."""
        self._observed_until_ms, self._observed_at = observed_until_ms, time.monotonic()

    def advance(self, observed_until_ms: int, asked_ms: int) -> int:
        """Note that everything up to a time was read; detect a clock that was set ahead.

        `asked_ms` is the time when the read began. Returns the time from which silence counts after
        a jump, else 0.
        """
        if observed_until_ms < asked_ms - SET_BACK_MS:
            # The reader is behind, or Redis' clock was set back: the next check, at once, shows
            # which.
            self._checked_at = float("-inf")
        before_ms, before_at = self._observed_until_ms, self._observed_at
        self.restart(observed_until_ms)
        gained_ms = observed_until_ms - before_ms - (self._observed_at - before_at) * 1000
        return observed_until_ms if gained_ms > JUMP_MS else 0
