"""Doing something again and again until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pulseboard.demo.control import Hold


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not past `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def repeat(
    action: Callable[[], Awaitable[object]],
    interval_s: float,
    stop: asyncio.Event,
    hold: Hold | None = None,
) -> None:
    """Run an action with a pause after each run, so that a slow run is never overtaken by the next; none while held."""
    while not stop.is_set():
        await action()
        await pause(stop, interval_s)
        if hold is not None:
            await hold.wait(stop)
