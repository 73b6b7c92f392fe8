"""`GET /api/incidents`: losses of instances, each with the last words of its instance."""

from collections.abc import Iterable
from typing import Annotated

import msgspec
from litestar import Response, route
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from pulseboard.bus.history.incidents import IncidentRecord, IncidentStore
from pulseboard.server.http.parameters import Before, OneService, reject_unknown_parameters
from pulseboard.server.http.query import parse_before, parse_service
from pulseboard.server.http.responses import READ, describe_responses, json_response
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.views import IncidentsView, IncidentView

INCIDENTS_MAX = 100


def routes(incidents: IncidentStore) -> list[ControllerRouterHandler]:
    """Return the route of incidents."""

    @route(
        "/api/incidents",
        http_method=READ,
        guards=[reject_unknown_parameters],
        summary="Return losses of instances with their last words, latest first",
        responses=describe_responses(IncidentsView, 400, 503),
    )
    async def list_incidents(
        service: OneService = None,
        before: Before = None,
        limit: Annotated[int, QueryParameter(ge=1, le=INCIDENTS_MAX)] = 50,
    ) -> Response[bytes]:
        if service is not None:
            parse_service(service)
        place = parse_before(before, Cursor.parse)
        found = await incidents.read(limit, before=place, service=service)
        return json_response(_view_incidents(found))

    return [list_incidents]


def _view_incidents(found: Iterable[IncidentRecord]) -> IncidentsView:
    return IncidentsView(
        [
            IncidentView(
                **msgspec.structs.asdict(incident),
                timestamp=event.timestamp,
                status=event.status,
                last_id=str(cursor),
                lines=lines,
                metrics=None if metrics is None else metrics.metrics,
            )
            for incident, event, cursor, lines, metrics in found
        ]
    )
