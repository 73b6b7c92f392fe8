"""What whoever runs the server asks it."""

import asyncio

import msgspec
from litestar import Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from pulseboard.server.api.prometheus import MEDIA_TYPE, expose
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.responses import FRESH, READ, answers, json_answer
from pulseboard.server.runtime import Runtime
from pulseboard.server.version import VERSION


class Health(msgspec.Struct):
    """How this server is doing. `gap`: how often plain publishes were not heard; `dropped`: bad messages by reason."""

    status: str
    version: str
    now: int
    clients: int
    tasks: int
    instances: int
    coverage_gaps: int
    dropped: dict[str, int]


def make_operations(core: Runtime) -> list[HTTPRouteHandler]:
    """Return the routes."""

    def report(status: str) -> Health:
        hub = core.hub
        dropped = {str(reason): count for reason, count in core.rejections.counts.items()}
        tasks = len(asyncio.all_tasks())
        return Health(
            status,
            VERSION,
            hub.now_ms,
            hub.clients,
            tasks,
            len(hub.board),
            core.coverage_gaps,
            dropped,
        )

    @route(
        "/healthz",
        http_method=READ,
        sync_to_thread=False,
        summary="Liveness: the process answers",
        responses=answers(Health),
    )
    def healthz() -> Response[bytes]:
        return json_answer(report("alive"))

    @route(
        "/readyz",
        http_method=READ,
        sync_to_thread=False,
        summary="Readiness: the board can be relied upon; else 503 and why not",
        responses=answers(Health, 503),
    )
    def readyz() -> Response[bytes]:
        if core.trouble is not None:
            raise Problem(
                503,
                "not-ready",
                core.trouble,
                headers=[(b"retry-after", b"2"), (b"cache-control", b"no-store")],
            )
        return json_answer(report("ready"))

    @route(
        "/metrics",
        http_method=READ,
        summary="For Prometheus: the latest metrics of every service, and the health of this server",
        responses={
            200: ResponseSpec(
                str, description="The answer", media_type=MEDIA_TYPE, generate_examples=False
            )
        },
    )
    async def metrics() -> Response[bytes]:
        return Response(await expose(core), media_type=MEDIA_TYPE, headers=FRESH)

    return [healthz, readyz, metrics]
