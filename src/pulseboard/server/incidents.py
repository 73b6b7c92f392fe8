"""`GET /api/incidents`: what was lost, when, and what it said last."""

import msgspec

from pulseboard.bus.incidents import Incidents
from pulseboard.server.problems import Problem
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidName
from pulseboard.wire.events import Incident
from pulseboard.wire.names import check_service_name

INCIDENTS_MOST = 100


class IncidentView(Incident, frozen=True, kw_only=True):
    """An incident with the last words of its instance: its last status, `timestamp` by its own clock in ms, and its feed id."""

    timestamp: int
    status: msgspec.Raw
    last_id: str


async def read_incidents(
    incidents: Incidents, service: str | None, before: str | None, limit: int
) -> dict[str, list[IncidentView]]:
    """Return up to `limit` incidents older than the id `before`, of one service if it is given; raise a Problem."""
    try:
        if service is not None:
            check_service_name(service)
        older = Cursor.parse(before) if before is not None else None
        found = await incidents.read(limit, before=older, service=service)
    except InvalidName as error:
        raise Problem(400, "bad-name", f"{error}.") from error
    except ValueError as error:
        raise Problem(400, "bad-cursor", f"{error}.") from error
    except BusUnavailable as error:
        raise Problem(
            503, "redis-unavailable", f"Redis cannot be reached: {error}", headers=[(b"retry-after", b"2")]
        ) from error
    views = [
        IncidentView(
            **msgspec.structs.asdict(incident), timestamp=event.timestamp, status=event.status, last_id=str(cursor)
        )
        for incident, event, cursor in found
    ]
    return {"incidents": views}
