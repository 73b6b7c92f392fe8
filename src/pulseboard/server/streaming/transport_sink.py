"""The sink of a stream under our own protocol: it writes to the connection's transport."""

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from pulseboard.hub.connection import Framing
from pulseboard.server.streaming.framing import FINAL_BYTES_S, frame_chunk, frame_plain
from pulseboard.server.streaming.uvicorn_protocol import StreamProtocol


class TransportSink:
    """Writes a stream's body to its connection.

    Create it before the head of the response is sent, and call `take_over` after that.
    """

    def __init__(self, protocol: StreamProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._transport = protocol.transport
        # With no buffer above the kernel's, `writable` is False until the kernel has accepted
        # everything that was written before.
        self._transport.set_write_buffer_limits(high=0)
        self._chunked = cycle.scope["http_version"] == "1.1"
        if not self._chunked:
            # uvicorn would send chunks with HTTP/1.0 too, which has none.
            cycle.chunked_encoding = False
        self.framing: Framing = frame_chunk if self._chunked else frame_plain

    def take_over(self) -> bool:
        """Return whether the head was written, so that the body may follow.

        The middleware of a host application may hold back the head, and bytes written here would
        arrive before it. Then this sink must not be used: the body belongs to `send`.
        """
        if not self._cycle.response_started:
            self._cycle.chunked_encoding = None
        return self._cycle.response_started

    @property
    def writable(self) -> bool:
        return not (self._protocol.flow.write_paused or self._transport.is_closing())

    @property
    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # uvloop raises here, asyncio ignores the call
            self._transport.write(data)

    def close(self, last: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(last + (b"0\r\n\r\n" if self._chunked else b""))
            self._transport.close()
            # `close` waits until all is written, which never happens if the client has stopped
            # reading.
            self._protocol.loop.call_later(FINAL_BYTES_S, self._transport.abort)

    def abort(self) -> None:
        self._transport.abort()
