"""The two streams, as raw ASGI: nothing stands between the hub and the reader that could buffer."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qs

from litestar.types import HTTPResponseStartEvent, HTTPScope, Receive, Send

from pulseboard.bus.feed.replay import FeedReplay
from pulseboard.hub.connection import Connection, Framing, View
from pulseboard.hub.fan_out import WRITE_MAX_BYTES
from pulseboard.hub.hub import Hub
from pulseboard.hub.resume import catch_up
from pulseboard.server.http.problems import Problem, send_problem
from pulseboard.server.http.query import check_parameters, parse_lines, parse_service
from pulseboard.server.streaming.uvicorn_protocol import (
    EXTENSION,
    LAST_WORDS_S,
    Extension,
    StreamProtocol,
    TransportSink,
    plain,
)
from pulseboard.wire.cursor import Cursor

KINDS = frozenset({"status", "heartbeats", "lifecycle", "log", "metric", "command", "receipt"})
PARAMETERS = ("kinds", "services", "level", "contains", "since", "lastEventId")

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    # Proxies that buffer would hold every event back until the stream ends (nginx: X-Accel-Buffering).
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


async def serve_stream(
    hub: Hub, replay: FeedReplay, scope: HTTPScope, receive: Receive, send: Send, *, seed: bool
) -> None:
    """Answer one request for a stream and serve it until either side ends it."""
    try:
        if scope["method"] not in ("GET", "HEAD"):
            raise Problem(
                405,
                "method-not-allowed",
                "A stream is read with GET.",
                headers=[(b"allow", b"GET, HEAD")],
            )
        if hub.closing:
            raise Problem(
                503,
                "stopping",
                "The server is stopping; try again in a moment.",
                headers=[(b"retry-after", b"2")],
            )
        view = _parse_view(scope, seed=seed)
    except Problem as problem:
        await send_problem(problem, send)
        return
    # HTTP/1.0 has no chunks, so there the end of the stream is the end of the connection.
    connection = {"1.1": [(b"connection", b"keep-alive")], "1.0": [(b"connection", b"close")]}
    head: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": 200,
        "headers": [*HEADERS, *connection.get(scope["http_version"], [])],
    }
    if scope["method"] == "HEAD":
        await send(head)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return
    begin = partial(_begin, hub, replay, *_parse_since(scope))
    ours: object = (scope.get("extensions") or {}).get(EXTENSION)
    if not isinstance(ours, Extension):
        await send(head)
        await _serve_on_asgi(hub, view, begin, receive, send)
        return
    sink = TransportSink(ours.protocol, ours.cycle)
    ours.protocol.stream = ours.cycle
    await send(head)
    if sink.take_over():
        await _serve_on_transport(hub, Connection(view, sink), begin, ours.protocol, receive)
    else:
        await _serve_on_asgi(hub, view, begin, receive, send)


def _parse_view(scope: HTTPScope, *, seed: bool) -> View:
    if seed:
        return View(seed=True)
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    given = [name for name, values in query.items() for _ in values]
    check_parameters(given, PARAMETERS, lists=("kinds", "services"))
    kinds = _parse_names(query.get("kinds"))
    if kinds is not None and (unknown := kinds - KINDS):
        raise Problem(
            400,
            "unknown-kind",
            f"kinds can be {', '.join(sorted(KINDS))}, not {', '.join(sorted(unknown))[:80]}.",
        )
    services = _parse_names(query.get("services"))
    for service in services or ():
        parse_service(service)
    level, contains = query.get("level", [""])[0], query.get("contains", [""])[0]
    lines = parse_lines(level, contains) if level or contains else None
    return View(kinds=kinds, services=services, lines=lines)


def _parse_names(values: list[str] | None) -> frozenset[str] | None:
    if values is None:
        return None
    return frozenset(name for value in values for name in value.split(",") if name)


def _parse_since(scope: HTTPScope) -> tuple[Cursor | None, str | None]:
    """Return where the reader is, or why that cannot be told: an EventSource would take an error for an answer for ever."""
    # A browser that reconnects by itself says where it is in the header, and repeats the older address; what stands in for
    # EventSource where there is none, and cannot set the header, adds a parameter.
    header = next(
        (value.decode("latin-1") for name, value in scope["headers"] if name == b"last-event-id"),
        "",
    )
    query = parse_qs(scope["query_string"].decode("latin-1"))
    text = header or query.get("lastEventId", query.get("since", [""]))[0]
    if not text:
        return None, None
    try:
        return Cursor.parse(text), None
    except ValueError as error:
        return None, str(error)


Begin = Callable[[Connection], Awaitable[None]]


async def _begin(
    hub: Hub, replay: FeedReplay, since: Cursor | None, reason: str | None, connection: Connection
) -> None:
    """Begin to serve a connection; it may take as long as the reader takes to read what it missed."""
    connection.reason = reason
    try:
        if not hub.join(connection, since) and since is not None:
            await catch_up(hub, replay, connection, since)
    except Exception:
        connection.sink.abort()  # or its reader would wait for ever for what does not come
        raise


async def _serve_on_transport(
    hub: Hub, connection: Connection, begin: Begin, protocol: StreamProtocol, receive: Receive
) -> None:
    protocol.on_writable = lambda: hub.pump(connection)
    beginning = asyncio.ensure_future(begin(connection))
    try:
        await disconnected(receive)
    finally:
        protocol.on_writable = None
        beginning.cancel()
        await _settle(beginning)
        # Last: redis-py may lose the cancellation (cpython #86296), and what was beginning has then begun.
        hub.leave(connection)


async def _settle(task: asyncio.Future[None]) -> None:
    """Wait for the end of a task; what it failed with is ours to answer for."""
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def disconnected(receive: Receive) -> None:
    """Wait until whoever asked is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class AsgiSink:
    """Hands a stream's body to `send`, one message at a time; writable again when the last was taken."""

    framing: Framing = staticmethod(plain)

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self.unsent = 0
        self._closed = False
        self._woken = asyncio.Event()
        self.aborted = asyncio.Event()

    @property
    def writable(self) -> bool:
        return not (self.unsent or self._closed)

    def write(self, data: bytes) -> None:
        # In pieces, or nobody could tell one that takes a large board slowly from one that takes nothing.
        whole = memoryview(data)
        self._pieces.extend(
            whole[at : at + WRITE_MAX_BYTES] for at in range(0, len(data), WRITE_MAX_BYTES)
        )
        self.unsent += len(data)
        self._woken.set()

    def close(self, last: bytes) -> None:
        self.write(last)
        self._closed = True
        # A reader that takes nothing would never have it.
        asyncio.get_running_loop().call_later(LAST_WORDS_S, self.aborted.set)

    def abort(self) -> None:
        self.close(b"")
        self.aborted.set()

    async def send_all(self, send: Send, on_writable: Callable[[], None]) -> None:
        """Send what is written until the sink is closed; `on_writable` is called when more may be."""
        while self._pieces or not self._closed:
            if self._pieces:
                piece = bytes(self._pieces.popleft())
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                self.unsent -= len(piece)
                if not self.unsent:
                    on_writable()
            else:
                self._woken.clear()
                await self._woken.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _serve_on_asgi(hub: Hub, view: View, begin: Begin, receive: Receive, send: Send) -> None:
    sink = AsgiSink()
    connection = Connection(view, sink)
    # `send` may wait for ever on a reader that is frozen, so it is not waited for alone.
    sending = asyncio.create_task(
        sink.send_all(send, lambda: hub.pump(connection)), name="pulseboard-stream-send"
    )
    gone = asyncio.create_task(disconnected(receive), name="pulseboard-stream-disconnect")
    aborted = asyncio.create_task(sink.aborted.wait(), name="pulseboard-stream-abort")
    beginning = asyncio.ensure_future(begin(connection))
    tasks = (sending, gone, aborted, beginning)
    try:
        await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        sent, _, _, begun = await asyncio.gather(*tasks, return_exceptions=True)
        hub.leave(connection)
    for failure in (sent, begun):
        # A reader that is gone is no error (ASGI 2.4 has `send` raise an OSError for it).
        if isinstance(failure, Exception) and not isinstance(failure, OSError):
            raise failure
