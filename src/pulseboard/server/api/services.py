"""`GET /api/services` and `/api/services/{name}`: services with their instances, and what the board makes of each."""

import msgspec

from pulseboard.hub.hub import Hub
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import parse_service
from pulseboard.wire.views import InstanceStateView, ServicesView, ServiceView


def read_services(hub: Hub) -> ServicesView:
    """Return every service."""
    return ServicesView(
        now=hub.now_ms,
        observed_until=hub.sight.observed_until,
        blind=hub.blind,
        services=_services(hub),
    )


def read_service(hub: Hub, name: str) -> ServiceView:
    """Return one service; raise a Problem for one that nobody expects and that was not seen."""
    parse_service(name)
    found = [service for service in _services(hub) if service.name == name]
    if not found:
        raise Problem(404, "unknown-service", f"No service {name!r} is on the board.")
    return found[0]


def _services(hub: Hub) -> list[ServiceView]:
    board = hub.board
    states = board.states(hub.sight)
    services = {name: ServiceView(name, expected=True, instances=[]) for name in board.expected}
    for view in board.view():
        service = services.setdefault(
            view.service, ServiceView(view.service, expected=False, instances=[])
        )
        state = states[view.service, view.instance]
        service.instances.append(InstanceStateView(**msgspec.structs.asdict(view), state=state))
    return sorted(services.values(), key=lambda service: service.name)
