"""The sink of a stream under any ASGI server: it passes the bytes to ASGI's `send`."""

import asyncio
from collections import deque
from collections.abc import Callable

from litestar.types import Receive, Send

from pulseboard.hub.connection import Framing
from pulseboard.hub.fan_out import WRITE_MAX_BYTES
from pulseboard.server.streaming.framing import FINAL_BYTES_S, frame_plain


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


class AsgiSink:
    """Passes the body of a stream to ASGI's `send`, one message at a time.

    The sink accepts bytes (`writable`) until it is closed, while it has no unsent bytes.
    """

    framing: Framing = staticmethod(frame_plain)

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self.buffered_bytes = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.aborted = asyncio.Event()

    @property
    def writable(self) -> bool:
        return not (self.buffered_bytes or self._closed)

    def write(self, data: bytes) -> None:
        # A large board is sent in pieces, so that `buffered_bytes` shows the progress of a client
        # that reads slowly.
        whole = memoryview(data)
        self._pieces.extend(
            whole[at : at + WRITE_MAX_BYTES] for at in range(0, len(data), WRITE_MAX_BYTES)
        )
        self.buffered_bytes += len(data)
        self._changed.set()

    def close(self, last: bytes) -> None:
        self.write(last)
        self._closed = True
        # A client that has stopped reading never reads `last`, so the wait for it has a limit.
        asyncio.get_running_loop().call_later(FINAL_BYTES_S, self.aborted.set)

    def abort(self) -> None:
        self.close(b"")
        self.aborted.set()

    async def send_all(self, send: Send, on_writable: Callable[[], None]) -> None:
        """Send the written bytes until the sink is closed.

        Calls `on_writable` each time it has sent all written bytes.
        """
        while self._pieces or not self._closed:
            if self._pieces:
                piece = bytes(self._pieces.popleft())
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self.buffered_bytes -= len(piece)
                if not self.buffered_bytes:
                    on_writable()
            else:
                self._changed.clear()
                await self._changed.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
