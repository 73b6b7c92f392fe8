"""What is the case, and what was lost."""

from typing import Annotated, Any

from litestar import Response, route
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from pulseboard.server.api.incidents import INCIDENTS_MOST, read_incidents
from pulseboard.server.api.services import read_service, read_services
from pulseboard.server.http.parameters import Before, OfService, ServiceName, takes_no_others
from pulseboard.server.http.responses import READ, answers, json_answer
from pulseboard.server.runtime import Runtime
from pulseboard.wire.views import IncidentsView, ServicesView, ServiceView


def make_reads(core: Runtime) -> list[ControllerRouterHandler]:
    """Return the routes."""

    @route(
        "/api/services/status",
        http_method=READ,
        sync_to_thread=False,
        summary="The latest status of every service, by its camelCase name",
        responses=answers(dict[str, dict[str, Any]]),
    )
    def status() -> Response[bytes]:
        return json_answer(core.hub.board.snapshot())

    @route(
        "/api/incidents",
        http_method=READ,
        guards=[takes_no_others],
        summary="Losses of instances, the latest first, each with the last words of its instance",
        responses=answers(IncidentsView, 400, 503),
    )
    async def incidents(
        service: OfService = None,
        before: Before = None,
        limit: Annotated[int, QueryParameter(ge=1, le=INCIDENTS_MOST)] = 50,
    ) -> Response[bytes]:
        return json_answer(await read_incidents(core.incidents, service, before, limit))

    @route(
        "/api/services",
        http_method=READ,
        sync_to_thread=False,
        summary="Every service, with the state of each instance",
        responses=answers(ServicesView),
    )
    def services() -> Response[bytes]:
        return json_answer(read_services(core.hub))

    @route(
        "/api/services/{name:str}",
        http_method=READ,
        sync_to_thread=False,
        summary="One service",
        responses=answers(ServiceView, 400, 404),
    )
    def service(name: ServiceName) -> Response[bytes]:
        return json_answer(read_service(core.hub, name))

    return [status, incidents, services, service]
