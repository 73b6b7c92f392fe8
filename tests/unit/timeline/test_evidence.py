"""The state of an instance at a past moment, judged from events, signs of life and incidents."""

from typing import Any

import msgspec
import pytest

from pulseboard.timeline.evidence import judge_past
from pulseboard.wire.events.lifecycle import Incident
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import State

EVENT_MS = 100_000
INTERVAL_MS = 1_000


def event(**fields: Any) -> StatusEvent:
    facts: dict[str, Any] = {"heartbeat_s": 1.0} | fields
    status = msgspec.Raw(b"{}")
    return StatusEvent(service="till", instance="a", timestamp=0, status=status, **facts)


def loss(seen: int, declared: int, *, instance: str = "a") -> Incident:
    return Incident(
        id=f"{declared}-0",
        service="till",
        instance=instance,
        seen=seen,
        declared=declared,
        cause="silent",
        heartbeat_s=1.0,
    )


def state_at(at_ms: int, *losses: Incident, sign_ms: int | None = None, **fields: Any) -> State:
    return judge_past(event(**fields), EVENT_MS, sign_ms, losses, at_ms)


def test_instance_is_alive_within_its_interval_after_its_last_event() -> None:
    assert state_at(EVENT_MS + INTERVAL_MS) is State.ALIVE


def test_later_sign_of_life_proves_that_an_instance_was_alive() -> None:
    assert state_at(EVENT_MS + 60_000, sign_ms=EVENT_MS + 90_000) is State.ALIVE


def test_silence_after_the_last_kept_event_alone_is_unknown() -> None:
    assert state_at(EVENT_MS + 60_000) is State.UNKNOWN


def test_silence_after_the_last_sign_of_all_is_late_and_not_lost_without_a_declaration() -> None:
    assert state_at(EVENT_MS + 60_000, sign_ms=EVENT_MS + 5_000) is State.LATE


def test_declared_loss_is_lost() -> None:
    declared = loss(EVENT_MS + 5_000, EVENT_MS + 8_000)
    assert state_at(EVENT_MS + 9_000, declared) is State.LOST


@pytest.mark.parametrize(
    ("at_ms", "state"), [(EVENT_MS + 6_000, State.ALIVE), (EVENT_MS + 7_000, State.LATE)]
)
def test_loss_that_was_declared_later_proves_silence_although_the_instance_returned(
    at_ms: int, state: State
) -> None:
    declared_later = loss(EVENT_MS + 5_000, EVENT_MS + 8_000)
    assert state_at(at_ms, declared_later, sign_ms=EVENT_MS + 90_000) is state


def test_loss_that_began_later_proves_that_an_instance_was_alive() -> None:
    assert state_at(EVENT_MS + 60_000, loss(EVENT_MS + 61_000, EVENT_MS + 64_000)) is State.ALIVE


def test_loss_before_the_last_event_does_not_count() -> None:
    assert state_at(EVENT_MS + 100, loss(EVENT_MS - 9_000, EVENT_MS - 6_000)) is State.ALIVE


def test_loss_of_another_instance_does_not_count() -> None:
    other = loss(EVENT_MS, EVENT_MS + 50, instance="b")
    assert state_at(EVENT_MS + 100, other) is State.ALIVE


def test_stopped_instance_stays_stopped_until_its_missed_return_is_declared() -> None:
    declared = loss(EVENT_MS, EVENT_MS + 20_000)
    stopped: dict[str, Any] = {"stopped": True, "back_in_s": 10.0}
    assert state_at(EVENT_MS + 19_000, declared, **stopped) is State.STOPPED
    assert state_at(EVENT_MS + 20_000, declared, **stopped) is State.LOST


def test_instance_without_heartbeats_is_silent() -> None:
    assert state_at(EVENT_MS + 60_000, heartbeat_s=None) is State.SILENT
