"""The board: the latest status and sign of life of every instance, in this process's memory."""

from collections import deque
from collections.abc import Collection, Iterable

import msgspec

from pulseboard.bus.feed.entries import INCIDENTS_SHOWN, Entry, Heartbeat, Reset
from pulseboard.bus.history.incidents import InstanceLoss
from pulseboard.bus.keys import BOARD_MAX
from pulseboard.hub.omitted_instances import OmittedInstances
from pulseboard.hub.options import FORGET_S
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.lifecycle import Incident, LifecycleEvent
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.instances import (
    InstanceKey,
    InstanceRecord,
    InstanceTable,
    state_of_missing,
)
from pulseboard.wire.names import camel_case
from pulseboard.wire.state import State
from pulseboard.wire.views import Freshness, InstanceStateView, InstanceView

FORGET_REPLACED_S = 3_600.0
"""An ended instance leaves the board after this time if its service has one that was seen later.

Each restart of a service leaves such an instance behind.
"""
CROWDED = 0.8
"""Above this share of its capacity, a board evicts ended instances before their time."""


class Board:
    """Applies entries of the feed, and answers questions about services and instances.

    `expected` services stand on the board before any instance has published.
    """

    def __init__(
        self,
        expected: Iterable[str] = (),
        *,
        max_instances: int = BOARD_MAX,
        forget_s: float = FORGET_S,
    ) -> None:
        self.expected = tuple(dict.fromkeys(expected))
        self.incidents: deque[Incident] = deque(maxlen=INCIDENTS_SHOWN)
        self._max_instances = max_instances
        self._forget_ms = forget_s * 1000
        self._instances = InstanceTable()
        self._omitted_instances = OmittedInstances()

    def __len__(self) -> int:
        return len(self._instances)

    @property
    def _records(self) -> dict[InstanceKey, InstanceRecord]:
        return self._instances.records

    @property
    def services(self) -> set[str]:
        """Every service that is on the board, or expected."""
        return {*self.expected, *(service for service, _ in self._records)}

    def reset(self, reset: Reset) -> None:
        """Replace the whole board by that of a reset."""
        self._instances = InstanceTable()
        self.incidents.clear()
        self.incidents.extend(reset.incidents)
        self._omitted_instances.clear()
        for entry in reset.board[-self._max_instances :]:
            self.apply(entry)
        for entry in reset.board[: -self._max_instances]:
            if isinstance(entry.event, StatusEvent):
                self._omit(entry.event, entry.cursor)
        for heartbeat in reset.heartbeats:
            self.apply_heartbeat(heartbeat)
        for key, seen in reset.lost.items():
            if (record := self._records.get(key)) is not None:
                record.declared = seen

    def apply(self, entry: Entry) -> None:
        """Apply one event; raise InvalidEvent if it is of a new instance and the board is full."""
        event, cursor = entry.event, entry.cursor
        if isinstance(event, LifecycleEvent):
            self._instances.apply_lifecycle(event, cursor)
            if event.event == "lost" and event.incident is not None:
                self.incidents.appendleft(event.incident)
        elif isinstance(event, StatusEvent):
            self._apply_status(event, cursor)

    def apply_heartbeat(self, heartbeat: Heartbeat) -> bool:
        """Apply one heartbeat; return False when the instance is not on the board."""
        key = (heartbeat.service, heartbeat.instance)
        return self._instances.apply_heartbeat(key, heartbeat.seen, heartbeat.lag_ms)

    def evictable(self, now: int, freshness: Freshness) -> list[tuple[str, str, Cursor]]:
        """Return the instances to remove, each as (service, instance, cursor of its last event).

        These are the instances that ended long ago. If the board is nearly full, as after a crash
        loop, also those that ended recently, the oldest first, to make room for live ones.
        """
        latest: dict[str, int] = {}
        for (service, _), record in self._records.items():
            latest[service] = max(latest.get(service, 0), record.seen)
        ended: list[InstanceRecord] = []
        reserve: list[InstanceRecord] = []
        for (service, _), record in self._records.items():
            age = now - record.seen
            state = record.state(freshness)
            if state in (State.ALIVE, State.LATE, State.UNKNOWN):
                # Its heartbeat interval may be longer than the time after which it would go.
                continue
            if state is State.STOPPED and record.event.back_in_s is not None:
                continue  # Its planned return is not over.
            replaced = state in (State.STOPPED, State.LOST) and latest[service] > record.seen
            if age > self._forget_ms or (replaced and age > FORGET_REPLACED_S * 1000):
                ended.append(record)
            elif state is State.STOPPED or record.lost:  # A loss must be declared first.
                reserve.append(record)
        excess = len(self) - len(ended) - int(self._max_instances * CROWDED)
        if excess > 0:
            ended += sorted(reserve, key=lambda record: record.seen)[:excess]
        return [(each.event.service, each.event.instance, each.cursor) for each in ended]

    def losses(self, freshness: Freshness) -> list[InstanceLoss]:
        """Return the instances that are lost and have not been declared lost."""
        return [
            InstanceLoss(
                each.event, each.cursor, each.seen, "overdue" if each.event.stopped else "silent"
            )
            for each in self._records.values()
            if not each.lost and each.state(freshness) is State.LOST
        ]

    def shortest_interval_s(self) -> float | None:
        """Return the shortest heartbeat interval of running instances; None if none has one."""
        return min(
            (
                each.event.heartbeat_s
                for each in self._records.values()
                if each.event.heartbeat_s is not None and not each.event.stopped and not each.lost
            ),
            default=None,
        )

    def last_seen(self) -> dict[InstanceKey, int]:
        """Return the last sign of life of each instance (ms by Redis' clock)."""
        return {key: each.seen for key, each in self._records.items()}

    def states(self, freshness: Freshness) -> dict[InstanceKey, State]:
        """Return the state of each instance, by (service, instance)."""
        return {key: each.state(freshness) for key, each in self._records.items()}

    def states_with_missing(self, freshness: Freshness) -> list[State]:
        """Return the state of every instance, and that of each expected service without one."""
        missing = self._instances.missing(self.expected)
        return [*self.states(freshness).values(), *[state_of_missing(freshness)] * len(missing)]

    def states_of(self, service: str, freshness: Freshness) -> dict[str, State]:
        """Return the state of each instance of a service, by its name."""
        return {
            name: each.state(freshness)
            for (owner, name), each in self._records.items()
            if owner == service
        }

    def view(self, services: Collection[str] | None = None) -> list[InstanceView]:
        """Return every instance, or those of `services`, in the order of their first events."""
        return [
            each.view()
            for each in self._records.values()
            if services is None or each.event.service in services
        ]

    def view_with_states(self, freshness: Freshness) -> list[InstanceStateView]:
        """Return every instance with its state, in the order of their first events."""
        return [each.view_with_state(freshness) for each in self._records.values()]

    def heartbeats(self, services: Collection[str] | None = None) -> list[Heartbeat]:
        """Return the last sign of life of every instance, or of those of `services`."""
        return [
            Heartbeat(service, name, each.seen, each.lag_ms)
            for (service, name), each in self._records.items()
            if services is None or service in services
        ]

    def omitted(self, now: int) -> int:
        """Return how many instances published in the hour before `now` (ms) and found no room."""
        return self._omitted_instances.count(now)

    def snapshot(self) -> dict[str, msgspec.Raw]:
        """Return the snapshot of the status stream: status by camelCase service name.

        For a service with several instances it has the status that was published last.
        """
        latest: dict[str, InstanceRecord] = {}
        for (service, _), record in self._records.items():
            if service not in latest or record.cursor > latest[service].cursor:
                latest[service] = record
        statuses = {camel_case(service): msgspec.Raw(b"{}") for service in self.expected}
        return statuses | {
            camel_case(service): record.event.status for service, record in latest.items()
        }

    def _apply_status(self, event: StatusEvent, cursor: Cursor) -> None:
        key = (event.service, event.instance)
        if key not in self._records:
            if len(self._instances) >= self._max_instances:
                self._omit(event, cursor)
                raise InvalidEvent(
                    "board-full",
                    f"the board already holds its maximum of {self._max_instances} instances",
                )
            self._omitted_instances.discard(key)
        self._instances.apply_status(event, cursor)

    def _omit(self, event: StatusEvent, cursor: Cursor) -> None:
        key = (event.service, event.instance)
        if event.stopped:
            self._omitted_instances.discard(key)
        else:
            self._omitted_instances.add(key, cursor.ms)
