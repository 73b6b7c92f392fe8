"""The board: the latest event of each instance, evictions, losses and limits."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.hub import entry, lifecycle, reset

from pulseboard.bus.feed.entries import Entry, Heartbeat, Reset
from pulseboard.hub.board import FORGET_REPLACED_S, Board
from pulseboard.hub.options import FORGET_S
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.state import State
from pulseboard.wire.views import BlindView, Freshness


def snapshot(board: Board) -> dict[str, Any]:
    """Return the statuses in the snapshot of a board, by key."""
    return {name: json.loads(bytes(status)) for name, status in board.snapshot().items()}


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b-c"]), st.sampled_from(["", "x", "y"]), st.booleans()),
        max_size=60,
    )
)
def test_board_shows_the_last_event_and_sign_of_life_of_each_instance(
    steps: list[tuple[str, str, bool]],
) -> None:
    board = Board()
    last: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str], int] = {}
    for n, (service, instance, is_heartbeat) in enumerate(steps, 1):
        if is_heartbeat:
            known = board.apply_heartbeat(Heartbeat(service, instance, n))
            assert known == ((service, instance) in last)
            if known:
                seen[service, instance] = n
        else:
            board.apply(entry(n, service, instance))
            last[service, instance] = seen[service, instance] = n
    assert [(each.service, each.instance, each.id, each.seen) for each in board.view()] == [
        (*key, f"{n}-0", seen[key]) for key, n in last.items()
    ]
    assert board.heartbeats() == [Heartbeat(*key, ms) for key, ms in seen.items()]
    newest = {
        service: max(n for (other, _), n in last.items() if other == service) for service, _ in last
    }
    camel = {"a": "a", "b-c": "bC"}
    assert snapshot(board) == {camel[service]: {"n": n} for service, n in newest.items()}


def test_expected_services_are_in_the_snapshot_before_they_are_seen() -> None:
    board = Board(["balance-sync", "account-discovery", "balance-sync"])
    board.apply(entry(1, "account-discovery"))
    assert snapshot(board) == {"balanceSync": {}, "accountDiscovery": {"n": 1}}
    assert board.expected == ("balance-sync", "account-discovery")


def test_late_heartbeat_does_not_move_the_last_seen_time_back() -> None:
    board = Board()
    board.apply(entry(50))
    board.apply_heartbeat(Heartbeat("a", "", 40))
    assert board.heartbeats() == [Heartbeat("a", "", 50)]


def test_full_board_updates_its_instances_and_refuses_new_ones() -> None:
    board = Board(max_instances=2)
    for n, name in enumerate("ab", 1):
        board.apply(entry(n, name))
    with pytest.raises(InvalidEvent) as refused:
        board.apply(entry(3, "c"))
    assert refused.value.reason == "board-full"
    board.apply(entry(4, "a"))
    assert snapshot(board) == {"a": {"n": 4}, "b": {"n": 2}}


def test_full_board_counts_the_instances_that_it_omits() -> None:
    board = Board(max_instances=2)
    for n, name in enumerate("ab", 1):
        board.apply(entry(n, name))
    for n, name in enumerate("cdcec", 3):
        with pytest.raises(InvalidEvent):
            board.apply(entry(n, name))
    assert board.omitted(10) == 3
    with pytest.raises(InvalidEvent):
        board.apply(entry(8, "d", stopped=True))
    assert board.omitted(10) == 2, "an omitted instance stopped"
    board.apply(lifecycle(9, "gone", "a"))
    board.apply(entry(10, "c"))
    assert board.omitted(10) == 1, "an omitted instance was added"
    assert board.omitted(6 + 3_600_000) == 1
    assert board.omitted(7 + 3_600_000) == 0, "an omitted instance has been silent for an hour"


def test_instances_of_a_reset_beyond_the_limit_are_counted_as_omitted() -> None:
    board = Board(max_instances=2)
    board.reset(reset(9, *[entry(n, f"s{n}") for n in range(2, 6)]))
    assert board.omitted(9) == 2
    board.reset(reset(9, *[entry(n, f"s{n}") for n in range(2, 4)]))
    assert board.omitted(9) == 0


def test_number_of_omitted_instances_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulseboard.hub.omitted_instances.OVERFLOW_MAX", 5)
    board = Board(max_instances=0)
    for n in range(20):
        with pytest.raises(InvalidEvent):
            board.apply(entry(n, f"s{n}"))
    assert board.omitted(20) == 5


def test_reset_keeps_the_newest_instances_up_to_the_limit() -> None:
    board = Board(max_instances=2)
    board.apply(entry(1, "old"))
    board.reset(
        reset(
            9,
            *[entry(n, f"s{n}") for n in range(2, 6)],
            heartbeats=[Heartbeat("s5", "", 8), Heartbeat("unknown", "", 8)],
        )
    )
    assert board.heartbeats() == [Heartbeat("s4", "", 4), Heartbeat("s5", "", 8)]


def test_view_contains_only_the_requested_services() -> None:
    board = Board()
    for n, name in enumerate("abc", 1):
        board.apply(entry(n, name))
    assert [each.service for each in board.view({"a", "c", "z"})] == ["a", "c"]


def instance_names(board: Board) -> list[str]:
    return [each.instance for each in board.view()]


def observed_until(now: int, *, since: int = 0) -> Freshness:
    """Return the freshness of a board that has received every event up to `now`."""
    return Freshness(observed_until=now, observed_since=since)


FORGET_MS = int(FORGET_S * 1000)
REPLACED_MS = int(FORGET_REPLACED_S * 1000)


class TestEviction:
    def evictable_names(self, board: Board, now: int) -> list[str]:
        return [name for _, name, _ in board.evictable(now, observed_until(now))]

    def test_instance_that_a_restart_replaced_is_evicted_after_an_hour(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="old", heartbeat_s=5, stopped=True))
        board.apply(entry(2_000, instance="new", heartbeat_s=5))
        assert self.evictable_names(board, 1_000 + REPLACED_MS) == []
        now = 1_001 + REPLACED_MS
        board.apply_heartbeat(Heartbeat("a", "new", now))
        assert self.evictable_names(board, now) == ["old"]

    def test_last_instance_of_a_service_is_evicted_after_the_configured_time(self) -> None:
        for board, forget_ms in ((Board(), FORGET_MS), (Board(forget_s=60), 60_000)):
            board.apply(entry(1_000, instance="x", heartbeat_s=5))
            assert self.evictable_names(board, 1_000 + forget_ms) == []
            assert self.evictable_names(board, 1_001 + forget_ms) == ["x"]

    def test_instance_with_a_longer_heartbeat_interval_is_not_evicted_while_alive(self) -> None:
        board = Board(forget_s=60)
        board.apply(entry(1_000, instance="x", heartbeat_s=600))
        assert self.evictable_names(board, 61_001) == []
        assert self.evictable_names(board, 1_001 + 1_500_000) == ["x"]

    def test_instance_without_a_heartbeat_interval_does_not_count_as_ended(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="silent"))
        board.apply(entry(REPLACED_MS * 2, instance="other"))
        assert self.evictable_names(board, REPLACED_MS * 3) == []

    def test_nearly_full_board_evicts_ended_instances_oldest_first(
        self,
    ) -> None:
        board = Board(max_instances=10)
        for n in range(8):
            board.apply(entry(1_000 + n, instance=f"i-{n}", heartbeat_s=5, stopped=n != 2))
        now = 2_000
        assert self.evictable_names(board, now) == []
        board.apply(entry(1_900, instance="next", heartbeat_s=5))
        board.apply(entry(1_901, instance="after", heartbeat_s=5, stopped=True))
        assert self.evictable_names(board, now) == ["i-0", "i-1"]

    def test_instance_that_may_return_or_is_not_declared_lost_is_not_evicted(self) -> None:
        board = Board(max_instances=4)
        board.apply(entry(1_000, instance="silent"))
        board.apply(entry(1_001, instance="back", heartbeat_s=5, stopped=True, back_in_s=600))
        board.apply(entry(1_002, instance="lost", heartbeat_s=5))
        board.apply(entry(100_000, instance="alive", heartbeat_s=5))
        assert self.evictable_names(board, 100_000) == []
        board.apply(lifecycle(100_001, "lost", instance="lost", seen=1_002))
        assert self.evictable_names(board, 100_002) == ["lost"]

    def test_instance_leaves_the_board_with_the_gone_event(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="old"))
        board.apply(lifecycle(2_000, "gone", instance="old"))
        assert instance_names(board) == []
        board.apply(entry(3_000, instance="old"))
        # This event is older than the new status.
        board.apply(lifecycle(2_500, "gone", instance="old"))
        assert instance_names(board) == ["old"]


class TestLosses:
    def test_loss_is_listed_until_the_feed_has_its_event(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="dead", heartbeat_s=5))
        board.apply(entry(13_000, instance="alive", heartbeat_s=5))
        assert board.losses(observed_until(13_500)) == []
        (loss,) = board.losses(observed_until(13_501))
        assert (loss.event.instance, loss.seen, loss.cause) == ("dead", 1_000, "silent")
        board.apply(lifecycle(13_600, "lost", instance="dead", seen=1_000))
        assert board.losses(observed_until(14_000)) == []
        assert [(each.instance, each.lost) for each in board.view()] == [
            ("dead", True),
            ("alive", False),
        ]
        assert [incident.instance for incident in board.incidents] == ["dead"]

    @pytest.mark.parametrize(
        "sign", [entry(14_000, instance="dead", heartbeat_s=5), Heartbeat("a", "dead", 14_000)]
    )
    def test_sign_of_life_ends_a_loss_and_a_second_death_is_a_new_loss(
        self, sign: Entry | Heartbeat
    ) -> None:
        board = Board()
        board.apply(entry(1_000, instance="dead", heartbeat_s=5))
        board.apply(lifecycle(13_600, "lost", instance="dead", seen=1_000))
        if isinstance(sign, Entry):
            board.apply(sign)
        else:
            board.apply_heartbeat(sign)
        assert not board.view()[0].lost
        assert board.losses(observed_until(20_000)) == []
        assert [loss.seen for loss in board.losses(observed_until(26_501))] == [14_000]

    def test_late_lost_event_does_not_mark_an_instance_that_returned(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="x", heartbeat_s=5))
        board.apply_heartbeat(Heartbeat("a", "x", 13_550))
        board.apply(lifecycle(13_600, "lost", instance="x", seen=1_000))
        assert not board.view()[0].lost

    def test_planned_return_is_a_loss_only_when_it_is_overdue(self) -> None:
        board = Board()
        board.apply(entry(1_000, heartbeat_s=5, stopped=True, back_in_s=60.0))
        assert board.losses(observed_until(66_000)) == []
        (loss,) = board.losses(observed_until(66_001))
        assert loss.cause == "overdue"

    def test_silence_before_the_observed_time_gives_no_loss(self) -> None:
        board = Board()
        board.apply(entry(1_000, heartbeat_s=5))
        assert board.losses(observed_until(100_000, since=90_000)) == []
        assert len(board.losses(observed_until(102_501, since=90_000))) == 1

    def test_reset_board_keeps_the_losses_that_were_declared(self) -> None:
        """A starting server shows the same losses as the others, and declares none again."""
        board = Board()
        snapshot = [
            entry(1_000, instance="dead", heartbeat_s=5),
            entry(2_000, instance="back", heartbeat_s=5),
        ]
        lost = {("a", "dead"): 1_000, ("a", "back"): 1_500, ("a", "unknown"): 7}
        board.reset(
            Reset("the server started", Cursor(3_000, 0), snapshot, [], lost, observed_until=99_000)
        )
        assert [(each.instance, each.lost) for each in board.view()] == [
            ("dead", True),
            ("back", False),
        ]
        assert [loss.event.instance for loss in board.losses(observed_until(99_000))] == ["back"]


def test_shortest_interval_is_that_of_instances_that_should_send_heartbeats() -> None:
    board = Board()
    assert board.shortest_interval_s() is None
    board.apply(entry(1, instance="none"))
    assert board.shortest_interval_s() is None
    board.apply(entry(2, instance="slow", heartbeat_s=60))
    board.apply(entry(3, instance="gone", heartbeat_s=1, stopped=True))
    assert board.shortest_interval_s() == 60


def test_lag_is_kept_until_the_next_heartbeat() -> None:
    board = Board()
    board.apply(entry(1))
    board.apply_heartbeat(Heartbeat("a", "", 2, 7_000))
    assert board.view()[0].lag_ms == 7_000
    board.apply_heartbeat(Heartbeat("a", "", 3))
    assert board.view()[0].lag_ms == 0


def test_every_state_is_unknown_on_a_blind_board() -> None:
    board = Board()
    board.apply(entry(1_000, heartbeat_s=5))
    (instance,) = board._instances.records.values()
    assert instance.state(observed_until(1_001)) is State.ALIVE
    assert instance.state(Freshness(BlindView(1, "connection lost"), 1_001)) is State.UNKNOWN
