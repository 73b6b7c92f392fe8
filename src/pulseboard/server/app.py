"""The application: the routes around a core, the streams, and how errors are answered."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from litestar import Litestar, asgi
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import ASGIRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import HTTPScope, Receive, Scope, Send

from pulseboard.server.api.commands import CommandBody
from pulseboard.server.http.problems import (
    BODY_MAX_BYTES,
    Problem,
    answer_fault,
    answer_http_error,
    answer_invalid,
    answer_problem,
    answer_too_deep,
)
from pulseboard.server.http.responses import JsonPart, SchemaDocument
from pulseboard.server.routes.control import make_control
from pulseboard.server.routes.operations import make_operations
from pulseboard.server.routes.page import make_page
from pulseboard.server.routes.past import make_past
from pulseboard.server.routes.reads import make_reads
from pulseboard.server.runtime import Runtime
from pulseboard.server.streaming.endpoint import serve_stream
from pulseboard.server.version import VERSION


def create_app(core: Runtime) -> Litestar:
    """Return the ASGI application around a core, which it enters at start-up and leaves at shutdown."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        async with core:
            yield

    return Litestar(
        [
            *make_reads(core),
            *make_past(core),
            *make_control(core),
            *make_operations(core),
            *make_page(),
            *_make_streams(core),
        ],
        lifespan=[lifespan],
        exception_handlers={
            Problem: answer_problem,
            ValidationException: answer_invalid,
            HTTPException: answer_http_error,
            RecursionError: answer_too_deep,
            Exception: answer_fault,
        },
        openapi_config=OpenAPIConfig(
            "Pulseboard",
            VERSION,
            path="/schema",
            render_plugins=[SchemaDocument("/openapi.json", CommandBody)],
        ),
        plugins=[JsonPart()],
        request_max_body_size=BODY_MAX_BYTES,
        logging_config=None,
        debug=False,
    )


def _make_streams(core: Runtime) -> list[ASGIRouteHandler]:
    @asgi("/api/services/status/stream", copy_scope=False)
    async def status_stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(
            core.hub, core.replay, cast("HTTPScope", scope), receive, send, seed=True
        )

    @asgi("/api/stream", copy_scope=False)
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await serve_stream(
            core.hub, core.replay, cast("HTTPScope", scope), receive, send, seed=False
        )

    return [status_stream, stream]
