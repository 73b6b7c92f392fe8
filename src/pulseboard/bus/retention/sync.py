"""Synchronization of the limits: stores them in Redis, and trims the history if they changed."""

import msgspec

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.history.reader import read_service_names
from pulseboard.bus.retention.limits import Limits
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.kinds import HISTORIES

SERVICES_PER_TRIM = 20
"""The number of services whose histories one script call trims.

Redis answers no other client during the call.
"""


class LimitSync:
    """Keeps the limits of one namespace in Redis; raises BusUnavailable without Redis."""

    def __init__(self, bus: BusClient, limits: Limits) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._json = msgspec.json.encode(limits)
        self._script = self._client.register_script(read_script("trim"))
        self._written = False

    async def sync(self) -> None:
        """Write the limits to Redis; call it periodically.

        The first call replaces the limits of another server, and trims the existing history. Later
        calls write only if Redis has lost the limits: another server may have replaced them since.
        No call repeats a trim that failed, because Redis has the new limits by then.
        """
        if self._written:
            with bus_errors():
                await self._client.set(self._keys.limits, self._json, nx=True)
            return
        with bus_errors():
            before = await self._client.set(self._keys.limits, self._json, get=True)
        if before != self._json:
            await self._trim_all()
        self._written = True

    async def _trim_all(self) -> None:
        shared = [
            (self._keys.feed, "feed"),
            (self._keys.audit, "audit"),
            (self._keys.incidents, "incident"),
        ]
        await self._trim(shared)
        services = await read_service_names(
            self._client, self._keys.services, self._keys.line_counts
        )
        for start in range(0, len(services), SERVICES_PER_TRIM):
            check_cancelled()
            chunk = services[start : start + SERVICES_PER_TRIM]
            await self._trim(
                [
                    (self._keys.history(service, kind), kind)
                    for service in chunk
                    for kind in HISTORIES
                ]
            )

    async def _trim(self, streams: list[tuple[str, str]]) -> None:
        """Trim streams, given as (key, kind)."""
        names, kinds = zip(*streams, strict=True)
        keys = [self._keys.feed, self._keys.clock, self._keys.limits, *names]
        with bus_errors():
            await self._script(keys=keys, args=[self._json, *kinds])
