"""The endpoints of the two streams, as raw ASGI, so that no layer above the hub buffers.

`GET /api/services/status/stream` is the status stream of the original specification,
`GET /api/stream` is the event stream.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send

from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.view import View
from pulseboard.server.http.problems import Problem, send_problem, stopping_problem
from pulseboard.server.http.stream_query import ResumePoint, parse_resume_point, parse_view
from pulseboard.server.streaming.asgi_sink import AsgiSink, wait_for_disconnect
from pulseboard.server.streaming.transport_sink import TransportSink
from pulseboard.server.streaming.uvicorn_protocol import EXTENSION, Extension, StreamProtocol

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    # A proxy that buffers would hold back each event until the stream ends (nginx:
    # X-Accel-Buffering).
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]

_CONNECTION_HEADERS = {
    "1.1": [(b"connection", b"keep-alive")],
    # HTTP/1.0 has no chunks, so there the end of the connection is the end of the stream.
    "1.0": [(b"connection", b"close")],
}

Attach = Callable[[Connection], Awaitable[None]]


def routes(hub: Hub) -> list[ASGIRouteHandler]:
    """Return the routes of the streams."""
    streams = Streams(hub)

    @asgi("/api/services/status/stream", copy_scope=False)
    async def status_stream(scope: Scope, receive: Receive, send: Send) -> None:
        http_scope = cast("HTTPScope", scope)
        await streams.serve(http_scope, receive, send, lambda _: View(status_stream=True))

    @asgi("/api/stream", copy_scope=False)
    async def event_stream(scope: Scope, receive: Receive, send: Send) -> None:
        await streams.serve(cast("HTTPScope", scope), receive, send, parse_view)

    return [status_stream, event_stream]


class Streams:
    """Serves streams: each request becomes a connection of the hub until either side ends it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def serve(
        self,
        scope: HTTPScope,
        receive: Receive,
        send: Send,
        parse: Callable[[HTTPScope], View],
    ) -> None:
        """Answer one request for a stream.

        `parse` returns which events the client wants, or raises a Problem.
        """
        try:
            self._check(scope)
            view = parse(scope)
        except Problem as problem:
            await send_problem(problem, send)
            return
        head = _make_head(scope)
        if scope["method"] == "HEAD":
            await send(head)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        attach = partial(self._attach, parse_resume_point(scope))
        extension: object = (scope.get("extensions") or {}).get(EXTENSION)
        if not isinstance(extension, Extension):
            await send(head)
            await self._serve_on_asgi(view, attach, receive, send)
            return
        sink = TransportSink(extension.protocol, extension.cycle)
        extension.protocol.stream = extension.cycle
        await send(head)
        if sink.take_over():
            connection = Connection(view, sink)
            await self._serve_on_transport(connection, attach, extension.protocol, receive)
        else:
            await self._serve_on_asgi(view, attach, receive, send)

    def _check(self, scope: HTTPScope) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise Problem(
                405,
                "method-not-allowed",
                "Read a stream with GET.",
                headers=[(b"allow", b"GET, HEAD")],
            )
        if self._hub.closing:
            raise stopping_problem()

    async def _attach(self, resume: ResumePoint, connection: Connection) -> None:
        """Attach a connection to the hub.

        Takes as long as the client needs to read what it missed.
        """
        try:
            await self._hub.attach(connection, resume.since, reset_reason=resume.error)
        except Exception:
            # The client would wait forever for events that nothing sends.
            connection.sink.abort()
            raise

    async def _serve_on_transport(
        self, connection: Connection, attach: Attach, protocol: StreamProtocol, receive: Receive
    ) -> None:
        protocol.on_writable = lambda: self._hub.resume_writing(connection)
        attaching = asyncio.ensure_future(attach(connection))
        try:
            await wait_for_disconnect(receive)
        finally:
            protocol.on_writable = None
            attaching.cancel()
            # An exception of `attach` is raised here, so that the framework logs it.
            with contextlib.suppress(asyncio.CancelledError):
                await attaching
            # Last, because redis-py may lose the cancellation (cpython #86296), and then the
            # connection has been attached meanwhile.
            self._hub.detach(connection)

    async def _serve_on_asgi(
        self, view: View, attach: Attach, receive: Receive, send: Send
    ) -> None:
        sink = AsgiSink()
        connection = Connection(view, sink)
        # `send` may wait forever for a frozen client, so this waits for other ends as well.
        sending = asyncio.create_task(
            sink.send_all(send, lambda: self._hub.resume_writing(connection)),
            name="pulseboard-stream-send",
        )
        disconnected = asyncio.create_task(
            wait_for_disconnect(receive), name="pulseboard-stream-disconnect"
        )
        aborted = asyncio.create_task(sink.aborted.wait(), name="pulseboard-stream-abort")
        attaching = asyncio.ensure_future(attach(connection))
        tasks = (sending, disconnected, aborted, attaching)
        try:
            await asyncio.wait(tasks[:3], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            sent, _, _, attached = await asyncio.gather(*tasks, return_exceptions=True)
            self._hub.detach(connection)
        for failure in (sent, attached):
            # ASGI 2.4 has `send` raise an OSError when the client has disconnected.
            if isinstance(failure, Exception) and not isinstance(failure, OSError):
                raise failure


def _make_head(scope: HTTPScope) -> HTTPResponseStartEvent:
    connection = _CONNECTION_HEADERS.get(scope["http_version"], [])
    return {"type": "http.response.start", "status": 200, "headers": [*HEADERS, *connection]}
