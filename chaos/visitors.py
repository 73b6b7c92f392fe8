"""Visitors: they open the board, read for a while, and leave politely, rudely or without a word; some come back."""

from __future__ import annotations

import asyncio
import random

from chaos.http import get
from chaos.reader import Reader

STAY_S = 8.0
"""How long one reads, on average."""
AWAY_S = 0.5
FROZEN_S = 40.0
"""Longer than a server waits for a reader that takes nothing."""
PATHS = ("/services", "/api/services/status", "/healthz", "/nothing-here")


class Visitors:
    """So many at a time, for as long as the context is entered."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self.visits = 0

    async def __aenter__(self) -> Visitors:
        self._tasks = [asyncio.create_task(self._come_and_go()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failure(self) -> BaseException | None:
        """Return why a visitor ended by itself, which none should."""
        return next(
            (task.exception() for task in self._tasks if task.done() and not task.cancelled()), None
        )

    async def _come_and_go(self) -> None:
        reader = Reader([self._port])
        while True:
            self.visits += 1
            if random.random() < 0.5:  # the others resume
                reader = Reader([self._port], small_buffer=random.random() < 0.2)
            reading = asyncio.create_task(reader.run())
            try:
                await self._stay(reader)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await get(self._port, random.choice(PATHS))
            await asyncio.sleep(random.expovariate(1 / AWAY_S))

    async def _stay(self, reader: Reader) -> None:
        await asyncio.sleep(random.expovariate(1 / STAY_S))
        how = random.random()
        if how < 0.1:
            reader.pause()
            await asyncio.sleep(random.uniform(0, FROZEN_S))
        elif how < 0.5:
            reader.leave()
            await asyncio.sleep(0.05)
        reader.log.streaks.clear()  # they keep what they see no longer than they look at it
