"""The application: all endpoints around the parts of a runtime."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.openapi import OpenAPIConfig

from pulseboard.server.api import (
    board,
    commands,
    health,
    history,
    incidents,
    logs,
    metrics,
    page,
    prometheus,
    services,
)
from pulseboard.server.http.exception_handlers import BODY_MAX_BYTES, EXCEPTION_HANDLERS
from pulseboard.server.http.responses import OpenApiDocument, RawJsonSchema
from pulseboard.server.runtime import Runtime
from pulseboard.server.streaming import endpoint as streams
from pulseboard.server.version import VERSION


def create_app(runtime: Runtime) -> Litestar:
    """Return the ASGI application of a runtime, which starts and stops with the application."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None, None]:
        async with runtime:
            yield

    hub = runtime.hub
    return Litestar(
        [
            *services.routes(hub),
            *streams.routes(hub),
            *history.routes(hub, runtime.history),
            *logs.routes(hub, runtime.history),
            *metrics.routes(hub, runtime.history, runtime.latest_metrics),
            *board.routes(runtime.past_board),
            *incidents.routes(runtime.incidents),
            *commands.routes(runtime.dispatcher),
            *health.routes(hub, runtime.health),
            *prometheus.routes(hub, runtime.latest_metrics, runtime.health),
            *page.routes(),
        ],
        lifespan=[lifespan],
        exception_handlers=EXCEPTION_HANDLERS,
        openapi_config=OpenAPIConfig(
            "Pulseboard",
            VERSION,
            path="/schema",
            render_plugins=[OpenApiDocument("/openapi.json", commands.CommandBody)],
        ),
        plugins=[RawJsonSchema()],
        request_max_body_size=BODY_MAX_BYTES,
        logging_config=None,
        debug=False,
    )
