"""`GET /api/incidents`: what was lost, when, and what it said last."""

import msgspec

from pulseboard.bus.incidents import Incidents
from pulseboard.server.problems import Problem
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidName
from pulseboard.wire.events import Cause
from pulseboard.wire.names import check_service_name

INCIDENTS_MOST = 100


class IncidentView(msgspec.Struct):
    """An incident with the last words of its instance; times are ms by Redis' clock, `timestamp` by the instance's own."""

    id: str
    service: str
    instance: str
    seen: int
    declared: int
    cause: Cause
    beat_s: float | None
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
            *(each.id, each.service, each.instance, each.seen, each.declared, each.cause, each.beat_s),
            *(event.timestamp, event.status, str(cursor)),
        )
        for each, event, cursor in found
    ]
    return {"incidents": views}
