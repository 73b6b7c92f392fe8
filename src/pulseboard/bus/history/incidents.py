"""Incidents: the losses of instances, each declared once however many servers notice it, and kept with its last words."""

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
    """An instance that a server has found lost: its last event, where that stands, and when it was last seen (ms)."""

    event: StatusEvent
    cursor: Cursor
    seen: int
    cause: Cause

    @property
    def service(self) -> str:
        return self.event.service


class IncidentRecord(NamedTuple):
    """An incident, the last event of its instance, the feed id of that, the last lines of its log, in order, and its metrics."""

    incident: Incident
    event: StatusEvent
    cursor: Cursor
    lines: list[LineView]
    metrics: MetricEvent | None = None


class _Declared(msgspec.Struct):
    service: str
    instance: str
    seen: int
    cause: Cause
    heartbeat_s: float | None


_lines = msgspec.json.Decoder(list[LineView])


class IncidentStore:
    """Declares instances lost, and reads what was declared. Raises BusUnavailable when Redis is away."""

    def __init__(self, bus: BusClient, rejections: Rejections) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._rejections = rejections
        self._last_lines = LastLines(bus.redis, bus.keys, rejections)
        self._script = self._client.register_script(read_script("declare_lost"))

    async def declare_lost(self, losses: Iterable[InstanceLoss]) -> int:
        """Declare each loss that Redis knows no later sign of life for and that nobody has declared; return how many."""
        declared = 0
        for service, lost in groupby(
            sorted(losses, key=attrgetter("service")), key=attrgetter("service")
        ):
            check_cancelled()
            declared += await self._declare(service, list(lost))
        return declared

    async def _declare(self, service: str, losses: list[InstanceLoss]) -> int:
        # What it logged came before its next beat was due; looked for from there on back, others may have logged much since.
        until = {
            event.instance: seen + int(2_000 * (event.heartbeat_s or 0))
            for event, _, seen, _ in losses
        }
        lines = await self._last_lines.read(service, until)
        args: list[str | bytes | int] = [DEFAULT_LIMITS]
        for event, cursor, seen, cause in losses:
            declared = _Declared(service, event.instance, seen, cause, event.heartbeat_s)
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
        """Return up to `limit` incidents, the latest first: those older than `before`, of one service if it is given."""
        if before == ZERO:
            return []
        found: list[IncidentRecord] = []
        end = f"({before}" if before is not None else "+"
        with bus_errors():
            # Of one service they may lie far apart; the stream has its cap, so this ends.
            while len(found) < limit:
                check_cancelled()
                rows: Any = await self._client.xrevrange(
                    self._keys.incidents, end, "-", count=limit
                )
                words = self._rejections.sift(rows, _parse_words, lambda _: "the incidents stream")
                found += [
                    each for each in words if service is None or each.incident.service == service
                ]
                if len(rows) < limit:
                    break
                end = f"({rows[-1][0].decode()}"
        return found[:limit]


def _parse_words(row: Row) -> IncidentRecord:
    incident = parse_incident_entry(row)
    cursor, event = parse_stamped_status(row[1].get(b"event", b""))
    # An older server kept no lines.
    lines, metrics = decode(_lines, row[1].get(b"lines", b"[]")), row[1].get(b"metrics")
    return IncidentRecord(
        incident, event, cursor, lines, parse_stamped_metric(metrics)[1] if metrics else None
    )
