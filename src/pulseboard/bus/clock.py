"""Redis' clock, by which all ages and states are computed.

A server asks Redis for the time every 2 s, and adds the time that has passed since the answer.
"""

import time

import redis.asyncio

from pulseboard.bus.keys import Keys
from pulseboard.bus.scripts import read_script


class RedisClock:
    """An estimate of the time by Redis' clock; until the first `set`, the clock of this machine."""

    def __init__(self) -> None:
        self._offset_ms = time.time() * 1000 - _monotonic_ms()

    def set(self, redis_ms: float, asked_at: float) -> None:
        """Set the clock to `redis_ms`, the result of `fetch_time`; call this at once after it.

        `asked_at` is the value of `time.monotonic()` before the request. The method assumes that
        Redis read its time halfway between request and answer.
        """
        answered_ms = _monotonic_ms()
        self._offset_ms = redis_ms - (asked_at * 1000 + answered_ms) / 2

    def now_ms(self) -> int:
        """Return ms since the epoch by Redis' clock."""
        return int(_monotonic_ms() + self._offset_ms)


async def fetch_time(client: redis.asyncio.Redis, keys: Keys) -> int:
    """Fetch the time by the board's clock, in ms.

    The board's clock is Redis' own clock. If that was set back, the board's clock is ahead of it
    for a while, because the board's clock never goes back (lua/clock.lua).
    """
    return int(
        await client.eval(read_script("sync_clock"), 3, keys.feed, keys.clock, keys.heartbeats)
    )


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
