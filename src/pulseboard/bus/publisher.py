"""What a service sends: batches of status events and beats, each in one round trip. Synchronous, for the SDK's own thread."""

from collections.abc import Sequence
from typing import NamedTuple

from pulseboard.bus.address import RedisAddress
from pulseboard.bus.client import open_client, told_as_unavailable
from pulseboard.bus.keys import APPEND_LIMITS, BEATS_MAX, Keys, board_field, format_absence
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.names import DEFAULT_PREFIX, format_channel


class Outgoing(NamedTuple):
    """One event on its way out: whose it is, its JSON, and with a planned goodbye for how long (s)."""

    service: str
    instance: str
    json: bytes
    back_in_s: float | None = None


class Publisher:
    """One connection that publishes. Raises BusUnavailable when Redis is away; the next call connects again."""

    def __init__(
        self, address: RedisAddress, keys: Keys, *, prefix: str = DEFAULT_PREFIX, timeout_s: float = 2.0
    ) -> None:
        self._client = open_client(address, keys, timeout_s=timeout_s)
        self._keys = keys
        self._prefix = prefix
        self._publish = self._client.register_script(read_script("publish"))
        self._beat = self._client.register_script(read_script("beat"))
        self._taken: dict[str, Cursor] = {}  # of each instance, the last event that Redis said it took

    def publish(self, events: Sequence[Outgoing]) -> list[Cursor]:
        """Put the events into feed, history and board and PUBLISH them, in one atomic step; return their cursors."""
        keys = [*self._keys.shared]
        args: list[str | bytes | int] = [*APPEND_LIMITS]
        for event in events:
            keys += [self._keys.history(event.service), self._keys.planned(event.service)]
            args += [
                format_channel(event.service, self._prefix),
                board_field(event.service, event.instance),
                event.json,
                format_absence(event.back_in_s),
            ]
        with told_as_unavailable():
            cursors = [Cursor.parse(id) for id in self._publish(keys=keys, args=args)]
        for event, cursor in zip(events, cursors, strict=True):
            self._taken[board_field(event.service, event.instance)] = cursor
        return cursors

    def beat(self, service: str, instance: str, lag_ms: int = 0) -> bool:
        """Give one sign of life; return False when the board does not know the instance, or not its last event.

        Then its status must be sent again: Redis lost its data, or a failover lost what was not passed on.
        `lag_ms` is for how long the event loop of an async host has not answered; 0 when it does, or there is none.
        """
        keys = [self._keys.beats, self._keys.clock, self._keys.board, self._keys.seen]
        taken = self._taken.get(board_field(service, instance), "")
        with told_as_unavailable():
            return bool(self._beat(keys=keys, args=[BEATS_MAX, service, instance, lag_ms, str(taken)]))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
