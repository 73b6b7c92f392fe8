"""Redis' clock, the only one that ages and liveness are judged by, carried on between looks by the monotonic clock."""

import time

import redis.asyncio

from pulseboard.bus.keys import Keys
from pulseboard.bus.scripts import read_script


class RedisClock:
    """What time it is on Redis. Before the first look it follows this machine's own clock."""

    def __init__(self) -> None:
        self._offset_ms = time.time() * 1000 - _monotonic_ms()

    def set(self, redis_ms: float, asked_at: float) -> None:
        """Take an answer of `look` in ms; `asked_at` is `time.monotonic()` when it was asked, so half the way there counts."""
        answered_ms = _monotonic_ms()
        self._offset_ms = redis_ms - (asked_at * 1000 + answered_ms) / 2

    def now_ms(self) -> int:
        """Return ms since the epoch by Redis' clock."""
        return int(_monotonic_ms() + self._offset_ms)


async def look(client: redis.asyncio.Redis, keys: Keys) -> int:
    """Ask for the time of the board in ms: Redis' own, or ahead of it where that has gone back (lua/clock.lua)."""
    return int(
        await client.eval(read_script("sync_clock"), 3, keys.feed, keys.clock, keys.heartbeats)
    )


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
