"""Run an action periodically until a stop event is set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pulseboard.demo.commands import PauseSwitch


async def sleep_until_stop(stop: asyncio.Event, seconds: float) -> None:
    """Sleep for `seconds`, or until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


async def repeat(
    action: Callable[[], Awaitable[object]],
    interval_s: float,
    stop: asyncio.Event,
    pause_switch: PauseSwitch | None = None,
) -> None:
    """Repeat an action until `stop` is set, with a sleep of `interval_s` after each run.

    The next run starts after the sleep, so two runs never overlap. While `pause_switch` is paused,
    no further run starts.
    """
    while not stop.is_set():
        await action()
        await sleep_until_stop(stop, interval_s)
        if pause_switch is not None:
            await pause_switch.wait_until_resumed(stop)
