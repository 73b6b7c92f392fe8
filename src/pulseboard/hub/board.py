"""The board: the latest status and sign of life of every instance, in this process's memory."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from pulseboard.bus.feed import Beat, Entry, Reset
from pulseboard.bus.keys import BOARD_MAX
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events import StatusEvent
from pulseboard.wire.names import camel_case
from pulseboard.wire.state import State, judge

FORGET_MS = 7 * 86_400_000
"""An instance without a sign of life for so long is taken off the board."""
FORGET_REPLACED_MS = 3_600_000
"""So is an ended instance after this, when its service has one that was seen since: each restart leaves one behind."""


@dataclass(slots=True)
class Instance:
    """One instance: its last event, that event's place in the feed, and when it was last seen (ms by Redis' clock)."""

    event: StatusEvent
    cursor: Cursor
    seen: int

    def state(self, now: int, *, blind: bool) -> State:
        event = self.event
        return judge(blind=blind, seen=self.seen, now=now, beat_s=event.beat_s, goodbye=event.goodbye)


class InstanceView(msgspec.Struct):
    """An instance as the `board` event shows it (docs/reference/wire.md)."""

    service: str
    instance: str
    timestamp: int
    status: msgspec.Raw
    beat_s: float | None
    goodbye: bool
    id: str
    seen: int


class Board:
    """Applies what the feed brings, and shows it. `expected` services stand on it before they are first seen."""

    def __init__(self, expected: Iterable[str] = (), *, max_instances: int = BOARD_MAX) -> None:
        self.expected = tuple(dict.fromkeys(expected))
        self._max_instances = max_instances
        self._instances: dict[tuple[str, str], Instance] = {}

    def __len__(self) -> int:
        return len(self._instances)

    def reset(self, reset: Reset) -> None:
        """Forget everything and take the board of the snapshot."""
        self._instances = {}
        for entry in reset.board[-self._max_instances :]:
            self.apply(entry)
        for beat in reset.beats:
            self.apply_beat(beat)

    def apply(self, entry: Entry) -> None:
        """Take one status event; raise InvalidEvent when it is from one instance more than the board holds."""
        event, cursor = entry.event, entry.cursor
        key = (event.service, event.instance)
        instance = self._instances.get(key)
        if instance is None:
            if len(self._instances) >= self._max_instances:
                raise InvalidEvent(
                    "board-full", f"the board holds {self._max_instances} instances and this is a new one"
                )
            self._instances[key] = Instance(event, cursor, cursor.ms)
        else:
            instance.event, instance.cursor, instance.seen = event, cursor, max(instance.seen, cursor.ms)

    def apply_beat(self, beat: Beat) -> bool:
        """Take one sign of life; return False when it is of an instance that the board does not know."""
        instance = self._instances.get((beat.service, beat.instance))
        if instance is None:
            return False
        instance.seen = max(instance.seen, beat.seen)
        return True

    def forget(self, now: int) -> list[tuple[str, str, Cursor]]:
        """Take off what has ended long ago; return each as (service, instance, cursor of its last event)."""
        latest: dict[str, int] = {}
        for (service, _), instance in self._instances.items():
            latest[service] = max(latest.get(service, 0), instance.seen)
        gone = []
        for (service, name), instance in list(self._instances.items()):
            age = now - instance.seen
            ended = instance.state(now, blind=False) in (State.STOPPED, State.LOST)
            replaced = ended and latest[service] > instance.seen
            if age > FORGET_MS or (replaced and age > FORGET_REPLACED_MS):
                del self._instances[service, name]
                gone.append((service, name, instance.cursor))
        return gone

    def view(self, services: Collection[str] | None = None) -> list[InstanceView]:
        """Return every instance (of `services`, if given), in the order in which they first appeared."""
        return [
            InstanceView(
                event.service,
                event.instance,
                event.timestamp,
                event.status,
                event.beat_s,
                event.goodbye,
                str(each.cursor),
                each.seen,
            )
            for each in self._instances.values()
            for event in (each.event,)
            if services is None or event.service in services
        ]

    def seen(self) -> list[tuple[str, str, int]]:
        """Return the last sign of life of every instance, as the `beats` event tells it."""
        return [(service, name, each.seen) for (service, name), each in self._instances.items()]

    def snapshot(self) -> dict[str, msgspec.Raw]:
        """Return the seed's snapshot: camelCase name to status; of several instances the one updated last."""
        latest: dict[str, Instance] = {}
        for (service, _), instance in self._instances.items():
            if service not in latest or instance.cursor > latest[service].cursor:
                latest[service] = instance
        statuses = {camel_case(service): msgspec.Raw(b"{}") for service in self.expected}
        return statuses | {camel_case(service): instance.event.status for service, instance in latest.items()}
