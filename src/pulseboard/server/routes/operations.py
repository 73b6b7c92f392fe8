"""What whoever runs the server asks it."""

import asyncio

import msgspec
from litestar import Response, route
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec

from pulseboard.server.answers import FRESH, READ, answers, json_answer
from pulseboard.server.core import Core
from pulseboard.server.exposition import MEDIA_TYPE, expose
from pulseboard.server.problems import Problem
from pulseboard.server.version import VERSION


class Health(msgspec.Struct):
    """How this server is doing. `deaf`: how often plain publishes were not heard; `dropped`: bad messages by reason."""

    status: str
    version: str
    now: int
    readers: int
    tasks: int
    instances: int
    deaf: int
    dropped: dict[str, int]


def make_operations(core: Core) -> list[HTTPRouteHandler]:
    """Return the routes."""

    def report(status: str) -> Health:
        hub = core.hub
        dropped = {str(reason): count for reason, count in core.rejections.counts.items()}
        tasks = len(asyncio.all_tasks())
        return Health(status, VERSION, hub.now_ms, hub.readers, tasks, len(hub.board), core.deaf, dropped)

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
                503, "not-ready", core.trouble, headers=[(b"retry-after", b"2"), (b"cache-control", b"no-store")]
            )
        return json_answer(report("ready"))

    @route(
        "/metrics",
        http_method=READ,
        summary="For Prometheus: the latest metrics of every service, and the health of this server",
        responses={200: ResponseSpec(str, description="The answer", media_type=MEDIA_TYPE, generate_examples=False)},
    )
    async def metrics() -> Response[bytes]:
        return Response(await expose(core), media_type=MEDIA_TYPE, headers=FRESH)

    return [healthz, readyz, metrics]
