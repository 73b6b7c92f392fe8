"""Reading the event stream across lost connections, restarts and silent servers.

Invariant: the stream resumes at its cursor, so a loss or a duplicate is always announced by `reset`
or `skipped`.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, NamedTuple

import httpx
import msgspec

from pulseboard.cli.api import Api, Query, explain
from pulseboard.wire.errors import ServerRefused, ServerUnreachable

FIRST_PAUSE_S, MAX_PAUSE_S = 0.25, 5.0
FIRST_SILENCE_S = 30.0
"""Longer than the default keep-alive interval. After `board` the ping interval is known."""
MISSED_PINGS = 3
MIN_SILENCE_S = 3.0
_BUSY = (408, 425, 429)


class Message(NamedTuple):
    """One message with its data as JSON. `id` is the cursor after it, where the stream resumes."""

    event: str
    id: str
    data: bytes

    def decode(self) -> Any:
        """Return the decoded data."""
        return msgspec.json.decode(self.data)


class Away(NamedTuple):
    """The server cannot be read. The next message means that it is back."""

    reason: str


class Live:
    """One client of `/api/stream`. `opened` counts how often the stream was opened."""

    def __init__(self, api: Api, query: Query, *, since: str = "") -> None:
        self._api = api
        self._query = dict(query)
        self.cursor = since
        self.opened = 0
        self._silence_s = FIRST_SILENCE_S
        self._retry_s = 0.0

    async def read(self) -> AsyncGenerator[Message | Away, None]:
        """Yield messages forever. Raise ServerRefused if a retry cannot help."""
        failures = 0
        while True:
            reason = ""
            try:
                async with aclosing(self._read_connection()) as messages:
                    async for message in messages:
                        failures = 0
                        yield message
            except ServerUnreachable as error:
                reason = str(error)
            except ServerRefused as error:
                if error.status < 500 and error.status not in _BUSY:
                    raise
                reason = str(error)
            if reason:
                yield Away(reason)
            longest_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**failures)
            pause_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311
            failures = min(failures + 1, 10)
            await asyncio.sleep(max(self._retry_s, pause_s))
            self._retry_s = 0.0

    async def _read_connection(self) -> AsyncGenerator[Message, None]:
        """Yield the messages of one connection; return after `bye`."""
        query = self._query | ({"since": self.cursor} if self.cursor else {})
        async with self._api.open(
            "/api/stream", query, silence_s=max(FIRST_SILENCE_S, self._silence_s)
        ) as answer:
            self.opened += 1
            parser, got_bye = SseParser(), False
            try:
                pieces = answer.aiter_bytes()
                while (data := await self._next(pieces)) is not None:
                    for message in parser.feed(data):
                        got_bye = message.event == "bye"
                        if message.event == "board":
                            self._read_ping_interval(message)
                        if message.id:
                            self.cursor = message.id
                        yield message
            except httpx.ReadTimeout as error:
                raise ServerUnreachable(f"{self._api.url} has sent nothing for too long") from error
            except httpx.TransportError as error:
                raise ServerUnreachable(
                    f"{self._api.url} closed the connection: {explain(error)}"
                ) from error
            finally:
                self._retry_s = parser.retry_ms / 1000
            if not got_bye:
                raise ServerUnreachable(f"{self._api.url} ended the stream")

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        """Return the next bytes, or None at the end of the stream."""
        try:
            async with asyncio.timeout(self._silence_s):
                return await anext(pieces)
        except StopAsyncIteration:
            return None
        except TimeoutError as error:
            raise ServerUnreachable(f"{self._api.url} has sent nothing for too long") from error

    def _read_ping_interval(self, board: Message) -> None:
        ping_s = msgspec.json.decode(board.data, type=_PingInterval).ping_s
        self._silence_s = max(MIN_SILENCE_S, MISSED_PINGS * ping_s)


class _PingInterval(msgspec.Struct):
    ping_s: float = FIRST_SILENCE_S / MISSED_PINGS


class SseParser:
    """Parses Server-Sent Events incrementally (WHATWG HTML, 9.2.6).

    `retry_ms` is the reconnection delay that the server requested.
    """

    def __init__(self) -> None:
        self.retry_ms = 0
        self._rest = bytearray()
        self._event = self._id = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete."""
        searched = len(self._rest)
        self._rest += data
        start = 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            line = bytes(self._rest[start:end]).removesuffix(b"\r")
            start = end + 1
            if line:
                self._parse_line(line)
            elif (message := self._dispatch()) is not None:
                yield message
        del self._rest[:start]

    def _parse_line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id":
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) < 10:
                self.retry_ms = int(value)

    def _dispatch(self) -> Message | None:
        message = (
            Message(self._event or "message", self._id, b"\n".join(self._data))
            if self._data
            else None
        )
        self._event, self._id = "", ""
        self._data.clear()
        return message
