"""Waiting for what must come, which nobody announces."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(holds: Callable[[], bool | Awaitable[bool]], within_s: float) -> bool:
    """Wait until a condition holds; return False when it did not in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = holds()
        if await answer if inspect.isawaitable(answer) else answer:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
