"""`GET /healthz` and `/readyz`: the process responds; clients can rely on its board."""

import asyncio

import msgspec
from litestar import Response, route
from litestar.types import ControllerRouterHandler

from pulseboard.hub.hub import Hub
from pulseboard.server.health import ServerHealth
from pulseboard.server.http.problems import RETRY_SOON, Problem
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.server.version import VERSION


class HealthView(msgspec.Struct):
    """The health of this server.

    `clients` is the number of open streams, `tasks` that of asyncio tasks. `coverage_gaps` counts
    periods without a subscription, `dropped` the invalid messages by reason. `now` is in ms by
    Redis' clock.
    """

    status: str
    version: str
    now: int
    clients: int
    tasks: int
    instances: int
    coverage_gaps: int
    dropped: dict[str, int]


def routes(hub: Hub, health: ServerHealth) -> list[ControllerRouterHandler]:
    """Return the routes of health checks."""

    def view(status: str) -> HealthView:
        return HealthView(
            status=status,
            version=VERSION,
            now=hub.now_ms,
            clients=hub.clients,
            tasks=len(asyncio.all_tasks()),
            instances=len(hub.board),
            coverage_gaps=health.coverage_gaps,
            dropped={str(reason): count for reason, count in health.dropped.items()},
        )

    @route(
        "/healthz",
        http_method=READ,
        sync_to_thread=False,
        summary="Liveness: return 200 while the process responds",
        responses=describe_responses(HealthView),
    )
    def healthz() -> Response[bytes]:
        return json_response(view("alive"))

    @route(
        "/readyz",
        http_method=READ,
        sync_to_thread=False,
        summary="Readiness: return 200 while clients can rely on the board, else 503",
        responses=describe_responses(HealthView, 503),
    )
    def readyz() -> Response[bytes]:
        if (reason := health.not_ready_reason) is not None:
            headers = [*RETRY_SOON, (b"cache-control", b"no-store")]
            raise Problem(503, "not-ready", reason, headers=headers)
        return json_response(view("ready"))

    return [healthz, readyz]
