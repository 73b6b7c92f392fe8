"""Incidents: the losses of instances, each declared once however many servers notice it, and kept with its last words."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import FAILURES, describe, open_async_client
from pulseboard.bus.entries import Row, parse_incident_row, parse_stamped
from pulseboard.bus.keys import FEED_MAX, INCIDENTS_MAX, Keys, board_field
from pulseboard.bus.rejections import Rejections
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO, Cursor
from pulseboard.wire.errors import BusUnavailable, InvalidEvent
from pulseboard.wire.events import Cause, Incident, StatusEvent, encode


class Loss(NamedTuple):
    """An instance that a server has found lost: its last event, where that stands, and when it was last seen (ms)."""

    event: StatusEvent
    cursor: Cursor
    seen: int
    cause: Cause


class LastWords(NamedTuple):
    """An incident, the last event of its instance, and the feed id of that."""

    incident: Incident
    event: StatusEvent
    cursor: Cursor


class _Declared(msgspec.Struct):
    service: str
    instance: str
    seen: int
    cause: Cause
    beat_s: float | None


class Incidents:
    """Declares instances lost, and reads what was declared. Raises BusUnavailable when Redis is away."""

    def __init__(self, address: RedisAddress, keys: Keys, rejections: Rejections) -> None:
        self._client = open_async_client(address, keys)
        self._keys = keys
        self._rejections = rejections
        self._script = self._client.register_script(read_script("declare"))

    async def declare(self, losses: Iterable[Loss]) -> int:
        """Declare each loss that Redis knows no later sign of life for and that nobody has declared; return how many."""
        args: list[str | bytes | int] = [FEED_MAX, INCIDENTS_MAX]
        for event, cursor, seen, cause in losses:
            declared = _Declared(event.service, event.instance, seen, cause, event.beat_s)
            args += [board_field(event.service, event.instance), str(cursor), seen, encode(declared)]
        keys = [self._keys.feed, *self._keys.instances, self._keys.incidents]
        try:
            return int(await self._script(keys=keys, args=args))
        except FAILURES as error:
            raise BusUnavailable(describe(error)) from error

    async def read(self, limit: int, *, before: Cursor | None = None, service: str | None = None) -> list[LastWords]:
        """Return up to `limit` incidents, the latest first: those older than `before`, of one service if it is given."""
        if before == ZERO:
            return []
        found: list[LastWords] = []
        end = f"({before}" if before is not None else "+"
        try:
            # Of one service they may lie far apart; the stream has its cap, so this ends.
            while len(found) < limit:
                rows: Any = await self._client.xrevrange(self._keys.incidents, end, "-", count=limit)
                found += [words for row in rows if (words := self._parse(row, service)) is not None]
                if len(rows) < limit:
                    break
                end = f"({rows[-1][0].decode()}"
        except FAILURES as error:
            raise BusUnavailable(describe(error)) from error
        return found[:limit]

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    def _parse(self, row: Row, service: str | None) -> LastWords | None:
        try:
            incident = parse_incident_row(row)
            cursor, event = parse_stamped(row[1].get(b"event", b""))
        except InvalidEvent as error:
            self._rejections.add(error, "the incidents stream")
            return None
        return LastWords(incident, event, cursor) if service is None or incident.service == service else None
