"""A link between a server and Redis that can be frozen: no error, no byte, and new connections are met with silence too."""

from __future__ import annotations

import asyncio
from typing import Self

_PIECE_BYTES = 1 << 18


class Link:
    """A TCP relay. What is on the way when it freezes is held, and goes on when it thaws, as after a healed partition."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def freeze(self) -> None:
        """Let nothing through, in neither direction."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let through what was held, and what comes."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.current_task()
        assert relay is not None
        self._relays.add(relay)
        back: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            answers, back = await asyncio.open_connection("127.0.0.1", self._target_port)
            ways = [
                asyncio.create_task(self._forward(reader, back)),
                asyncio.create_task(self._forward(answers, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        # Redis is away, and so is this link; or we close, which the callback of asyncio's streams takes for a failure.
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._relays.discard(relay)
            for side in (writer, back):
                if side is not None:
                    side.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_PIECE_BYTES):
            await self._flowing.wait()
            sink.write(data)
            await sink.drain()
