"""Exports: everything in a time range as JSON Lines, oldest first, without a limit.

Invariant: an incomplete export says so. Its last line is a problem document, and the body is not
terminated, so an HTTP client reports an error too.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send

from pulseboard.hub.hub import Hub
from pulseboard.server.http.errors_to_problems import to_problem
from pulseboard.server.http.problems import Problem, stopping_problem
from pulseboard.server.http.responses import JSON_LINES
from pulseboard.server.streaming.asgi_sink import wait_for_disconnect
from pulseboard.wire.errors import PulseboardError

FORMATS = ("json", "jsonl")

Pages = AsyncGenerator[Sequence[msgspec.Struct], None]
"""The values of an export, page by page. May raise BusUnavailable or HistoryTrimmed."""

log = logging.getLogger("pulseboard.server")

_encoder = msgspec.json.Encoder()


def wants_export(request: Request[Any, Any, Any], form: str | None) -> bool:
    """Return whether the client asks for JSON Lines (`?format=jsonl`).

    Raises a Problem for an unknown format, or for a parameter that an export does not have.
    """
    if form not in (None, *FORMATS):
        detail = f"format must be {' or '.join(FORMATS)}, not {form[:40]!a}."
        raise Problem(400, "bad-parameter", detail, parameter="format")
    if form != "jsonl":
        return False
    for name in ("limit", "before"):
        if name in request.query_params:
            detail = f"An export has everything from `from` to `to`, so `{name}` is not allowed."
            raise Problem(400, "bad-parameter", detail, parameter=name)
    return True


async def export(hub: Hub, name: str, pages: Pages) -> Response[bytes]:
    """Return a response with all `pages`, as a file with this name.

    The first page is read before the response begins, so an error there becomes a proper error
    response.
    """
    return _ExportResponse(hub, name, await _read_next(pages), pages)


class _ExportResponse(Response[bytes]):
    def __init__(
        self, hub: Hub, name: str, first: Sequence[msgspec.Struct] | None, pages: Pages
    ) -> None:
        super().__init__(b"")
        self._hub = hub
        self._name = name
        self._first = first
        self._pages = pages

    def to_asgi_response(self, app: Any, request: Any, **more: Any) -> ASGIApp:  # type: ignore[override]
        return self._serve

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pages):
            await send(self._head())
            if cast("HTTPScope", scope)["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            disconnected = asyncio.ensure_future(wait_for_disconnect(receive))
            try:
                await self._send_all(send, disconnected)
            except TimeoutError:
                log.info("closed the export %s: the client has stopped reading", self._name)
            finally:
                disconnected.cancel()

    def _head(self) -> HTTPResponseStartEvent:
        headers = [
            (b"content-type", JSON_LINES.encode()),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _send_all(self, send: Send, disconnected: asyncio.Future[None]) -> None:
        page = self._first
        try:
            while page is not None and not disconnected.done():
                if self._hub.closing:
                    raise stopping_problem()
                await self._send(send, _encoder.encode_lines(page))
                page = await _read_next(self._pages)
        except PulseboardError as error:
            problem = to_problem(error)
            if problem is None:
                raise
            await self._break_off(send, problem)
        else:
            await self._send(send, b"", more=False)

    async def _break_off(self, send: Send, problem: Problem) -> None:
        """Send a problem as the last line.

        The body has no end, so the server closes the connection.
        """
        log.warning("the export %s is incomplete: %s", self._name, problem)
        await self._send(send, _encoder.encode_lines([problem.document]))

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._hub.options.write_deadline_s):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _read_next(pages: Pages) -> Sequence[msgspec.Struct] | None:
    # `anext(pages, None)` raises SystemError for a generator without any page (cpython #128078).
    try:
        return await anext(pages)
    except StopAsyncIteration:
        return None
