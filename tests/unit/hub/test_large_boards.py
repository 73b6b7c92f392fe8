"""Boards that do not fit into one write: taken piece by piece, whole, and never more of them in memory than there is room for."""

import time
from collections.abc import Callable

import pytest
from tests.support.hub import ListSink, attach, attach_sink, entry, messages, reset

from pulseboard.bus.feed.entries import Batch
from pulseboard.hub import connection as connection_module
from pulseboard.hub import fan_out, snapshot_cache
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import WRITE_DEADLINE_S
from pulseboard.hub.view import View

SERVICES = [f"s{n}" for n in range(20)]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time go on."""
    now = time.monotonic()

    def advance(by_s: float) -> None:
        nonlocal now
        now += by_s

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return advance


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> int:
    """Room for three boards and a bit, of which a piece is a twentieth."""
    hub.apply(reset(len(SERVICES), *(entry(n, service) for n, service in enumerate(SERVICES, 1))))
    board = len(hub._encode_board(View()))
    monkeypatch.setattr(snapshot_cache, "PIECE_BYTES", board // 20)
    monkeypatch.setattr(snapshot_cache, "BOARDS_MAX_BYTES", board * 3 + 1)
    return board * 3 + 1


def in_memory(hub: Hub) -> int:
    hub._fan_out._snapshots.release_unused()
    return sum(board.size for board in hub._fan_out._snapshots._all)


def read_on(hub: Hub, connection: Connection, sink: ListSink, writes: int) -> None:
    sink.room = writes
    hub.resume_writing(connection)


def test_a_slow_reader_has_each_message_whole_and_in_order(hub: Hub, room: int) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    for n in range(21, 60):
        hub.apply(Batch([entry(n)]))
        read_on(hub, connection, sink, 1)
    read_on(hub, connection, sink, 100)
    board, *rest = messages(sink.writes)
    assert len(sink.writes) > 20
    assert [instance["service"] for instance in board.data["instances"]] == SERVICES
    assert [each.data["status"]["n"] for each in rest] == list(range(21, 60))


def test_frozen_readers_share_boards_however_far_apart_they_come(
    hub: Hub, room: int, at: Callable[[float], None]
) -> None:
    """Each that came a tenth of a second after the one before had a copy of its own: 115 MB each, in one case."""
    frozen = []
    for n in range(21, 71):
        sink = ListSink(room=1)
        frozen.append((Connection(View(), sink), sink))
        attach(hub, frozen[-1][0])
        hub.apply(Batch([entry(n)]))
        at(0.2)
        assert in_memory(hub) <= room * 4 / 3 + 1_000
    for connection, sink in frozen:
        read_on(hub, connection, sink, 100)
        board, *rest = messages(sink.writes)
        numbers = [instance["status"]["n"] for instance in board.data["instances"]]
        assert [each.data["status"]["n"] for each in rest] == list(range(max(20, *numbers) + 1, 71))


def test_readers_of_too_many_different_boards_wait_until_frozen_ones_are_let_go(
    hub: Hub, room: int, at: Callable[[float], None]
) -> None:
    frozen = [
        attach_sink(hub, View(services=frozenset(SERVICES) - {service}), sink=ListSink(room=1))
        for service in SERVICES
    ]
    waiting = [sink for sink in frozen if not sink.writes]
    assert waiting
    assert in_memory(hub) <= room * 4 / 3
    lively = attach_sink(hub, View(services=frozenset(SERVICES)))
    assert not lively.writes
    at(fan_out.BOARD_DEADLINE_S + 1)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    hub._fan_out.flush()
    assert any(sink.aborted for sink in frozen)
    for _ in range(10):
        at(fan_out.BOARD_DEADLINE_S + 1)
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        hub._fan_out.flush()
        assert in_memory(hub) <= room * 4 / 3
    assert messages(lively.writes)[0].event == "board"
    assert not lively.aborted


def test_without_a_crowd_a_frozen_reader_of_a_board_has_the_whole_deadline(
    hub: Hub, room: int, at: Callable[[float], None]
) -> None:
    frozen = attach_sink(hub, sink=ListSink(room=1))
    at(WRITE_DEADLINE_S - 1)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    assert not frozen.aborted
    at(2)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    assert frozen.aborted


def test_one_that_takes_a_piece_now_and_then_is_let_go_in_the_end(
    hub: Hub, room: int, at: Callable[[float], None]
) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    turns = 0
    while not sink.aborted:
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        at(WRITE_DEADLINE_S * 0.9)
        read_on(hub, connection, sink, 1)
        turns += 1
    assert connection_module.SLOW_FACTOR <= turns <= connection_module.SLOW_FACTOR + 3


def test_a_reset_in_the_middle_of_a_board_comes_after_it(hub: Hub, room: int) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    hub.apply(reset(100, entry(99, "new")))
    read_on(hub, connection, sink, 100)
    first, why, second = messages(sink.writes)
    assert (first.event, why.event, second.event) == ("board", "reset", "board")
    assert [instance["service"] for instance in second.data["instances"]] == ["new"]


def test_the_end_of_the_server_cuts_a_board_off_rather_than_ending_it_in_the_middle(
    hub: Hub, room: int
) -> None:
    half, whole = attach_sink(hub, sink=ListSink(room=1)), attach_sink(hub)
    hub.close("stopping")
    assert half.aborted
    assert not half.closed
    assert messages(whole.writes)[-1].event == "bye"
