"""The board reducer: from events to the latest known of each instance, and the state of each.

The hub applies the entries of the feed, and the command line applies the messages of a stream.
Heartbeats and losses may arrive in any order; the result does not depend on it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.lifecycle import LifecycleEvent
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import Signs, State, judge
from pulseboard.wire.views import Freshness, InstanceStateView, InstanceView

InstanceKey = tuple[str, str]
"""(service, instance)"""

NEVER_DECLARED = -1


@dataclass(slots=True)
class InstanceRecord:
    """One instance: its last event, that event's place in the feed, and when it was last seen.

    `seen` and `declared` are ms by Redis' clock; `declared` is the last sign of life of the loss
    that was declared last.
    """

    event: StatusEvent
    cursor: Cursor
    seen: int
    lag_ms: int = 0
    declared: int = NEVER_DECLARED

    @property
    def lost(self) -> bool:
        """Whether it was declared lost and has given no sign of life since."""
        return self.seen <= self.declared

    def state(self, freshness: Freshness) -> State:
        """Return the state of this instance."""
        event = self.event
        return judge(
            Signs(
                blind=freshness.blind is not None,
                seen=self.seen,
                observed_until=freshness.observed_until,
                observed_since=freshness.observed_since,
                heartbeat_s=event.heartbeat_s,
                stopped=event.stopped,
                back_in_s=event.back_in_s,
                lost=self.lost,
            )
        )

    def view(self) -> InstanceView:
        """Return this instance as the `board` event shows it."""
        return InstanceView(**self._view_fields())

    def view_with_state(self, freshness: Freshness) -> InstanceStateView:
        """Return this instance with its state."""
        return InstanceStateView(**self._view_fields(), state=self.state(freshness))

    def _view_fields(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self.event) | {
            "lost": self.lost,
            "lag_ms": self.lag_ms,
            "id": str(self.cursor),
            "seen": self.seen,
        }


class InstanceTable:
    """The record of each instance, by (service, instance), in the order of their first events."""

    def __init__(self) -> None:
        self.records: dict[InstanceKey, InstanceRecord] = {}

    def __len__(self) -> int:
        return len(self.records)

    def replace(self, views: Iterable[InstanceView]) -> None:
        """Replace all records by those of a `board` event."""
        self.records = {
            (view.service, view.instance): InstanceRecord(
                view,
                Cursor.parse(view.id),
                view.seen,
                view.lag_ms,
                declared=view.seen if view.lost else NEVER_DECLARED,
            )
            for view in views
        }

    def apply_status(self, event: StatusEvent, cursor: Cursor) -> None:
        """Apply a status event; the time of its cursor is a sign of life."""
        record = self.records.get((event.service, event.instance))
        if record is None:
            record = InstanceRecord(event, cursor, cursor.ms)
            self.records[event.service, event.instance] = record
        else:
            record.event, record.cursor = event, cursor
            record.seen = max(record.seen, cursor.ms)

    def apply_heartbeat(self, key: InstanceKey, seen: int, lag_ms: int) -> bool:
        """Apply a heartbeat; return False when the instance is unknown."""
        record = self.records.get(key)
        if record is None:
            return False
        record.lag_ms = lag_ms
        record.seen = max(record.seen, seen)
        return True

    def apply_lifecycle(self, event: LifecycleEvent, cursor: Cursor) -> None:
        """Apply a loss, or remove an instance that is gone and published nothing afterwards."""
        key = (event.service, event.instance)
        record = self.records.get(key)
        if record is None:
            return
        if event.event == "gone" and record.cursor < cursor:
            del self.records[key]
        elif event.event == "lost" and event.incident is not None:
            record.declared = max(record.declared, event.incident.seen)

    def missing(self, expected: Iterable[str]) -> list[str]:
        """Return the expected services that no instance has published for."""
        published = {service for service, _ in self.records}
        return [service for service in expected if service not in published]


def state_of_missing(freshness: Freshness) -> State:
    """Return the state of an expected service that has no instance."""
    return State.MISSING if freshness.blind is None else State.UNKNOWN
