"""The board as it comes over the stream, judged here by the same rule as on the server and on the page."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec

from pulseboard.cli.live import Away, Message
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.state import Signs, State, judge

STUCK_MS = 1_000
"""An event loop that has not answered for so long is stuck; a busy one may take its time (docs/reference/wire.md)."""


class InstanceSeen(msgspec.Struct, kw_only=True):
    """An instance, as the board event and `GET /api/services` tell of it; what later servers add is passed over."""

    service: str
    instance: str
    status: dict[str, Any] = {}
    timestamp: int = 0
    heartbeat_s: float | None = None
    stopped: bool = False
    back_in_s: float | None = None
    lost: bool = False
    lag_ms: int = 0
    id: str = ""
    seen: int | None = None
    commands: list[str] = []
    state: State = State.UNKNOWN

    @property
    def stuck(self) -> bool:
        """Whether the process beats while its event loop does not answer."""
        return self.state is State.ALIVE and self.lag_ms >= STUCK_MS


class BlindSeen(msgspec.Struct):
    """Since when, and why, the server cannot see Redis."""

    since: int
    reason: str


class _Sight(msgspec.Struct):
    now: int
    observed_until: int
    observed_since: int
    blind: BlindSeen | None = None


class _Board(_Sight):
    expect: list[str] = []
    instances: list[InstanceSeen] = []


class _Beats(msgspec.Struct):
    now: int
    observed_until: int
    heartbeats: list[list[Any]]


class Mirror:
    """Applies messages, and says what is the case. `told` is False until the first board, and while one is owed."""

    def __init__(self) -> None:
        self.told = False
        self.blind: BlindSeen | None = None
        self.away: str | None = None
        self.expect: list[str] = []
        self._observed_until = self._observed_since = 0
        self._ahead_ms = 0.0
        self._instances: dict[tuple[str, str], InstanceSeen] = {}

    @property
    def now_ms(self) -> int:
        """What time it is by Redis' clock, as far as that was told."""
        return int(time.monotonic() * 1000 + self._ahead_ms)

    def apply(self, item: Message | Away) -> None:
        """Take what came next."""
        if isinstance(item, Away):
            self.away = item.reason
            return
        match item.event:
            case "board":
                self._replace(msgspec.json.decode(item.data, type=_Board))
            case "status":
                self._take_status(item)
            case "heartbeats":
                self._take_beats(msgspec.json.decode(item.data, type=_Beats))
            case "ping":
                self._look(msgspec.json.decode(item.data, type=_Sight))
            case "lifecycle":
                self._take_lifecycle(item)
            case "reset" | "skipped":
                self.told = False

    def instances(self, services: Iterable[str] = ()) -> list[InstanceSeen]:
        """Return all instances (of `services`, if any) with their states, by service; who is expected and was never seen too."""
        for instance in self._instances.values():
            instance.state = self._judge(instance)
        absent = set(self.expect) - {service for service, _ in self._instances}
        missing = [InstanceSeen(service=name, instance="", state=State.MISSING) for name in absent]
        if self.blind is not None or self.away is not None:
            for each in missing:
                each.state = State.UNKNOWN
        wanted = frozenset(services)
        every = [*self._instances.values(), *missing]
        return sorted(
            (each for each in every if not wanted or each.service in wanted),
            key=lambda each: each.service,
        )

    def _judge(self, instance: InstanceSeen) -> State:
        return judge(
            Signs(
                blind=self.blind is not None or self.away is not None,
                seen=instance.seen,
                observed_until=self._observed_until,
                observed_since=self._observed_since,
                heartbeat_s=instance.heartbeat_s,
                stopped=instance.stopped,
                back_in_s=instance.back_in_s,
                lost=instance.lost,
            )
        )

    def _replace(self, board: _Board) -> None:
        self.told = True
        self.expect = board.expect
        self._instances = {(each.service, each.instance): each for each in board.instances}
        self._look(board)

    def _look(self, sight: _Sight) -> None:
        self.away, self.blind = None, sight.blind
        self._observed_until, self._observed_since = sight.observed_until, sight.observed_since
        self._ahead_ms = sight.now - time.monotonic() * 1000

    def _take_status(self, message: Message) -> None:
        event = msgspec.json.decode(message.data, type=InstanceSeen)
        event.id, event.seen = message.id, Cursor.parse(message.id).ms
        known = self._instances.get((event.service, event.instance))
        if known is not None:
            event.lag_ms = known.lag_ms
            event.seen = max(event.seen, known.seen or 0)
            event.lost = known.lost and event.seen <= (known.seen or 0)
        self._instances[event.service, event.instance] = event

    def _take_beats(self, heartbeats: _Beats) -> None:
        self._observed_until = heartbeats.observed_until
        self._ahead_ms = heartbeats.now - time.monotonic() * 1000
        for service, name, seen, *lag in heartbeats.heartbeats:
            instance = self._instances.get((service, name))
            if instance is None:
                continue
            instance.lag_ms = lag[0] if lag else 0
            if instance.seen is None or seen > instance.seen:
                instance.seen, instance.lost = seen, False

    def _take_lifecycle(self, message: Message) -> None:
        event = message.decode()
        key = event["service"], event["instance"]
        instance = self._instances.get(key)
        if instance is None:
            return
        if event["event"] == "gone" and Cursor.parse(instance.id) < Cursor.parse(message.id):
            del self._instances[key]
        elif event["event"] == "lost" and (incident := event.get("incident")):
            instance.lost = (instance.seen or 0) <= incident["seen"]
