"""Wait for a condition by polling."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable


async def wait_until(holds: Callable[[], bool | Awaitable[bool]], within_s: float) -> bool:
    """Poll until a condition holds; return False when it does not within the limit."""
    deadline = time.monotonic() + within_s
    while True:
        result = holds()
        if await result if inspect.isawaitable(result) else result:
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
