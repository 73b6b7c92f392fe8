"""Boards larger than one write: sent in pieces, complete, and in bounded memory."""

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
def advance_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that advances time.monotonic()."""
    now = time.monotonic()

    def advance(by_s: float) -> None:
        nonlocal now
        now += by_s

    monkeypatch.setattr(time, "monotonic", lambda: now)
    return advance


@pytest.fixture
def max_bytes(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> int:
    """Limit the memory to slightly more than three boards, and a piece to a twentieth of one.

    Return the limit in bytes.
    """
    hub.apply(reset(len(SERVICES), *(entry(n, service) for n, service in enumerate(SERVICES, 1))))
    board = len(hub._encode_board(View()))
    monkeypatch.setattr(snapshot_cache, "PIECE_BYTES", board // 20)
    monkeypatch.setattr(snapshot_cache, "BOARDS_MAX_BYTES", board * 3 + 1)
    return board * 3 + 1


def boards_in_memory_bytes(hub: Hub) -> int:
    hub._fan_out._snapshots.release_unused()
    return sum(board.size for board in hub._fan_out._snapshots._all)


def read(hub: Hub, connection: Connection, sink: ListSink, writes: int) -> None:
    sink.room = writes
    hub.resume_writing(connection)


def test_slow_client_gets_each_message_complete_and_in_order(hub: Hub, max_bytes: int) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    for n in range(21, 60):
        hub.apply(Batch([entry(n)]))
        read(hub, connection, sink, 1)
    read(hub, connection, sink, 100)
    board, *rest = messages(sink.writes)
    assert len(sink.writes) > 20
    assert [instance["service"] for instance in board.data["instances"]] == SERVICES
    assert [each.data["status"]["n"] for each in rest] == list(range(21, 60))


def test_frozen_clients_share_boards_although_they_attach_at_different_times(
    hub: Hub, max_bytes: int, advance_clock: Callable[[float], None]
) -> None:
    """Clients that attached a tenth of a second apart each had a copy of the board.

    In one case a copy took 115 MB.
    """
    frozen = []
    for n in range(21, 71):
        sink = ListSink(room=1)
        frozen.append((Connection(View(), sink), sink))
        attach(hub, frozen[-1][0])
        hub.apply(Batch([entry(n)]))
        advance_clock(0.2)
        assert boards_in_memory_bytes(hub) <= max_bytes * 4 / 3 + 1_000
    for connection, sink in frozen:
        read(hub, connection, sink, 100)
        board, *rest = messages(sink.writes)
        numbers = [instance["status"]["n"] for instance in board.data["instances"]]
        assert [each.data["status"]["n"] for each in rest] == list(range(max(20, *numbers) + 1, 71))


def test_clients_of_too_many_different_boards_wait_until_frozen_ones_are_closed(
    hub: Hub, max_bytes: int, advance_clock: Callable[[float], None]
) -> None:
    frozen = [
        attach_sink(hub, View(services=frozenset(SERVICES) - {service}), sink=ListSink(room=1))
        for service in SERVICES
    ]
    waiting = [sink for sink in frozen if not sink.writes]
    assert waiting
    assert boards_in_memory_bytes(hub) <= max_bytes * 4 / 3
    responsive = attach_sink(hub, View(services=frozenset(SERVICES)))
    assert not responsive.writes
    advance_clock(fan_out.BOARD_DEADLINE_S + 1)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    hub._fan_out.flush()
    assert any(sink.aborted for sink in frozen)
    for _ in range(10):
        advance_clock(fan_out.BOARD_DEADLINE_S + 1)
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        hub._fan_out.flush()
        assert boards_in_memory_bytes(hub) <= max_bytes * 4 / 3
    assert messages(responsive.writes)[0].event == "board"
    assert not responsive.aborted


def test_frozen_client_has_the_whole_deadline_while_memory_is_free(
    hub: Hub, max_bytes: int, advance_clock: Callable[[float], None]
) -> None:
    frozen = attach_sink(hub, sink=ListSink(room=1))
    advance_clock(WRITE_DEADLINE_S - 1)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    assert not frozen.aborted
    advance_clock(2)
    hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
    assert frozen.aborted


def test_client_that_reads_too_slowly_is_closed_in_the_end(
    hub: Hub, max_bytes: int, advance_clock: Callable[[float], None]
) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    turns = 0
    while not sink.aborted:
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        advance_clock(WRITE_DEADLINE_S * 0.9)
        read(hub, connection, sink, 1)
        turns += 1
    assert connection_module.SLOW_FACTOR <= turns <= connection_module.SLOW_FACTOR + 3


def test_reset_during_a_board_is_sent_after_it(hub: Hub, max_bytes: int) -> None:
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    hub.apply(reset(100, entry(99, "new")))
    read(hub, connection, sink, 100)
    first, reset_message, second = messages(sink.writes)
    assert (first.event, reset_message.event, second.event) == ("board", "reset", "board")
    assert [instance["service"] for instance in second.data["instances"]] == ["new"]


def test_stopping_server_aborts_a_stream_in_the_middle_of_a_board(hub: Hub, max_bytes: int) -> None:
    partial, complete = attach_sink(hub, sink=ListSink(room=1)), attach_sink(hub)
    hub.close("stopping")
    assert partial.aborted
    assert not partial.closed
    assert messages(complete.writes)[-1].event == "bye"
