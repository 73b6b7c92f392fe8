"""Redis' clock, by which all ages and states are computed.

The monotonic clock continues it between two readings.
"""

import time

import redis.asyncio

from pulseboard.bus.keys import Keys
from pulseboard.bus.scripts import read_script


class RedisClock:
    """The time on Redis. Before the first reading it follows the clock of this machine."""

    def __init__(self) -> None:
        self._offset_ms = time.time() * 1000 - _monotonic_ms()

    def set(self, redis_ms: float, asked_at: float) -> None:
        """Set the clock from an answer of `fetch_time` in ms.

        `asked_at` is the `time.monotonic()` of the request. The clock assumes that Redis read its
        time halfway between request and answer.
        """
        answered_ms = _monotonic_ms()
        self._offset_ms = redis_ms - (asked_at * 1000 + answered_ms) / 2

    def now_ms(self) -> int:
        """Return ms since the epoch by Redis' clock."""
        return int(_monotonic_ms() + self._offset_ms)


async def fetch_time(client: redis.asyncio.Redis, keys: Keys) -> int:
    """Return the time of the board in ms.

    It is Redis' own, or ahead of it after Redis' clock went back (lua/clock.lua).
    """
    return int(
        await client.eval(read_script("sync_clock"), 3, keys.feed, keys.clock, keys.heartbeats)
    )


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
