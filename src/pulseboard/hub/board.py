"""The board: the latest status and sign of life of every instance, in this process's memory."""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec

from pulseboard.bus.feed.entries import INCIDENTS_SHOWN, Entry, Heartbeat, Reset
from pulseboard.bus.history.incidents import InstanceLoss
from pulseboard.bus.keys import BOARD_MAX
from pulseboard.hub.options import FORGET_S
from pulseboard.hub.overflow import Overflow
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.lifecycle import Incident, LifecycleEvent
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.names import camel_case
from pulseboard.wire.state import Signs, State, judge
from pulseboard.wire.views import Freshness, InstanceView

FORGET_REPLACED_S = 3_600.0
"""An ended instance is taken off the board after this, when its service has one that was seen since: each restart leaves one."""
CROWDED = 0.8
"""A board that is fuller than this lets go of what ended sooner."""


@dataclass(slots=True)
class Instance:
    """One instance: its last event, that event's place in the feed, and when it was last seen (ms by Redis' clock)."""

    event: StatusEvent
    cursor: Cursor
    seen: int
    lag_ms: int = 0
    declared: int = -1
    """It was declared lost, when this had been its last sign of life (ms)."""

    @property
    def lost(self) -> bool:
        """Whether it was declared lost and gave no sign of life since. Beats and losses may come in any order."""
        return self.seen <= self.declared

    def state(self, sight: Freshness) -> State:
        event = self.event
        return judge(
            Signs(
                blind=sight.blind is not None,
                seen=self.seen,
                observed_until=sight.observed_until,
                observed_since=sight.observed_since,
                heartbeat_s=event.heartbeat_s,
                stopped=event.stopped,
                back_in_s=event.back_in_s,
                lost=self.lost,
            )
        )


class Board:
    """Applies what the feed brings, and shows it. `expected` services stand on it before they are first seen."""

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
        self._instances: dict[tuple[str, str], Instance] = {}
        self._left_out = Overflow()

    def __len__(self) -> int:
        return len(self._instances)

    def reset(self, reset: Reset) -> None:
        """Forget everything and take the board of the snapshot."""
        self._instances = {}
        self.incidents.clear()
        self.incidents.extend(reset.incidents)
        self._left_out.clear()
        for entry in reset.board[-self._max_instances :]:
            self.apply(entry)
        for entry in reset.board[: -self._max_instances]:
            if isinstance(entry.event, StatusEvent):
                self._leave_out(entry.event, entry.cursor)
        for heartbeat in reset.heartbeats:
            self.apply_heartbeat(heartbeat)
        for who, seen in reset.lost.items():
            if (instance := self._instances.get(who)) is not None:
                instance.declared = seen

    def apply(self, entry: Entry) -> None:
        """Take one event; raise InvalidEvent when it is from one instance more than the board holds."""
        if isinstance(entry.event, LifecycleEvent):
            self._apply_lifecycle(entry.event, entry.cursor)
        elif isinstance(entry.event, StatusEvent):
            self._apply_status(entry.event, entry.cursor)

    def apply_heartbeat(self, heartbeat: Heartbeat) -> bool:
        """Take one sign of life; return False when it is of an instance that the board does not know."""
        instance = self._instances.get((heartbeat.service, heartbeat.instance))
        if instance is None:
            return False
        instance.lag_ms = heartbeat.lag_ms
        instance.seen = max(instance.seen, heartbeat.seen)
        return True

    def forgettable(self, now: int, sight: Freshness) -> list[tuple[str, str, Cursor]]:
        """Return what ended long ago, each as (service, instance, cursor of its last event).

        Where the board is nearly full, as after a crash loop, also what ended last, the longest ago first: who lives
        must find room.
        """
        latest: dict[str, int] = {}
        for (service, _), instance in self._instances.items():
            latest[service] = max(latest.get(service, 0), instance.seen)
        gone: list[Instance] = []
        spare: list[Instance] = []
        for (service, _), instance in self._instances.items():
            age = now - instance.seen
            state = instance.state(sight)
            if state in (State.ALIVE, State.LATE, State.UNKNOWN):
                continue  # of a rhythm slower than the time after which it would be forgotten, or not to be judged yet
            if state is State.STOPPED and instance.event.back_in_s is not None:
                continue  # still expected back
            replaced = state in (State.STOPPED, State.LOST) and latest[service] > instance.seen
            if age > self._forget_ms or (replaced and age > FORGET_REPLACED_S * 1000):
                gone.append(instance)
            elif state is State.STOPPED or instance.lost:  # not one whose loss is yet to be told
                spare.append(instance)
        excess = len(self) - len(gone) - int(self._max_instances * CROWDED)
        if excess > 0:
            gone += sorted(spare, key=lambda instance: instance.seen)[:excess]
        return [(each.event.service, each.event.instance, each.cursor) for each in gone]

    def roll_call(self, sight: Freshness) -> list[tuple[str, str, State]]:
        """Return the state of every instance as (service, instance, state); `missing` of services expected and never seen."""
        unknown = State.MISSING if sight.blind is None else State.UNKNOWN
        known = [(*who, each.state(sight)) for who, each in self._instances.items()]
        seen = {service for service, _ in self._instances}
        return known + [(service, "", unknown) for service in self.expected if service not in seen]

    def losses(self, sight: Freshness) -> list[InstanceLoss]:
        """Return whoever is lost and was not declared so yet."""
        return [
            InstanceLoss(
                each.event, each.cursor, each.seen, "overdue" if each.event.stopped else "silent"
            )
            for each in self._instances.values()
            if not each.lost and each.state(sight) is State.LOST
        ]

    def fastest_s(self) -> float | None:
        """Return the shortest rhythm of those that should beat, in seconds; None when nobody should."""
        return min(
            (
                each.event.heartbeat_s
                for each in self._instances.values()
                if each.event.heartbeat_s is not None and not each.event.stopped and not each.lost
            ),
            default=None,
        )

    @property
    def services(self) -> set[str]:
        """Every service that is on the board, or expected."""
        return {*self.expected, *(service for service, _ in self._instances)}

    def seen(self) -> dict[tuple[str, str], int]:
        """Return when each instance gave its last sign of life (ms by Redis' clock)."""
        return {who: each.seen for who, each in self._instances.items()}

    def states_of(self, service: str, sight: Freshness) -> dict[str, State]:
        """Return the state of each instance of a service, by its name."""
        return {
            name: each.state(sight)
            for (owner, name), each in self._instances.items()
            if owner == service
        }

    def view(self, services: Collection[str] | None = None) -> list[InstanceView]:
        """Return every instance (of `services`, if given), in the order in which they first appeared."""
        return [
            InstanceView(
                **msgspec.structs.asdict(each.event),
                lost=each.lost,
                lag_ms=each.lag_ms,
                id=str(each.cursor),
                seen=each.seen,
            )
            for each in self._instances.values()
            if services is None or each.event.service in services
        ]

    def states(self, sight: Freshness) -> dict[tuple[str, str], State]:
        """Return what is made of each instance, by service and instance."""
        return {who: each.state(sight) for who, each in self._instances.items()}

    def heartbeats(self, services: Collection[str] | None = None) -> list[Heartbeat]:
        """Return the last sign of life of every instance (of `services`, if given)."""
        return [
            Heartbeat(service, name, each.seen, each.lag_ms)
            for (service, name), each in self._instances.items()
            if services is None or service in services
        ]

    def omitted(self, now: int) -> int:
        """Return how many instances spoke in the hour before `now` (ms) for which the board has no room."""
        return self._left_out.count(now)

    def snapshot(self) -> dict[str, msgspec.Raw]:
        """Return the seed's snapshot: camelCase name to status; of several instances the one updated last."""
        latest: dict[str, Instance] = {}
        for (service, _), instance in self._instances.items():
            if service not in latest or instance.cursor > latest[service].cursor:
                latest[service] = instance
        statuses = {camel_case(service): msgspec.Raw(b"{}") for service in self.expected}
        return statuses | {
            camel_case(service): instance.event.status for service, instance in latest.items()
        }

    def _apply_status(self, event: StatusEvent, cursor: Cursor) -> None:
        key = (event.service, event.instance)
        instance = self._instances.get(key)
        if instance is None:
            if len(self._instances) >= self._max_instances:
                self._leave_out(event, cursor)
                raise InvalidEvent(
                    "board-full",
                    f"the board holds {self._max_instances} instances and this is a new one",
                )
            self._instances[key] = Instance(event, cursor, cursor.ms)
            self._left_out.discard(key)
        else:
            instance.event, instance.cursor, instance.seen = (
                event,
                cursor,
                max(instance.seen, cursor.ms),
            )

    def _leave_out(self, event: StatusEvent, cursor: Cursor) -> None:
        who = (event.service, event.instance)
        if event.stopped:
            self._left_out.discard(who)
        else:
            self._left_out.add(who, cursor.ms)

    def _apply_lifecycle(self, event: LifecycleEvent, cursor: Cursor) -> None:
        key = (event.service, event.instance)
        instance = self._instances.get(key)
        if event.event == "gone" and instance is not None and instance.cursor < cursor:
            del self._instances[key]
        elif event.event == "lost" and event.incident is not None:
            self.incidents.appendleft(event.incident)
            if instance is not None:
                instance.declared = max(instance.declared, event.incident.seen)
