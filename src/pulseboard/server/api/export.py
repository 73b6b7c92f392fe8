"""Exports: a span of the past as JSON Lines, the oldest first, however long it is.

Invariant: an export that is not whole says so. Its last line is then a problem document, and its body is broken off, so that
whoever reads it by HTTP gets an error from its own client as well.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol, cast

import msgspec
from litestar import Request, Response
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Receive, Scope, Send

from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import bus_errors_as_problems
from pulseboard.server.http.responses import JSON_LINES
from pulseboard.server.streaming.endpoint import disconnected
from pulseboard.wire.errors import BusUnavailable, HistoryTrimmed

FORMATS = ("json", "jsonl")

Pages = AsyncGenerator[Sequence[msgspec.Struct], None]
"""What is exported, some at a time. May raise BusUnavailable or Overtaken."""

log = logging.getLogger("pulseboard.server")

_encoder = msgspec.json.Encoder()


class Host(Protocol):
    """What an export must know of the server that it runs in."""

    @property
    def closing(self) -> bool: ...

    @property
    def write_deadline_s(self) -> float: ...


def wants_export(request: Request[Any, Any, Any], form: str | None) -> bool:
    """Return whether JSON Lines are asked for (`?format=jsonl`); raise a Problem for another format, or what goes not with it."""
    if form not in (None, *FORMATS):
        raise Problem(
            400,
            "bad-parameter",
            f"format must be {' or '.join(FORMATS)}, not {form[:40]!a}.",
            parameter="format",
        )
    if form != "jsonl":
        return False
    for name in ("limit", "before"):
        if name in request.query_params:
            raise Problem(
                400,
                "bad-parameter",
                f"An export is the whole from `from` to `to`: it takes no `{name}`.",
                parameter=name,
            )
    return True


async def export(host: Host, name: str, pages: Pages) -> Response[bytes]:
    """Answer with all of `pages`, as a file of this name; raise a Problem when not even the first can be had."""
    with bus_errors_as_problems():
        first = await _next(pages)
    return _Export(host, name, first, pages)


class _Export(Response[bytes]):
    def __init__(
        self, host: Host, name: str, first: Sequence[msgspec.Struct] | None, pages: Pages
    ) -> None:
        super().__init__(b"")
        self._host = host
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
            gone = asyncio.ensure_future(disconnected(receive))
            try:
                await self._send_all(send, gone)
            except TimeoutError:
                log.info("let go of a reader that took nothing of the export %s", self._name)
            finally:
                gone.cancel()

    def _head(self) -> HTTPResponseStartEvent:
        headers = [
            (b"content-type", JSON_LINES.encode()),
            (b"content-disposition", f'attachment; filename="{self._name}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _send_all(self, send: Send, gone: asyncio.Future[None]) -> None:
        page = self._first
        try:
            while page is not None and not gone.done():
                if self._host.closing:
                    raise Problem(503, "stopping", "The server is stopping; try again in a moment.")
                await self._send(send, _encoder.encode_lines(page))
                page = await _next(self._pages)
        except BusUnavailable as error:
            await self._break_off(
                send, Problem(503, "redis-unavailable", f"Redis cannot be reached: {error}")
            )
        except HistoryTrimmed as error:
            await self._break_off(
                send, Problem(503, "overtaken", f"The export has a gap here: {error}.")
            )
        except Problem as problem:
            await self._break_off(send, problem)
        else:
            await self._send(send, b"", more=False)

    async def _break_off(self, send: Send, problem: Problem) -> None:
        # The body is not ended, which every server takes for a reason to break the connection off.
        log.warning("the export %s was broken off: %s", self._name, problem)
        await self._send(send, _encoder.encode_lines([problem.document]))

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        async with asyncio.timeout(self._host.write_deadline_s):
            await send({"type": "http.response.body", "body": body, "more_body": more})


async def _next(pages: Pages) -> Sequence[msgspec.Struct] | None:
    # Not `anext(pages, None)`: that is a SystemError where there is no page at all (cpython #128078).
    try:
        return await anext(pages)
    except StopAsyncIteration:
        return None
