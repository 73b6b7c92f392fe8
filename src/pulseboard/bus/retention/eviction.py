"""The janitor: takes off the board in Redis what the board has forgotten, and says so in the feed."""

from collections.abc import Iterable

from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.connection.errors import bus_errors
from pulseboard.bus.keys import board_field
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor


class Evictor:
    """Forgets instances in Redis, each only if nothing newer came from it."""

    def __init__(self, bus: BusClient) -> None:
        self._client = bus.redis
        self._keys = bus.keys
        self._script = self._client.register_script(read_script("evict"))

    async def evict(self, gone: Iterable[tuple[str, str, Cursor]]) -> int:
        """Take instances off, given as (service, instance, cursor of the last event); return how many went."""
        args: list[str | bytes] = [DEFAULT_LIMITS]
        for service, instance, cursor in gone:
            args += [board_field(service, instance), str(cursor)]
        with bus_errors():
            return int(await self._script(keys=[*self._keys.shared], args=args))
