"""The current board.

Endpoints: `GET /api/services`, `/api/services/{name}` and `/api/services/status`. The last one is
the status snapshot of the original specification; its stream is in `streaming`.
"""

from typing import Any

from litestar import Response, route
from litestar.types import ControllerRouterHandler

from pulseboard.control.errors import UnknownService
from pulseboard.hub.hub import Hub
from pulseboard.server.http.parameters import ServiceName
from pulseboard.server.http.query import parse_service
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.wire.views import ServicesView, ServiceView


def routes(hub: Hub) -> list[ControllerRouterHandler]:
    """Return the routes of the current board."""

    @route(
        "/api/services/status",
        http_method=READ,
        sync_to_thread=False,
        summary="Return the latest status of each service, by its camelCase name",
        responses=describe_responses(dict[str, dict[str, Any]]),
    )
    def status() -> Response[bytes]:
        return json_response(hub.board.snapshot())

    @route(
        "/api/services",
        http_method=READ,
        sync_to_thread=False,
        summary="Return each service with the state of each instance",
        responses=describe_responses(ServicesView),
    )
    def services() -> Response[bytes]:
        view = ServicesView(
            now=hub.now_ms,
            observed_until=hub.freshness.observed_until,
            blind=hub.blind,
            services=_list_services(hub),
        )
        return json_response(view)

    @route(
        "/api/services/{name:str}",
        http_method=READ,
        sync_to_thread=False,
        summary="Return one service with the state of each instance",
        responses=describe_responses(ServiceView, 400, 404),
    )
    def service(name: ServiceName) -> Response[bytes]:
        parse_service(name)
        found = next((each for each in _list_services(hub) if each.name == name), None)
        if found is None:
            raise UnknownService(f"No service {name!r} is on the board.")
        return json_response(found)

    return [status, services, service]


def _list_services(hub: Hub) -> list[ServiceView]:
    board = hub.board
    services = {name: ServiceView(name, expected=True, instances=[]) for name in board.expected}
    for view in board.view_with_states(hub.freshness):
        service = services.setdefault(
            view.service, ServiceView(view.service, expected=False, instances=[])
        )
        service.instances.append(view)
    return sorted(services.values(), key=lambda service: service.name)
