"""The keeper of the limits: puts them where every writer finds them, and cuts to them what is there already."""

import msgspec

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.history.reader import read_service_names
from pulseboard.bus.retention.limits import Limits
from pulseboard.bus.scripts import read_script
from pulseboard.tasks import check_cancelled
from pulseboard.wire.kinds import HISTORIES

SERVICES_AT_ONCE = 20
"""So many services' histories are cut in one step: Redis does nothing else meanwhile."""


class LimitSync:
    """Keeps the limits of one namespace in Redis. Raises BusUnavailable when Redis is away."""

    def __init__(self, bus: BusClient, limits: Limits) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._json = msgspec.json.encode(limits)
        self._script = self._client.register_script(read_script("trim"))
        self._imposed = False

    async def sync(self) -> None:
        """Put the limits into Redis, at first in place of others; from then on only where there are none: Redis lost them.

        Another server may have been started with others since.
        """
        if self._imposed:
            with bus_errors():
                await self._client.set(self._keys.limits, self._json, nx=True)
            return
        with bus_errors():
            before = await self._client.set(self._keys.limits, self._json, get=True)
        if before != self._json:
            await self._trim_all()
        self._imposed = True

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
        for start in range(0, len(services), SERVICES_AT_ONCE):
            check_cancelled()
            chunk = services[start : start + SERVICES_AT_ONCE]
            await self._trim(
                [
                    (self._keys.history(service, kind), kind)
                    for service in chunk
                    for kind in HISTORIES
                ]
            )

    async def _trim(self, streams: list[tuple[str, str]]) -> None:
        names, kinds = zip(*streams, strict=True)
        keys = [self._keys.feed, self._keys.clock, self._keys.limits, *names]
        with bus_errors():
            await self._script(keys=keys, args=[self._json, *kinds])
