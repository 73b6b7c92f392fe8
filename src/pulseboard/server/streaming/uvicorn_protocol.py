"""Our HTTP protocol for uvicorn: it lets a stream write to its connection directly.

A frame for 1,000 clients is then one `transport.write` for each, without a task, a queue and an
ASGI message per client.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

EXTENSION = "pulseboard.transport"
"""The key of `scope["extensions"]` with the Extension."""
HEAD_MAX_BYTES = 64 * 1024
HEAD_MAX_S = 10.0
"""Time for the head of a request. A slower client only wants to occupy the connection."""
UNSENT_MAX_BYTES = 32 * 1024
"""Bytes that the kernel accepts for a connection beyond those that it can send.

See tcp(7), TCP_NOTSENT_LOWAT. Everything else that a frozen client has not read stays in the ring,
which all clients share. By default the kernel would buffer up to 4 MB for each client.
"""
PEER_TIMEOUT_MS = 60_000
"""Time after which the kernel ends a connection whose peer acknowledges nothing.

See tcp(7), TCP_USER_TIMEOUT.
"""


class Extension(NamedTuple):
    """What a stream gets to write to the connection of its request."""

    protocol: "StreamProtocol"
    cycle: RequestResponseCycle


class StreamProtocol(HttpToolsProtocol):
    """Adds an Extension to each scope, and calls a stream back when it may write again."""

    on_writable: Callable[[], None] | None = None
    stream: RequestResponseCycle | None = None
    """The request that is being served as a stream."""
    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        super().connection_made(transport)
        self._start_head_timer()
        sock = transport.get_extra_info("socket")
        if (
            sock is not None
            and sock.family in (socket.AF_INET, socket.AF_INET6)
            and hasattr(socket, "TCP_USER_TIMEOUT")
        ):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)

    def data_received(self, data: bytes) -> None:
        latest: RequestResponseCycle | None = self.cycle
        if latest is None or latest.response_complete:
            # uvicorn stops its own timer at the first byte, even if that is not part of a request.
            self._start_head_timer()
        super().data_received(data)
        # Neither uvicorn nor llhttp limits the size of a head.
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._stop_head_timer()
        # Stored here, because `self.cycle` changes when the next request arrives on this
        # connection.
        self.scope["extensions"] = {EXTENSION: Extension(self, self.cycle)}  # type: ignore[dict-item]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_head_timer()
        # uvicorn informs only the latest request of a connection, which may be one behind the
        # stream.
        if self.stream is not None:
            self.stream.disconnected = True
            self.stream.message_event.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_MAX_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
