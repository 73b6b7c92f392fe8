"""The board is the last word of every instance."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub.conftest import entry, reset

from pulseboard.bus.feed import Beat
from pulseboard.hub.board import FORGET_MS, FORGET_REPLACED_MS, Board
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.state import State


def snapshot(board: Board) -> dict[str, Any]:
    return {name: json.loads(bytes(status)) for name, status in board.snapshot().items()}


@given(st.lists(st.tuples(st.sampled_from(["a", "b-c"]), st.sampled_from(["", "x", "y"]), st.booleans()), max_size=60))
def test_board_shows_the_last_event_and_sign_of_life_of_each_instance(steps: list[tuple[str, str, bool]]) -> None:
    board = Board()
    last: dict[tuple[str, str], int] = {}
    seen: dict[tuple[str, str], int] = {}
    for n, (service, instance, is_beat) in enumerate(steps, 1):
        if is_beat:
            known = board.apply_beat(Beat(service, instance, n))
            assert known == ((service, instance) in last)
            if known:
                seen[service, instance] = n
        else:
            board.apply(entry(n, service, instance))
            last[service, instance] = seen[service, instance] = n
    assert [(each.service, each.instance, each.id, each.seen) for each in board.view()] == [
        (*key, f"{n}-0", seen[key]) for key, n in last.items()
    ]
    assert board.seen() == [(*key, ms) for key, ms in seen.items()]
    newest = {service: max(n for (other, _), n in last.items() if other == service) for service, _ in last}
    camel = {"a": "a", "b-c": "bC"}
    assert snapshot(board) == {camel[service]: {"n": n} for service, n in newest.items()}


def test_expected_services_are_in_the_snapshot_before_they_are_seen() -> None:
    board = Board(["balance-sync", "account-discovery", "balance-sync"])
    board.apply(entry(1, "account-discovery"))
    assert snapshot(board) == {"balanceSync": {}, "accountDiscovery": {"n": 1}}
    assert board.expected == ("balance-sync", "account-discovery")


def test_a_beat_does_not_turn_the_clock_back() -> None:
    board = Board()
    board.apply(entry(50))
    board.apply_beat(Beat("a", "", 40))
    assert board.seen() == [("a", "", 50)]


def test_a_full_board_keeps_those_it_has_current_and_refuses_new_ones() -> None:
    board = Board(max_instances=2)
    for n, name in enumerate("ab", 1):
        board.apply(entry(n, name))
    with pytest.raises(InvalidEvent) as refused:
        board.apply(entry(3, "c"))
    assert refused.value.reason == "board-full"
    board.apply(entry(4, "a"))
    assert snapshot(board) == {"a": {"n": 4}, "b": {"n": 2}}


def test_reset_takes_the_newest_when_there_are_more_than_fit() -> None:
    board = Board(max_instances=2)
    board.apply(entry(1, "old"))
    board.reset(reset(9, *[entry(n, f"s{n}") for n in range(2, 6)], beats=[Beat("s5", "", 8), Beat("who", "", 8)]))
    assert board.seen() == [("s4", "", 4), ("s5", "", 8)]


def test_view_shows_only_the_services_asked_for() -> None:
    board = Board()
    for n, name in enumerate("abc", 1):
        board.apply(entry(n, name))
    assert [each.service for each in board.view({"a", "c", "z"})] == ["a", "c"]


class TestForget:
    def test_an_instance_that_a_restart_replaced_goes_after_an_hour(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="old", beat_s=5, goodbye=True))
        board.apply(entry(2_000, instance="new", beat_s=5))
        assert board.forget(1_000 + FORGET_REPLACED_MS) == []
        now = 1_001 + FORGET_REPLACED_MS
        board.apply_beat(Beat("a", "new", now))
        assert [(service, name) for service, name, _ in board.forget(now)] == [("a", "old")]
        assert len(board) == 1

    def test_the_last_instance_of_a_service_stays_for_days(self) -> None:
        board = Board()
        board.apply(entry(1_000, beat_s=5))
        assert board.forget(FORGET_MS) == []
        assert len(board.forget(1_001 + FORGET_MS)) == 1

    def test_one_that_declared_no_rhythm_is_not_taken_for_ended(self) -> None:
        board = Board()
        board.apply(entry(1_000, instance="silent"))
        board.apply(entry(FORGET_REPLACED_MS * 2, instance="other"))
        assert board.forget(FORGET_REPLACED_MS * 3) == []


def test_nothing_is_fresh_on_a_blind_board() -> None:
    board = Board()
    board.apply(entry(1_000, beat_s=5))
    (instance,) = board._instances.values()
    assert instance.state(1_001, blind=False) is State.ALIVE
    assert instance.state(1_001, blind=True) is State.UNKNOWN
