"""Eviction: removes instances from the board in Redis, and appends that to the feed."""

from collections.abc import Iterable

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.keys import board_field
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor


class Evictor:
    """Removes instances that the board no longer shows. Raises BusUnavailable without Redis."""

    def __init__(self, bus: BusClient) -> None:
        self._keys = bus.keys
        self._script = bus.redis.register_script(read_script("evict"))

    async def evict(self, instances: Iterable[tuple[str, str, Cursor]]) -> int:
        """Remove instances, given as (service, instance, cursor of the last event).

        An instance with a newer event stays. Returns the number of removed instances.
        """
        args: list[str | bytes] = [DEFAULT_LIMITS]
        for service, instance, cursor in instances:
            args += [board_field(service, instance), str(cursor)]
        with bus_errors():
            return int(await self._script(keys=[*self._keys.shared], args=args))
