"""What a service sends: batches of status events and beats, each in one round trip. Synchronous, for the SDK's own thread."""

from collections.abc import Sequence
from typing import NamedTuple

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import FAILURES, describe, open_client
from pulseboard.bus.keys import APPEND_LIMITS, BEATS_MAX, Keys, board_field
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import BusUnavailable
from pulseboard.wire.names import DEFAULT_PREFIX, format_channel


class Outgoing(NamedTuple):
    """One event on its way out: whose it is, and its JSON."""

    service: str
    instance: str
    json: bytes


class Publisher:
    """One connection that publishes. Raises BusUnavailable when Redis is away; the next call connects again."""

    def __init__(
        self, address: RedisAddress, keys: Keys, *, prefix: str = DEFAULT_PREFIX, timeout_s: float = 2.0
    ) -> None:
        self._client = open_client(address, timeout_s=timeout_s)
        self._keys = keys
        self._prefix = prefix
        self._publish = self._client.register_script(read_script("publish"))
        self._beat = self._client.register_script(read_script("beat"))

    def publish(self, events: Sequence[Outgoing]) -> list[Cursor]:
        """Put the events into feed, history and board and PUBLISH them, in one atomic step; return their cursors."""
        keys = [self._keys.feed, self._keys.board, *(self._keys.history(event.service) for event in events)]
        args: list[str | bytes | int] = [*APPEND_LIMITS]
        for event in events:
            args += [
                format_channel(event.service, self._prefix),
                board_field(event.service, event.instance),
                event.json,
            ]
        try:
            return [Cursor.parse(id) for id in self._publish(keys=keys, args=args)]
        except FAILURES as error:
            raise BusUnavailable(describe(error)) from error

    def beat(self, service: str, instance: str) -> bool:
        """Give one sign of life; return False when the board does not know the instance and its status must be sent again."""
        try:
            return bool(self._beat(keys=[self._keys.beats, self._keys.board], args=[BEATS_MAX, service, instance]))
        except FAILURES as error:
            raise BusUnavailable(describe(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
