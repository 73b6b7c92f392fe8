"""The board as the stream reports it, reduced by the same rules as on the server."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from pulseboard.cli.live import Away, Message
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.lifecycle import LifecycleEvent
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.instances import InstanceTable, state_of_missing
from pulseboard.wire.state import State
from pulseboard.wire.views import (
    BlindView,
    BoardView,
    Freshness,
    HeartbeatsView,
    InstanceStateView,
    PingView,
)

STUCK_MS = 1_000
"""An event loop that has not answered for this time is stuck (docs/reference/wire.md)."""


class Mirror:
    """Applies messages of `/api/stream`, and returns the instances with their states.

    `has_board` is False before the first board, and while the server owes one. `away` is why the
    server cannot be reached, or None.
    """

    def __init__(self) -> None:
        self.has_board = False
        self.away: str | None = None
        self._expected: list[str] = []
        self._freshness = Freshness()
        self._redis_ahead_ms = 0.0
        self._instances = InstanceTable()

    @property
    def blind(self) -> BlindView | None:
        """Since when and why the server cannot reach Redis; None while it can."""
        return self._freshness.blind

    @property
    def now_ms(self) -> int:
        """The current time by Redis' clock, in ms, as last reported."""
        return int(time.monotonic() * 1000 + self._redis_ahead_ms)

    def apply(self, item: Message | Away) -> None:
        """Apply one message, or the loss of the server."""
        if isinstance(item, Away):
            self.away = item.reason
            return
        match item.event:
            case "board":
                self._replace(msgspec.json.decode(item.data, type=BoardView))
            case "status":
                event = msgspec.json.decode(item.data, type=StatusEvent)
                self._instances.apply_status(event, Cursor.parse(item.id))
            case "heartbeats":
                self._apply_heartbeats(msgspec.json.decode(item.data, type=HeartbeatsView))
            case "ping":
                self._apply_ping(msgspec.json.decode(item.data, type=PingView))
            case "lifecycle":
                lifecycle = msgspec.json.decode(item.data, type=LifecycleEvent)
                self._instances.apply_lifecycle(lifecycle, Cursor.parse(item.id))
            case "reset" | "skipped":
                self.has_board = False

    def instances(self, services: Iterable[str] = ()) -> list[InstanceStateView]:
        """Return all instances with their states, by service, or those of `services`.

        An expected service without an instance has one without a name.
        """
        freshness = self._freshness
        if self.away is not None:
            freshness = Freshness(blind=BlindView(since=0, reason=self.away))
        wanted = frozenset(services)
        instances = [
            *(each.view_with_state(freshness) for each in self._instances.records.values()),
            *(
                missing_instance(name, state_of_missing(freshness))
                for name in self._instances.missing(self._expected)
            ),
        ]
        return sorted(
            (each for each in instances if not wanted or each.service in wanted),
            key=lambda each: each.service,
        )

    def _replace(self, board: BoardView) -> None:
        self.has_board = True
        self._expected = board.expect
        self._instances.replace(board.instances)
        self._apply_ping(board)

    def _apply_ping(self, ping: PingView) -> None:
        self.away = None
        self._freshness = ping
        self._set_clock(ping.now)

    def _apply_heartbeats(self, message: HeartbeatsView) -> None:
        self._freshness = msgspec.structs.replace(
            self._freshness, observed_until=message.observed_until
        )
        self._set_clock(message.now)
        for row in message.heartbeats:
            self._instances.apply_heartbeat((row.service, row.instance), row.seen, row.lag_ms)

    def _set_clock(self, now_ms: int) -> None:
        self._redis_ahead_ms = now_ms - time.monotonic() * 1000


def missing_instance(service: str, state: State) -> InstanceStateView:
    """Return the unnamed instance that stands for an expected service without instances."""
    return InstanceStateView(service=service, timestamp=0, status=msgspec.Raw(b"{}"), state=state)


def read_status(instance: InstanceStateView) -> dict[str, Any]:
    """Return the status of an instance, decoded."""
    status: dict[str, Any] = msgspec.json.decode(instance.status)
    return status


def read_last_seen(instance: InstanceStateView) -> int | None:
    """Return when an instance was last seen (ms by Redis' clock); None for a missing one."""
    return instance.seen or None


def is_stuck(instance: InstanceStateView) -> bool:
    """Return whether the process sends heartbeats while its event loop does not answer."""
    return instance.state is State.ALIVE and instance.lag_ms >= STUCK_MS
