"""The latest metrics of each instance, and the total of log lines of each service."""

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.feed.entries import parse_stamped_metric
from pulseboard.bus.rejections import Rejections
from pulseboard.tasks import check_cancelled
from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.metric import MetricEvent

PAGE = 500
"""About how many instances one HSCAN command returns."""


class InstanceMetrics(NamedTuple):
    """The latest metrics of one instance, and their feed id."""

    cursor: Cursor
    event: MetricEvent


class LogLineCount(NamedTuple):
    """How many lines of one level a service has logged since its first log line."""

    service: str
    level: str
    lines: int


class LatestMetrics:
    """Reads the latest metrics and the line counts.

    Raises BusUnavailable when Redis is unreachable, or does not answer a command within
    `timeout_s`.
    """

    def __init__(
        self,
        bus: BusClient,
        rejections: Rejections,
        *,
        max_event_bytes: int = MAX_EVENT_BYTES,
        timeout_s: float = 2.0,
    ) -> None:
        self._client = bus.redis
        self._timeout_s = timeout_s
        self._keys = bus.keys
        self._rejections = rejections
        self._max_event_bytes = max_event_bytes

    async def read(self, service: str | None = None) -> list[InstanceMetrics]:
        """Return the latest metrics of all instances, or of those of `service`, sorted by name."""
        # A service name needs no escaping: it contains no wildcard of Redis such as `*`.
        pattern = f"{service}/*" if service else None
        found: dict[bytes, bytes] = {}
        cursor = 0
        while True:
            check_cancelled()
            cursor, fields = await self._fetch(
                self._client.hscan(self._keys.latest_metrics, cursor, match=pattern, count=PAGE)
            )
            found.update(fields)
            if not cursor:
                return self._parse(found[field] for field in sorted(found))

    async def read_line_counts(self) -> list[LogLineCount]:
        """Return the number of lines by service and level, sorted by the name of the service."""
        counts = await self._fetch(self._client.hgetall(self._keys.line_counts))
        split = (
            (field.decode("utf-8", "replace").partition("/"), count)
            for field, count in sorted(counts.items())
        )
        return [
            LogLineCount(service, level, int(count))
            for (service, _, level), count in split
            if count.isdigit()
        ]

    async def _fetch(self, command: Any) -> Any:
        """Return the answer to a command; raise BusUnavailable after `timeout_s` without one."""
        with bus_errors():
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await command
            except TimeoutError as error:
                raise TimeoutError(f"Redis did not answer within {self._timeout_s:g} s") from error

    def _parse(self, jsons: Iterable[bytes]) -> list[InstanceMetrics]:
        def parse(json: bytes) -> InstanceMetrics:
            return InstanceMetrics(*parse_stamped_metric(json, self._max_event_bytes))

        return list(self._rejections.sift(jsons, parse, lambda _: "the hash of the latest metrics"))
