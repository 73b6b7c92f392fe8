"""A client that behaves like a browser and records everything that it receives.

It resumes by cursor, reconnects with growing delays, and moves between servers.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from typing import TYPE_CHECKING

from chaos.deliveries import ClientLog, Segment
from chaos.external import ReportedGap, overlap
from chaos.ids import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

SILENCE_LIMIT_S = 8.0
"""A stream that is silent for this time is dead, because servers send a ping every second."""
FIRST_DELAY_S, MAX_DELAY_S = 0.05, 1.0
READ_SIZE_BYTES = 1 << 18
SMALL_BUFFER_BYTES = 4_096
EVENTS = (b"status", b"lifecycle")
"""Events with an entry of their own in the feed. A client must receive each of them."""

_BLOCK = re.compile(
    rb"(?:id: (\d+-\d+)\n)?(?:event: (\w+)\n)?(?:retry: (\d+)\n)?(?:data: ([^\n]*)\n)?\Z"
)
_NOW = re.compile(rb'"now":(\d+)')
_BLIND = re.compile(rb'"blind":(null|\{)')
_GAP = re.compile(rb'"gap":\{"since":(\d+),"until":(\d+|null)')
_SKIPPED = re.compile(rb'"(\w+)":(\d+)')


class StreamEnd(Exception):
    """The stream ended, was refused or fell silent; the client reconnects."""


class Client:
    """One client of `/api/stream`, over any number of connections."""

    def __init__(self, ports: Sequence[int], *, first: int = 0, small_buffer: bool = False) -> None:
        self.ports = list(ports)
        self._server_index = first
        self._small_buffer = small_buffer
        self._cursor = b""
        self._segment: Segment | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._rest = b""
        self._reading = asyncio.Event()
        self._reading.set()
        self._received_at = time.monotonic()
        self._blind_since: float | None = None
        self._retry_s = 0.0
        self.log = ClientLog()
        self.last_id = 0
        """The id of the last event that arrived."""
        self.longest_blind_s = 0.0
        self.longest_silence_s = 0.0
        self.gaps: list[ReportedGap] = []
        """The coverage gaps that servers reported; the latest report about each."""
        self._has_gap = False
        """Whether the current connection reported the last gap."""
        self.max_clock_error_ms = 0
        """The largest difference between the `now` of a server and the clock of this machine."""
        self.connections = 0

    async def run(self) -> None:
        """Read until cancelled."""
        delay_s = FIRST_DELAY_S
        while True:
            began = time.monotonic()
            try:
                await self._connect_and_read(self.port)
            except (OSError, StreamEnd, TimeoutError, ValueError, asyncio.IncompleteReadError):
                self._server_index += 1
            if time.monotonic() - began > MAX_DELAY_S:
                delay_s = FIRST_DELAY_S
            await asyncio.sleep(max(self._retry_s, delay_s * random.uniform(0.5, 1.0)))
            self._retry_s, delay_s = 0.0, min(MAX_DELAY_S, delay_s * 2)

    def abort(self) -> None:
        """Reset the connection, possibly in the middle of a frame."""
        if self._writer is not None:
            self._writer.transport.abort()

    def close(self) -> None:
        """Close the connection in the regular way."""
        if self._writer is not None:
            self._writer.close()

    def reconnect_anywhere(self) -> None:
        """Reset the connection and resume at a random server."""
        self._server_index += 1 if random.random() < 0.5 else 2
        self.abort()

    def pause(self) -> None:
        """Stop reading from the socket until `resume`."""
        self._reading.clear()

    def resume(self) -> None:
        """Read again after a pause, which does not count as silence of the server."""
        self._received_at = time.monotonic()
        self._reading.set()

    @property
    def port(self) -> int:
        """The server to which it is connected or connects next."""
        return self.ports[self._server_index % len(self.ports)]

    @property
    def position(self) -> int:
        """The last id that any frame of the current segment carried."""
        return self._segment.position if self._segment is not None else 0

    @property
    def blind(self) -> bool:
        return self._blind_since is not None

    async def _connect_and_read(self, port: int) -> None:
        sock = socket.socket()
        if self._small_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(SILENCE_LIMIT_S):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                source, self._writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        self._rest = b""
        self._has_gap = False
        try:
            self._writer.write(self._format_request())
            async with asyncio.timeout(SILENCE_LIMIT_S):
                head = await source.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
                raise StreamEnd
            self.connections += 1
            await self._read(source)
        finally:
            self._writer.transport.abort()
            self._writer = None

    def _format_request(self) -> bytes:
        since = self._cursor.decode()
        by_header = random.random() < 0.5
        path = "/api/stream" if by_header or not since else f"/api/stream?since={since}"
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream"]
        if by_header and since:
            lines.append(f"Last-Event-ID: {since}")
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()

    async def _read(self, source: asyncio.StreamReader) -> None:
        incomplete = b""
        while True:
            await self._reading.wait()
            async with asyncio.timeout(SILENCE_LIMIT_S):
                data = await source.read(READ_SIZE_BYTES)
            if not data:
                raise StreamEnd
            body, incomplete, ended = decode_chunks(incomplete + data)
            self._parse(body)
            if ended:
                raise StreamEnd

    def _parse(self, body: bytes) -> None:
        complete, found, rest = (self._rest + body).rpartition(b"\n\n")
        if not found:
            self._rest += body
            return
        self._rest = rest
        now = time.monotonic()
        self.longest_silence_s = max(self.longest_silence_s, now - self._received_at)
        self._received_at = now
        for block in complete.split(b"\n\n"):
            self._handle_block(block + b"\n", now)

    def _handle_block(self, block: bytes, now: float) -> None:
        match = _BLOCK.match(block)
        if match is None:
            return  # a comment
        id, event, retry, data = match.groups()
        if retry:
            self._retry_s = int(retry) / 1000
        if id:
            self._cursor = id
        if event in EVENTS:
            self._handle_event(pack(id), now)
        elif event in (b"reset", b"skipped"):
            self._end_segment(event.decode(), data, now)
        elif id:
            if event in (b"board", b"ping"):
                self._read_server_state(data, now)
            if self._segment is None and event == b"board":
                self._segment = Segment(pack(id))
                self.log.segments.append(self._segment)
            if self._segment is not None:
                self._segment.position = max(self._segment.position, pack(id))

    def _handle_event(self, id: int, now: float) -> None:
        self.last_id = id
        if self._segment is None:
            self.log.orphans += 1
        else:
            self._segment.add(id, now)

    def _end_segment(self, event: str, data: bytes, now: float) -> None:
        if self._segment is None:
            return
        self._segment.ended, self._segment.ended_at = event, now
        if event == "skipped":
            counts = {kind: int(count) for kind, count in _SKIPPED.findall(data)}
            self._segment.skipped = sum(counts.get(kind, 0) for kind in EVENTS)
        self._segment = None

    def _read_server_state(self, data: bytes, now: float) -> None:
        head = data[:400]
        if (server_now := _NOW.search(head)) is not None:
            error_ms = abs(int(server_now[1]) - time.time_ns() // 1_000_000)
            self.max_clock_error_ms = max(self.max_clock_error_ms, error_ms)
        self._record_gap(_GAP.search(head))
        blind = _BLIND.search(head)
        if blind is None:
            return
        if blind[1] == b"{":
            self._blind_since = self._blind_since or now
        if self._blind_since is not None:
            self.longest_blind_s = max(self.longest_blind_s, now - self._blind_since)
        if blind[1] == b"null":
            self._blind_since = None

    def _record_gap(self, match: re.Match[bytes] | None) -> None:
        """Record a reported gap; it replaces an earlier report that overlaps.

        A server corrects its report when it learns which messages other servers received.
        """
        if match is None:
            if self._has_gap:  # the same server withdraws its report
                self.gaps.pop()
                self._has_gap = False
            return
        gap = ReportedGap(int(match[1]), None if match[2] == b"null" else int(match[2]))
        if self.gaps and overlap(self.gaps[-1], gap):
            self.gaps.pop()
        self.gaps.append(gap)
        self._has_gap = True


def decode_chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """Decode a chunked body (RFC 9112, section 7.1).

    Returns the content of the complete chunks, the rest, and whether the last chunk was found.
    """
    parts: list[bytes] = []
    at = 0
    while (line_end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line_end].partition(b";")[0], 16)
        start = line_end + 2
        if size == 0:
            return b"".join(parts), b"", True
        if len(data) < start + size + 2:
            break
        parts.append(data[start : start + size])
        at = start + size + 2
    return b"".join(parts), data[at:], False
