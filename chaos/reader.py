"""A reader as a browser is one: it resumes by cursor, backs off, moves between servers, and writes down what it got."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from typing import TYPE_CHECKING

from chaos.ids import pack
from chaos.ledger import Log, Streak
from chaos.plain import Span, overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCHDOG_S = 8.0
"""Pings come every second: a stream that was silent for so long is dead, whatever TCP says."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
READ_BYTES = 1 << 18
SMALL_BUFFER_BYTES = 4_096
EVENTS = (b"status", b"lifecycle")
"""What has a place in the feed of its own, and so is owed."""

_BLOCK = re.compile(
    rb"(?:id: (\d+-\d+)\n)?(?:event: (\w+)\n)?(?:retry: (\d+)\n)?(?:data: ([^\n]*)\n)?\Z"
)
_NOW = re.compile(rb'"now":(\d+)')
_BLIND = re.compile(rb'"blind":(null|\{)')
_DEAF = re.compile(rb'"gap":\{"since":(\d+),"until":(\d+|null)')
_SKIPPED = re.compile(rb'"(\w+)":(\d+)')


class StreamEnd(Exception):
    """The stream ended, was refused or fell silent; there will be another."""


class Reader:
    """One reader of `/api/stream`, over as many connections as it takes."""

    def __init__(self, ports: Sequence[int], *, first: int = 0, small_buffer: bool = False) -> None:
        self.ports = list(ports)
        self._at = first
        self._small_buffer = small_buffer
        self._cursor = b""
        self._streak: Streak | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._rest = b""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._heard_at = time.monotonic()
        self._blind_since: float | None = None
        self._retry_s = 0.0
        self.log = Log()
        self.last = 0
        """The id of the last event that came."""
        self.longest_blind_s = 0.0
        self.longest_silence_s = 0.0
        self.gap: list[Span] = []
        """When no server heard plain publishes, as it was told: of each time the last word."""
        self._deaf_told = False
        self.farthest_now_ms = 0
        """How far the `now` of a server was from this machine's clock, at most."""
        self.connects = 0

    async def run(self) -> None:
        """Read until cancelled."""
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                await self._visit(self.port)
            except (OSError, StreamEnd, TimeoutError, ValueError, asyncio.IncompleteReadError):
                self._at += 1
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(max(self._retry_s, pause_s * random.uniform(0.5, 1.0)))
            self._retry_s, pause_s = 0.0, min(LONGEST_PAUSE_S, pause_s * 2)

    def drop(self) -> None:
        """Hang up in the middle of whatever comes."""
        if self._writer is not None:
            self._writer.transport.abort()

    def leave(self) -> None:
        """Hang up as one who is done."""
        if self._writer is not None:
            self._writer.close()

    def move(self) -> None:
        """Hang up, and go on at the next server."""
        self._at += 1 if random.random() < 0.5 else 2
        self.drop()

    def pause(self) -> None:
        """Take nothing from the socket until `go_on`."""
        self._flowing.clear()

    def go_on(self) -> None:
        """Read on after a pause, which is nobody's silence but its own."""
        self._heard_at = time.monotonic()
        self._flowing.set()

    @property
    def port(self) -> int:
        """The server that it is at, or tries."""
        return self.ports[self._at % len(self.ports)]

    @property
    def claim(self) -> int:
        """Up to where it was told that it has seen everything."""
        return self._streak.claim if self._streak is not None else 0

    @property
    def blind(self) -> bool:
        return self._blind_since is not None

    async def _visit(self, port: int) -> None:
        sock = socket.socket()
        if self._small_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(WATCHDOG_S):
                await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
                source, self._writer = await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise
        self._rest = b""
        self._deaf_told = False
        try:
            self._writer.write(self._request())
            async with asyncio.timeout(WATCHDOG_S):
                head = await source.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
                raise StreamEnd
            self.connects += 1
            await self._read(source)
        finally:
            self._writer.transport.abort()
            self._writer = None

    def _request(self) -> bytes:
        since = self._cursor.decode()
        by_header = random.random() < 0.5
        path = "/api/stream" if by_header or not since else f"/api/stream?since={since}"
        resume = f"Last-Event-ID: {since}\r\n" if by_header and since else ""
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{resume}\r\n".encode()

    async def _read(self, source: asyncio.StreamReader) -> None:
        held = b""
        while True:
            await self._flowing.wait()
            async with asyncio.timeout(WATCHDOG_S):
                data = await source.read(READ_BYTES)
            if not data:
                raise StreamEnd
            body, held, ended = unchunk(held + data)
            self._take(body)
            if ended:
                raise StreamEnd

    def _take(self, body: bytes) -> None:
        whole, found, rest = (self._rest + body).rpartition(b"\n\n")
        if not found:
            self._rest += body
            return
        self._rest = rest
        now = time.monotonic()
        self.longest_silence_s = max(self.longest_silence_s, now - self._heard_at)
        self._heard_at = now
        for block in whole.split(b"\n\n"):
            self._take_block(block + b"\n", now)

    def _take_block(self, block: bytes, now: float) -> None:
        match = _BLOCK.match(block)
        if match is None:
            return  # a comment
        id, event, retry, data = match.groups()
        if retry:
            self._retry_s = int(retry) / 1000
        if id:
            self._cursor = id
        if event in EVENTS:
            self._take_event(pack(id), now)
        elif event in (b"reset", b"skipped"):
            self._end_streak(event.decode(), data, now)
        elif id:
            if event in (b"board", b"ping"):
                self._look(data, now)
            if self._streak is None and event == b"board":
                self._streak = Streak(pack(id))
                self.log.streaks.append(self._streak)
            if self._streak is not None:
                self._streak.claim = max(self._streak.claim, pack(id))

    def _note_deaf(self, word: re.Match[bytes] | None) -> None:
        """Keep what a server says, in the place of what was said of the same time: it learns what others heard."""
        if word is None:
            if self._deaf_told:  # and this very server takes it back
                self.gap.pop()
                self._deaf_told = False
            return
        span = Span(int(word[1]), None if word[2] == b"null" else int(word[2]))
        if self.gap and overlap(self.gap[-1], span):
            self.gap.pop()
        self.gap.append(span)
        self._deaf_told = True

    def _take_event(self, id: int, now: float) -> None:
        self.last = id
        if self._streak is None:
            self.log.orphans += 1
        else:
            self._streak.add(id, now)

    def _end_streak(self, how: str, data: bytes, now: float) -> None:
        if self._streak is None:
            return
        self._streak.ended, self._streak.ended_at = how, now
        if how == "skipped":
            counts = {kind: int(count) for kind, count in _SKIPPED.findall(data)}
            self._streak.skipped = sum(counts.get(kind, 0) for kind in EVENTS)
        self._streak = None

    def _look(self, data: bytes, now: float) -> None:
        head = data[:400]
        if (said := _NOW.search(head)) is not None:
            self.farthest_now_ms = max(
                self.farthest_now_ms, abs(int(said[1]) - time.time_ns() // 1_000_000)
            )
        self._note_deaf(_DEAF.search(head))
        blind = _BLIND.search(head)
        if blind is None:
            return
        if blind[1] == b"{":
            self._blind_since = self._blind_since or now
        if self._blind_since is not None:
            self.longest_blind_s = max(self.longest_blind_s, now - self._blind_since)
        if blind[1] == b"null":
            self._blind_since = None


def unchunk(data: bytes) -> tuple[bytes, bytes, bool]:
    """Take the chunks out of a body (RFC 9112, 7.1): return their content, what is not whole yet, and whether it ended."""
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
