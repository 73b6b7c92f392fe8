"""The janitor: takes off the board hash what the board has forgotten."""

from collections.abc import Iterable

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import FAILURES, describe, open_async_client
from pulseboard.bus.keys import Keys, board_field
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable


class Janitor:
    """Forgets instances in Redis, each only if nothing newer came from it."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._client = open_async_client(address)
        self._keys = keys
        self._script = self._client.register_script(read_script("forget"))

    async def forget(self, gone: Iterable[tuple[str, str, Cursor]]) -> int:
        """Take instances off, given as (service, instance, cursor of the last event); return how many went."""
        args = [part for service, instance, cursor in gone for part in (board_field(service, instance), str(cursor))]
        try:
            return int(await self._script(keys=[self._keys.board], args=args))
        except FAILURES as error:
            raise BusUnavailable(describe(error)) from error

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()
