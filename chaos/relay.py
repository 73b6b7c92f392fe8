"""A TCP relay between a server and Redis, which an experiment can freeze.

A frozen relay forwards no byte, reports no error, and does not answer new connections.
"""

from __future__ import annotations

import asyncio
from typing import Self

_CHUNK_BYTES = 1 << 18


class Relay:
    """A relay that keeps data while it is frozen, and forwards the data afterwards.

    To both sides this looks like a network that drops packets, and then works again.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._forwarding = asyncio.Event()
        self._forwarding.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def freeze(self) -> None:
        """Stop forwarding in both directions."""
        self._forwarding.clear()

    def thaw(self) -> None:
        """Forward the kept data, and continue to forward."""
        self._forwarding.set()

    async def _serve(self, source: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        target: asyncio.StreamWriter | None = None
        try:
            await self._forwarding.wait()
            responses, target = await asyncio.open_connection("127.0.0.1", self._target_port)
            directions = [
                asyncio.create_task(self._forward(source, target)),
                asyncio.create_task(self._forward(responses, writer)),
            ]
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
        # OSError: Redis is unreachable, so the connection ends. CancelledError: the relay is
        # closing, and asyncio would log a cancelled callback as a failure.
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for side in (writer, target):
                if side is not None:
                    side.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(_CHUNK_BYTES):
            await self._forwarding.wait()
            sink.write(data)
            await sink.drain()
