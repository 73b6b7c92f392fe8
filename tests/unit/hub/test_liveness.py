"""Verdicts on life and death, whatever happens to the services, to Redis and to the monitor itself."""

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


def test_in_six_hours_of_a_fleet_nobody_alive_is_called_lost_and_every_death_is_told_within_three_beats() -> (
    None
):
    result = Simulation(instances=100, days=0.25, seed=0).run()
    assert result.false_alarms == []
    assert result.unreported == []
    assert result.deaths == 25
    assert max(result.delays) <= 3


def new_hub() -> Hub:
    hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
    board = [entry(1, instance=name, heartbeat_s=5) for name in NAMES]
    hub.apply(Reset("the server started", Cursor(1, 0), board, [], observed_until=1))
    return hub


def states(hub: Hub) -> dict[str, State]:
    return {
        name: instance.state(hub.freshness)
        for (
            _,
            name,
        ), instance in hub.board._instances.records.items()  # what every reader derives from what it is told
    }


signs = st.lists(
    st.one_of(
        st.tuples(st.just("beat"), st.sampled_from(NAMES)),
        st.tuples(st.just("status"), st.sampled_from(NAMES)),
        st.tuples(st.just("stopped"), st.sampled_from(NAMES)),
        st.tuples(st.just("lost"), st.sampled_from(NAMES)),
        st.tuples(st.just("wait"), st.integers(1, 9_000)),
    ),
    max_size=40,
)


def happen(steps: list[tuple[str, str | int]]) -> list[tuple[int, Heartbeat | Entry | None]]:
    """Give each sign its time; waiting is time without one."""
    now, happened = 10_000, list[tuple[int, Heartbeat | Entry | None]]()
    for step, what in steps:
        now += what if isinstance(what, int) else 1
        name = str(what)
        sign: Heartbeat | Entry | None = None
        if step == "beat":
            sign = Heartbeat("a", name, now)
        elif step in ("status", "stopped"):
            sign = entry(now, instance=name, heartbeat_s=5, stopped=step == "stopped")
        elif step == "lost":
            sign = lifecycle(now, "lost", instance=name, seen=now - 1)
        happened.append((now, sign))
    return happened


def hear(
    hub: Hub,
    happened: list[tuple[int, Heartbeat | Entry | None]],
    cuts: set[int],
    observed_until: int,
) -> None:
    """Read what happened in batches that end at the cuts, as one does who is quick or slow or paused meanwhile."""
    part: list[Heartbeat | Entry] = []
    for place, (now, sign) in enumerate(happened):
        if sign is not None:
            part.append(sign)
        if place in cuts:
            hub.apply(batch(part, now))
            part = []
    hub.apply(batch(part, observed_until))


def batch(signs: list[Heartbeat | Entry], observed_until: int) -> Batch:
    entries = [sign for sign in signs if isinstance(sign, Entry)]
    return Batch(entries, [sign for sign in signs if isinstance(sign, Heartbeat)], observed_until)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.sets(st.integers(0, 39)), st.sets(st.integers(0, 39)), st.integers(0, 30_000))
def test_two_servers_that_have_heard_the_same_give_the_same_verdict_however_they_came_to_hear_it(
    steps: list[tuple[str, str | int]], cuts: set[int], other_cuts: set[int], silence: int
) -> None:
    happened = happen(steps)
    observed_until = (happened[-1][0] if happened else 10_000) + silence
    one, other = new_hub(), new_hub()
    hear(one, happened, cuts, observed_until)
    hear(other, happened, other_cuts, observed_until)
    assert states(one) == states(other)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.sets(st.integers(0, 39)), st.integers(0, 39), st.integers(0, 30_000))
def test_one_that_was_blind_meanwhile_says_the_same_or_that_it_does_not_know(
    steps: list[tuple[str, str | int]], cuts: set[int], blind_at: int, silence: int
) -> None:
    happened = happen(steps)
    observed_until = (happened[-1][0] if happened else 10_000) + silence
    seeing, blinded = new_hub(), new_hub()
    hear(seeing, happened, cuts, observed_until)
    hear(
        blinded,
        happened[:blind_at],
        cuts,
        happened[min(blind_at, len(happened) - 1)][0] if happened else 10_000,
    )
    blinded.apply(FeedUnavailable("gone"))
    assert set(states(blinded).values()) == {State.UNKNOWN}
    hear(blinded, happened[blind_at:], set(), observed_until)
    for name, verdict in states(blinded).items():
        # It may not know yet. But it calls nobody lost or late who is not, and nobody alive who is silent.
        assert verdict in (states(seeing)[name], State.UNKNOWN)


@settings(max_examples=examples(150), deadline=None)
@given(signs, st.integers(0, 60_000))
def test_nobody_who_was_heard_within_a_beat_and_a_half_is_in_trouble(
    steps: list[tuple[str, str | int]], silence: int
) -> None:
    happened = happen([step for step in steps if step[0] != "lost"])
    observed_until = (happened[-1][0] if happened else 10_000) + silence
    hub = new_hub()
    hear(hub, happened, {5, 20}, observed_until)
    last = dict.fromkeys(NAMES, 1)
    stopped: set[str] = set()
    for now, sign in happened:
        who = sign.event if isinstance(sign, Entry) else sign
        name = who.instance if isinstance(who, Heartbeat | StatusEvent) else ""
        if name:
            last[name] = now
            if isinstance(sign, Entry):
                has_stopped = getattr(sign.event, "stopped", False)
                stopped = stopped | {name} if has_stopped else stopped - {name}
    for name, verdict in states(hub).items():
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
        assert verdict is expected
