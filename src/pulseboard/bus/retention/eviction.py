"""The janitor: takes off the board in Redis what the board has forgotten, and says so in the feed."""

from collections.abc import Iterable

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import bus_errors, open_async_client
from pulseboard.bus.keys import Keys, board_field
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor


class Evictor:
    """Forgets instances in Redis, each only if nothing newer came from it."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._client = open_async_client(address, keys)
        self._keys = keys
        self._script = self._client.register_script(read_script("evict"))

    async def forget(self, gone: Iterable[tuple[str, str, Cursor]]) -> int:
        """Take instances off, given as (service, instance, cursor of the last event); return how many went."""
        args: list[str | bytes] = [DEFAULT_LIMITS]
        for service, instance, cursor in gone:
            args += [board_field(service, instance), str(cursor)]
        with bus_errors():
            return int(await self._script(keys=[*self._keys.shared], args=args))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()
