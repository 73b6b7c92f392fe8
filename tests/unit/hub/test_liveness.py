"""States of instances stay correct through failures of services, Redis and the server."""

from benchmarks.false_alarms import Simulation
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.hub import entry, lifecycle

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, Entry, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import State

NAMES = "abc"


def test_fleet_has_no_false_losses_and_deaths_show_within_three_heartbeats() -> None:
    result = Simulation(instances=100, days=0.25, seed=0).run()
    assert result.false_alarms == []
    assert result.unreported == []
    assert result.deaths == 25
    assert max(result.delays) <= 3


def new_hub() -> Hub:
    """Return a hub whose board has the instances NAMES."""
    hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
    board = [entry(1, instance=name, heartbeat_s=5) for name in NAMES]
    hub.apply(Reset("the server started", Cursor(1, 0), board, [], observed_until=1))
    return hub


def states(hub: Hub) -> dict[str, State]:
    """Return the state of each instance, as every client derives it from its messages."""
    instances = hub.board._instances.records.items()
    return {name: instance.state(hub.freshness) for (_, name), instance in instances}


signs = st.lists(
    st.one_of(
        st.tuples(st.just("heartbeat"), st.sampled_from(NAMES)),
        st.tuples(st.just("status"), st.sampled_from(NAMES)),
        st.tuples(st.just("stopped"), st.sampled_from(NAMES)),
        st.tuples(st.just("lost"), st.sampled_from(NAMES)),
        st.tuples(st.just("wait"), st.integers(1, 9_000)),
    ),
    max_size=40,
)


def schedule(steps: list[tuple[str, str | int]]) -> list[tuple[int, Heartbeat | Entry | None]]:
    """Return each step with its time; a wait has a time and no sign of life."""
    now, scheduled = 10_000, list[tuple[int, Heartbeat | Entry | None]]()
    for step, value in steps:
        now += value if isinstance(value, int) else 1
        name = str(value)
        sign: Heartbeat | Entry | None = None
        if step == "heartbeat":
            sign = Heartbeat("a", name, now)
        elif step in ("status", "stopped"):
            sign = entry(now, instance=name, heartbeat_s=5, stopped=step == "stopped")
        elif step == "lost":
            sign = lifecycle(now, "lost", instance=name, seen=now - 1)
        scheduled.append((now, sign))
    return scheduled


def apply_in_batches(
    hub: Hub,
    scheduled: list[tuple[int, Heartbeat | Entry | None]],
    cuts: set[int],
    observed_until: int,
) -> None:
    """Apply the scheduled signs in batches that end at the cuts.

    The cuts stand for servers that read fast or slowly or were paused.
    """
    pending: list[Heartbeat | Entry] = []
    for index, (now, sign) in enumerate(scheduled):
        if sign is not None:
            pending.append(sign)
        if index in cuts:
            hub.apply(batch(pending, now))
            pending = []
    hub.apply(batch(pending, observed_until))


def batch(signs: list[Heartbeat | Entry], observed_until: int) -> Batch:
    entries = [sign for sign in signs if isinstance(sign, Entry)]
    return Batch(entries, [sign for sign in signs if isinstance(sign, Heartbeat)], observed_until)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)), st.integers(0, 30_000))
def test_servers_that_received_the_same_events_give_the_same_states(
    steps: list[tuple[str, str | int]], cuts: set[int], other_cuts: set[int], silence: int
) -> None:
    scheduled = schedule(steps)
    observed_until = (scheduled[-1][0] if scheduled else 10_000) + silence
    one, other = new_hub(), new_hub()
    apply_in_batches(one, scheduled, cuts, observed_until)
    apply_in_batches(other, scheduled, other_cuts, observed_until)
    assert states(one) == states(other)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.sets(st.integers(0, 39)), st.integers(0, 39), st.integers(0, 30_000))
def test_server_that_was_blind_gives_the_same_states_or_unknown(
    steps: list[tuple[str, str | int]], cuts: set[int], blind_at: int, silence: int
) -> None:
    scheduled = schedule(steps)
    observed_until = (scheduled[-1][0] if scheduled else 10_000) + silence
    uninterrupted, interrupted = new_hub(), new_hub()
    apply_in_batches(uninterrupted, scheduled, cuts, observed_until)
    apply_in_batches(
        interrupted,
        scheduled[:blind_at],
        cuts,
        scheduled[min(blind_at, len(scheduled) - 1)][0] if scheduled else 10_000,
    )
    interrupted.apply(FeedUnavailable("connection lost"))
    assert set(states(interrupted).values()) == {State.UNKNOWN}
    apply_in_batches(interrupted, scheduled[blind_at:], set(), observed_until)
    for name, state in states(interrupted).items():
        # It may not know yet. But it must not show a wrong `lost`, `late` or `alive`.
        assert state in (states(uninterrupted)[name], State.UNKNOWN)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.integers(0, 60_000))
def test_state_follows_from_the_time_since_the_last_sign_of_life(
    steps: list[tuple[str, str | int]], silence: int
) -> None:
    scheduled = schedule([step for step in steps if step[0] != "lost"])
    observed_until = (scheduled[-1][0] if scheduled else 10_000) + silence
    hub = new_hub()
    apply_in_batches(hub, scheduled, {5, 20}, observed_until)
    last = dict.fromkeys(NAMES, 1)
    stopped: set[str] = set()
    for now, sign in scheduled:
        event = sign.event if isinstance(sign, Entry) else sign
        name = event.instance if isinstance(event, Heartbeat | StatusEvent) else ""
        if name:
            last[name] = now
            if isinstance(sign, Entry):
                has_stopped = getattr(sign.event, "stopped", False)
                stopped = stopped | {name} if has_stopped else stopped - {name}
    for name, state in states(hub).items():
        age = observed_until - last[name]
        expected = (
            State.STOPPED
            if name in stopped
            else State.ALIVE
            if age <= 7_500
            else State.LATE
            if age <= 12_500
            else State.LOST
        )
        assert state is expected
