"""`GET /api/services/{name}/history`: the status events of a service."""

from typing import Any

from litestar import Request, Response, route
from litestar.types import ControllerRouterHandler

from pulseboard.bus.history.reader import HistoryReader
from pulseboard.hub.hub import Hub
from pulseboard.server.api.export import export, wants_export
from pulseboard.server.http.parameters import (
    TIME_RANGE,
    Before,
    Format,
    Limit,
    ServiceName,
    TimeRangeParameters,
    reject_unknown_parameters,
)
from pulseboard.server.http.query import parse_before, parse_service
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.timeline.statuses import (
    StatusPage,
    check_service_known,
    iterate_statuses,
    read_statuses,
)
from pulseboard.wire.cursor import Cursor


def routes(hub: Hub, history: HistoryReader) -> list[ControllerRouterHandler]:
    """Return the route of status histories."""

    @route(
        "/api/services/{name:str}/history",
        http_method=READ,
        guards=[reject_unknown_parameters],
        dependencies=TIME_RANGE,
        summary="Return the status events of a service, oldest first",
        responses=describe_responses(StatusPage, 400, 404, 503),
    )
    async def status_history(
        request: Request[Any, Any, Any],
        name: ServiceName,
        time_range: TimeRangeParameters,
        before: Before = None,
        limit: Limit = 100,
        form: Format = None,
    ) -> Response[bytes]:
        service = parse_service(name)
        if wants_export(request, form):
            await check_service_known(hub, history, service)
            pages = iterate_statuses(history, service, time_range)
            return await export(hub, f"{service}-history.jsonl", pages)
        place = parse_before(before, Cursor.parse)
        page = await read_statuses(history, service, time_range, before=place, limit=limit)
        await check_service_known(hub, history, service, page.events)
        return json_response(page)

    return [status_history]
