"""The application: which path is answered by what."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from litestar import Litestar, Response, asgi, get
from litestar.datastructures import CacheControlHeader
from litestar.exceptions import HTTPException
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import Redirect
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler, HTTPScope, Receive, Scope, Send

from pulseboard.server.core import Core
from pulseboard.server.problems import Problem, answer_http_error, answer_problem
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


def create_app(core: Core) -> Litestar:
    """Return the ASGI application around a core, which it enters at start-up and leaves at shutdown."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        async with core:
            yield

    return Litestar(
        [*_reads(core), *_streams(core), *_operations(core), *_page()],
        lifespan=[lifespan],
        exception_handlers={Problem: answer_problem, HTTPException: answer_http_error},
        openapi_config=OpenAPIConfig(
            "Pulseboard", VERSION, path="/schema", render_plugins=[JsonRenderPlugin(path="/openapi.json")]
        ),
        request_max_body_size=65_536,
        logging_config=None,
        debug=False,
    )


def _reads(core: Core) -> list[ControllerRouterHandler]:
    @get(
        "/api/services/status",
        sync_to_thread=False,
        summary="The latest status of every service, by its camelCase name",
    )
    def status() -> Response[bytes]:
        return _json(core.hub.board.snapshot())

    return [status]


def _streams(core: Core) -> list[ASGIRouteHandler]:
    @asgi("/api/services/status/stream", copy_scope=False)
    async def seed_stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(core.hub, cast("HTTPScope", scope), receive, send, seed=True)

    @asgi("/api/stream", copy_scope=False)
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(core.hub, cast("HTTPScope", scope), receive, send, seed=False)

    return [seed_stream, stream]


def _operations(core: Core) -> list[HTTPRouteHandler]:
    def report(status: str) -> dict[str, object]:
        return {
            "status": status,
            "version": VERSION,
            "readers": core.hub.readers,
            "instances": len(core.hub.board),
            "dropped": dict(core.rejections.counts),
        }

    @get("/healthz", sync_to_thread=False, summary="Liveness: the process answers")
    def healthz() -> Response[bytes]:
        return _json(report("alive"))

    @get("/readyz", sync_to_thread=False, summary="Readiness: the board can be relied upon; else 503 and why not")
    def readyz() -> Response[bytes]:
        if core.trouble is not None:
            raise Problem(
                503, "not-ready", core.trouble, headers=[(b"retry-after", b"2"), (b"cache-control", b"no-store")]
            )
        return _json(report("ready"))

    return [healthz, readyz]


def _page() -> list[ControllerRouterHandler]:
    @get("/", include_in_schema=False, sync_to_thread=False)
    def root() -> Redirect:
        return Redirect("/services")

    @get("/services", include_in_schema=False, sync_to_thread=False)
    def page() -> Response[bytes]:
        index = STATIC / "index.html"
        if not index.is_file():
            raise Problem(
                503, "no-page", "This installation has no page: it was not built. Run `make page` in the source tree."
            )
        return Response(
            index.read_bytes(), media_type="text/html", headers=SECURITY_HEADERS | {"cache-control": "no-cache"}
        )

    if not STATIC.is_dir():
        return [root, page]
    files = create_static_files_router(
        "/services",
        [STATIC],
        cache_control=CacheControlHeader(max_age=31_536_000, immutable=True, public=True),
    )
    return [root, page, files]


def _json(value: object) -> Response[bytes]:
    return Response(encode(value), media_type="application/json", headers=FRESH)
