"""`GET /api/incidents`: what was lost, when, and what it said last."""

import msgspec

from pulseboard.bus.history.incidents import IncidentStore
from pulseboard.server.http.query import bus_errors_as_problems, parse_place, parse_service
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.views import IncidentsView, IncidentView

INCIDENTS_MOST = 100


async def read_incidents(
    incidents: IncidentStore, service: str | None, before: str | None, limit: int
) -> IncidentsView:
    """Return up to `limit` incidents older than the id `before`, of one service if it is given; raise a Problem."""
    if service is not None:
        parse_service(service)
    older = parse_place(before, Cursor.parse)
    with bus_errors_as_problems():
        found = await incidents.read(limit, before=older, service=service)
    views = [
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
    return IncidentsView(views)
