"""The application: which path is answered by what."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import Annotated, Any, cast

from litestar import Litestar, Request, Response, asgi, route
from litestar.exceptions import HTTPException, NotFoundException, ValidationException
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler, HTTPScope, Method, Receive, Scope, Send

from pulseboard.server.charts import POINTS_MOST, read_chart, read_metrics
from pulseboard.server.core import Core
from pulseboard.server.exposition import MEDIA_TYPE, expose
from pulseboard.server.incidents import INCIDENTS_MOST, read_incidents
from pulseboard.server.past import MOST, read_lines, read_statuses
from pulseboard.server.problems import Problem, answer_fault, answer_http_error, answer_invalid, answer_problem
from pulseboard.server.stream import serve_stream
from pulseboard.server.version import VERSION
from pulseboard.wire.events import encode

STATIC = Path(__file__).parent / "static"

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
FRESH = {"cache-control": "no-store"}
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
REVALIDATED = {"cache-control": "no-cache"}

READ: list[Method] = ["GET", "HEAD"]
"""RFC 9110, 9.1: whatever answers GET must answer HEAD."""

_NAMED_BY_CONTENT = re.compile(r".+-[\w-]{8}\.\w+")
"""What Vite calls a file whose content will never be another."""


def create_app(core: Core) -> Litestar:
    """Return the ASGI application around a core, which it enters at start-up and leaves at shutdown."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        async with core:
            yield

    return Litestar(
        [*_reads(core), *_streams(core), *_operations(core), *_page()],
        lifespan=[lifespan],
        exception_handlers={
            Problem: answer_problem,
            ValidationException: answer_invalid,
            HTTPException: answer_http_error,
            Exception: answer_fault,
        },
        openapi_config=OpenAPIConfig(
            "Pulseboard", VERSION, path="/schema", render_plugins=[JsonRenderPlugin(path="/openapi.json")]
        ),
        request_max_body_size=65_536,
        logging_config=None,
        debug=False,
    )


def _reads(core: Core) -> list[ControllerRouterHandler]:
    @route(
        "/api/services/status",
        http_method=READ,
        sync_to_thread=False,
        summary="The latest status of every service, by its camelCase name",
    )
    def status() -> Response[bytes]:
        return _json(core.hub.board.snapshot())

    @route(
        "/api/incidents",
        http_method=READ,
        summary="Losses of instances, the latest first, each with the last words of its instance",
    )
    async def incidents(
        service: FromQuery[str | None] = None,
        before: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=INCIDENTS_MOST)] = 50,
    ) -> Response[bytes]:
        return _json(await read_incidents(core.incidents, service, before, limit))

    @route("/api/services/{name:str}/history", http_method=READ, summary="What a service said of its status, in order")
    async def history(
        name: FromPath[str],
        start: Annotated[str | None, QueryParameter(name="from")] = None,
        end: Annotated[str | None, QueryParameter(name="to")] = None,
        before: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = 100,
    ) -> Response[bytes]:
        return _json(await read_statuses(core.history, name, start, end, before, limit))

    @route("/api/services/{name:str}/logs", http_method=READ, summary="What a service logged, in order")
    async def logs(
        name: FromPath[str],
        level: FromQuery[str | None] = None,
        contains: FromQuery[str | None] = None,
        start: Annotated[str | None, QueryParameter(name="from")] = None,
        end: Annotated[str | None, QueryParameter(name="to")] = None,
        before: FromQuery[str | None] = None,
        limit: Annotated[int, QueryParameter(ge=1, le=MOST)] = 100,
    ) -> Response[bytes]:
        return _json(await read_lines(core.history, name, level, contains, start, end, before, limit))

    @route(
        "/api/services/{name:str}/metrics",
        http_method=READ,
        summary="The latest metrics of a service; with `name` one of them as series, down-sampled to what a chart can show",
    )
    async def metrics(
        name: FromPath[str],
        metric: Annotated[str | None, QueryParameter(name="name")] = None,
        start: Annotated[str | None, QueryParameter(name="from")] = None,
        end: Annotated[str | None, QueryParameter(name="to")] = None,
        points: Annotated[int, QueryParameter(ge=1, le=POINTS_MOST)] = 300,
    ) -> Response[bytes]:
        if metric is None:
            return _json(await read_metrics(core.latest, name))
        return _json(await read_chart(core.history, name, metric, start, end, points))

    return [status, incidents, history, logs, metrics]


def _streams(core: Core) -> list[ASGIRouteHandler]:
    @asgi("/api/services/status/stream", copy_scope=False)
    async def seed_stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(core.hub, core.replay, cast("HTTPScope", scope), receive, send, seed=True)

    @asgi("/api/stream", copy_scope=False)
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(core.hub, core.replay, cast("HTTPScope", scope), receive, send, seed=False)

    return [seed_stream, stream]


def _operations(core: Core) -> list[HTTPRouteHandler]:
    def report(status: str) -> dict[str, object]:
        return {
            "status": status,
            "version": VERSION,
            "readers": core.hub.readers,
            "tasks": len(asyncio.all_tasks()),
            "instances": len(core.hub.board),
            "deaf": core.deaf,
            "dropped": dict(core.rejections.counts),
        }

    @route("/healthz", http_method=READ, sync_to_thread=False, summary="Liveness: the process answers")
    def healthz() -> Response[bytes]:
        return _json(report("alive"))

    @route(
        "/readyz",
        http_method=READ,
        sync_to_thread=False,
        summary="Readiness: the board can be relied upon; else 503 and why not",
    )
    def readyz() -> Response[bytes]:
        if core.trouble is not None:
            raise Problem(
                503, "not-ready", core.trouble, headers=[(b"retry-after", b"2"), (b"cache-control", b"no-store")]
            )
        return _json(report("ready"))

    @route(
        "/metrics",
        http_method=READ,
        summary="For Prometheus: the latest metrics of every service, and the health of this server",
    )
    async def metrics() -> Response[bytes]:
        return Response(await expose(core), media_type=MEDIA_TYPE, headers=FRESH)

    return [healthz, readyz, metrics]


def _page() -> list[ControllerRouterHandler]:
    # Every address is a relative one, also in the page: the board may be mounted anywhere, by a proxy that tells nobody.
    @route("/", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def root(request: Request[Any, Any, Any]) -> Redirect:
        *_, last = _path_as_asked(request).split("/")
        return Redirect(f"{last}/services" if last else "services")

    @route("/services", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def page(request: Request[Any, Any, Any]) -> Response[bytes] | Redirect:
        if _path_as_asked(request).endswith("/"):
            return Redirect("../services")
        index = STATIC / "index.html"
        if not index.is_file():
            raise Problem(
                503, "no-page", "This installation has no page: it was not built. Run `make serve` in the source tree."
            )
        return Response(
            index.read_bytes(), media_type="text/html; charset=utf-8", headers=SECURITY_HEADERS | REVALIDATED
        )

    @route("/services/assets/{name:str}", http_method=READ, include_in_schema=False, sync_to_thread=False)
    def asset(request: Request[Any, Any, Any]) -> Response[bytes]:
        # Looked for among what is there, never opened by a name that somebody gave.
        name = request.path_params["name"]
        folder = STATIC / "services" / "assets"
        file = next((file for file in folder.iterdir() if file.name == name), None) if folder.is_dir() else None
        if file is None:
            raise NotFoundException
        caching = IMMUTABLE if _NAMED_BY_CONTENT.fullmatch(name) else REVALIDATED
        kind = guess_type(name)[0] or "application/octet-stream"
        return Response(file.read_bytes(), media_type=kind, headers=SECURITY_HEADERS | caching)

    return [root, page, asset]


def _path_as_asked(request: Request[Any, Any, Any]) -> str:
    """Return the path as it stood in the request: routing has taken its last slash, and a host the front of it."""
    raw: bytes | None = request.scope.get("raw_path")
    return raw.decode("latin-1") if raw else request.scope["path"]


def _json(value: object) -> Response[bytes]:
    return Response(encode(value), media_type="application/json", headers=FRESH)
