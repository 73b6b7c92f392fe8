"""`GET /api/services` and `/api/services/{name}`: services with their instances, and what the board makes of each."""

import msgspec

from pulseboard.hub.board import InstanceView
from pulseboard.hub.freshness import BlindView
from pulseboard.hub.hub import Hub
from pulseboard.server.http.problems import Problem
from pulseboard.server.http.query import parse_service
from pulseboard.wire.state import State


class InstanceNow(InstanceView, kw_only=True):
    """An instance as the `board` event shows it, with its state."""

    state: State


class ServiceNow(msgspec.Struct):
    """A service. With no instances it is an expected one that is missing."""

    name: str
    expected: bool
    instances: list[InstanceNow]


class ServicesNow(msgspec.Struct):
    """All services by name; `now` and `observed_until` in ms by Redis' clock. While `blind`, each state is `unknown`."""

    now: int
    observed_until: int
    blind: BlindView | None
    services: list[ServiceNow]


def read_services(hub: Hub) -> ServicesNow:
    """Return every service."""
    return ServicesNow(hub.now_ms, hub.sight.observed_until, hub.blind, _services(hub))


def read_service(hub: Hub, name: str) -> ServiceNow:
    """Return one service; raise a Problem for one that nobody expects and that was not seen."""
    parse_service(name)
    found = [service for service in _services(hub) if service.name == name]
    if not found:
        raise Problem(404, "unknown-service", f"No service {name!r} is on the board.")
    return found[0]


def _services(hub: Hub) -> list[ServiceNow]:
    board = hub.board
    states = board.states(hub.sight)
    services = {name: ServiceNow(name, expected=True, instances=[]) for name in board.expected}
    for view in board.view():
        service = services.setdefault(
            view.service, ServiceNow(view.service, expected=False, instances=[])
        )
        state = states[view.service, view.instance]
        service.instances.append(InstanceNow(**msgspec.structs.asdict(view), state=state))
    return sorted(services.values(), key=lambda service: service.name)
