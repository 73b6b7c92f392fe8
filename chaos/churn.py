"""Clients that come and go: they open the stream, read, and close, abort or freeze it."""

from __future__ import annotations

import asyncio
import random

from chaos.client import Client
from chaos.http import get

STAY_S = 8.0
"""The mean time for which a client reads."""
AWAY_S = 0.5
FROZEN_S = 40.0
"""The maximum time for which a client does not read. A server closes it earlier."""
PATHS = ("/services", "/api/services/status", "/healthz", "/nothing-here")


class ClientChurn:
    """Keeps `count` clients active while the context is open."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []
        self.visits = 0

    async def __aenter__(self) -> ClientChurn:
        self._tasks = [asyncio.create_task(self._visit_repeatedly()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def failure(self) -> BaseException | None:
        """Return the exception of a client task that ended unexpectedly, or None."""
        return next(
            (task.exception() for task in self._tasks if task.done() and not task.cancelled()), None
        )

    async def _visit_repeatedly(self) -> None:
        client = Client([self._port])
        while True:
            self.visits += 1
            if random.random() < 0.5:  # the other half resumes with its cursor
                client = Client([self._port], small_buffer=random.random() < 0.2)
            reading = asyncio.create_task(client.run())
            try:
                await self._stay(client)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await get(self._port, random.choice(PATHS))
            await asyncio.sleep(random.expovariate(1 / AWAY_S))

    async def _stay(self, client: Client) -> None:
        await asyncio.sleep(random.expovariate(1 / STAY_S))
        ending = random.random()
        if ending < 0.1:
            client.pause()
            await asyncio.sleep(random.uniform(0, FROZEN_S))
        elif ending < 0.5:
            client.close()
            await asyncio.sleep(0.05)
        client.log.segments.clear()  # this program does not check deliveries
