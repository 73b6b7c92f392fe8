"""Incidents: losses of instances, each recorded once with the last words of the instance.

Every server detects a loss by itself; Redis records the first report only.
"""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import (
    Row,
    parse_incident_entry,
    parse_stamped_metric,
    parse_stamped_status,
)
from pulseboard.bus.history.last_lines import LastLines
from pulseboard.bus.keys import board_field
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import decode, encode
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.events.lifecycle import Cause, Incident
from pulseboard.wire.events.log import LineView
from pulseboard.wire.events.metric import MetricEvent
from pulseboard.wire.events.status import StatusEvent


class InstanceLoss(NamedTuple):
    """A loss that a server has detected: the last event of the instance and its feed id.

    `seen` is the time of the last sign of life, in ms by Redis' clock.
    """

    event: StatusEvent
    cursor: Cursor
    seen: int
    cause: Cause

    @property
    def service(self) -> str:
        return self.event.service


class IncidentRecord(NamedTuple):
    """An incident with the last words of its instance.

    These are its last event with the feed id, its last log lines in order, and its last metrics.
    """

    incident: Incident
    event: StatusEvent
    cursor: Cursor
    lines: list[LineView]
    metrics: MetricEvent | None = None


class _DeclaredLoss(msgspec.Struct):
    service: str
    instance: str
    seen: int
    cause: Cause
    heartbeat_s: float | None


_lines_decoder = msgspec.json.Decoder(list[LineView])


class IncidentStore:
    """Records incidents and reads them. Raises BusUnavailable when Redis is unreachable."""

    def __init__(self, bus: BusClient, rejections: Rejections) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._rejections = rejections
        self._last_lines = LastLines(bus.redis, bus.keys, rejections)
        self._script = self._client.register_script(read_script("declare_lost"))

    async def declare_lost(self, losses: Iterable[InstanceLoss]) -> int:
        """Record each loss; return the number of new incidents.

        A loss is ignored if Redis knows a later sign of life, or if it is recorded already.
        """
        declared = 0
        for service, lost in groupby(
            sorted(losses, key=attrgetter("service")), key=attrgetter("service")
        ):
            check_cancelled()
            declared += await self._declare_lost(service, list(lost))
        return declared

    async def _declare_lost(self, service: str, losses: list[InstanceLoss]) -> int:
        # The last lines of an instance came before its next heartbeat was due. The search starts at
        # that time, because other instances may have logged much since.
        until = {
            event.instance: seen + int(2_000 * (event.heartbeat_s or 0))
            for event, _, seen, _ in losses
        }
        lines = await self._last_lines.read(service, until)
        args: list[str | bytes | int] = [DEFAULT_LIMITS]
        for event, cursor, seen, cause in losses:
            declared = _DeclaredLoss(service, event.instance, seen, cause, event.heartbeat_s)
            args += [
                board_field(service, event.instance),
                str(cursor),
                seen,
                encode(declared),
                lines[event.instance],
            ]
        keys = [*self._keys.shared, self._keys.incidents]
        with bus_errors():
            return int(await self._script(keys=keys, args=args))

    async def read(
        self, limit: int, *, before: Cursor | None = None, service: str | None = None
    ) -> list[IncidentRecord]:
        """Return up to `limit` incidents, the latest first.

        Only incidents older than `before`, and of one `service`, if these are given.
        """
        if before == ZERO:
            return []
        found: list[IncidentRecord] = []
        end = f"({before}" if before is not None else "+"
        with bus_errors():
            # The incidents of one service may be far apart. The loop ends: the stream is capped.
            while len(found) < limit:
                check_cancelled()
                rows: Any = await self._client.xrevrange(
                    self._keys.incidents, end, "-", count=limit
                )
                records = self._rejections.sift(
                    rows, _parse_record, lambda _: "the incidents stream"
                )
                found += [
                    record
                    for record in records
                    if service is None or record.incident.service == service
                ]
                if len(rows) < limit:
                    break
                end = f"({rows[-1][0].decode()}"
        return found[:limit]


def _parse_record(row: Row) -> IncidentRecord:
    incident = parse_incident_entry(row)
    fields = row[1]
    cursor, event = parse_stamped_status(fields.get(b"event", b""))
    # Older servers stored neither lines nor metrics.
    lines, metrics = decode(_lines_decoder, fields.get(b"lines", b"[]")), fields.get(b"metrics")
    return IncidentRecord(
        incident, event, cursor, lines, parse_stamped_metric(metrics)[1] if metrics else None
    )
