"""Our HTTP protocol: uvicorn's, and a way for a stream to write to the socket itself.

A frame that goes to a thousand readers is then one `transport.write` each, without a task, a queue and an ASGI message
for every one of them.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pulseboard.hub.connection import Framing

EXTENSION = "pulseboard.transport"
HEAD_MAX_BYTES = 64 * 1024
HEAD_MAX_S = 10.0
"""What takes longer to say what it wants than this wants the connection alone."""
LAST_WORDS_S = 1.0
"""How long a reader that is behind may take to read its last bytes."""
UNSENT_MAX_BYTES = 32 * 1024
"""What the kernel takes of a stream beyond what it can send at once. What a frozen reader has not taken stays in the ring, which
all share; left to itself the kernel buffers up to 4 MB for each of them (tcp(7), TCP_NOTSENT_LOWAT)."""
SILENT_PEER_MS = 60_000
"""What a peer has not acknowledged for so long will not be: the kernel then ends the connection (tcp(7), TCP_USER_TIMEOUT)."""


class Extension(NamedTuple):
    """What a stream gets of the connection that its request came on."""

    protocol: "StreamProtocol"
    cycle: RequestResponseCycle


class StreamProtocol(HttpToolsProtocol):
    """Hands itself to the application in `scope["extensions"]`, and tells a stream when it may write on."""

    on_writable: Callable[[], None] | None = None
    stream: RequestResponseCycle | None = None
    """The request that is being served as a stream."""
    _in_head = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:  # type: ignore[no-untyped-def]
        super().connection_made(transport)
        self._await_head()
        sock = transport.get_extra_info("socket")
        if (
            sock is not None
            and sock.family in (socket.AF_INET, socket.AF_INET6)
            and hasattr(socket, "TCP_USER_TIMEOUT")
        ):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_PEER_MS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX_BYTES)

    def data_received(self, data: bytes) -> None:
        latest: RequestResponseCycle | None = self.cycle
        if latest is None or latest.response_complete:
            self._await_head()  # uvicorn has ended its own wait with the first byte, whatever that is
        super().data_received(data)
        # Neither uvicorn nor llhttp has a bound of its own here.
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._await_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._stop_awaiting_head()
        # Not looked up later: by then `self.cycle` may be that of the next request on this connection.
        self.scope["extensions"] = {EXTENSION: Extension(self, self.cycle)}  # type: ignore[dict-item]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_awaiting_head()
        # uvicorn tells only the latest request of a connection, which may be one that waits behind the stream.
        if self.stream is not None:
            self.stream.disconnected = True
            self.stream.message_event.set()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_MAX_S, self.transport.close)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def plain(data: bytes) -> bytes:
    """Frame bytes for a response that ends with the connection."""
    return data


class TransportSink:
    """Writes a stream's body to its connection. It must be made before the response's head is sent, and used after."""

    def __init__(self, protocol: StreamProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._transport = protocol.transport
        # Whatever the kernel does not take at once is waited for, before anything more is handed over.
        self._transport.set_write_buffer_limits(high=0)
        self._chunked = cycle.scope["http_version"] == "1.1"
        if not self._chunked:
            cycle.chunked_encoding = (
                False  # uvicorn would chunk for HTTP/1.0 too, which knows no chunks
            )
        self.framing: Framing = chunk if self._chunked else plain

    def take_over(self) -> bool:
        """Return whether the head is written, so that the body may follow; else leave the response to `send`.

        A host's middleware may hold the head back, and what is written past it would come before it.
        """
        if not self._cycle.response_started:
            self._cycle.chunked_encoding = None
        return self._cycle.response_started

    @property
    def writable(self) -> bool:
        return not (self._protocol.flow.write_paused or self._transport.is_closing())

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # uvloop raises where asyncio passes over it
            self._transport.write(data)

    def close(self, last: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(last + (b"0\r\n\r\n" if self._chunked else b""))
            self._transport.close()
            # It closes when all is written, which for a reader that takes nothing is never.
            self._protocol.loop.call_later(LAST_WORDS_S, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()
