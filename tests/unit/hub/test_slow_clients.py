"""Slow and frozen clients: they catch up, skip or are closed, and delay no other client."""

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.support.hub import (
    STATUS_STREAM,
    ListSink,
    attach,
    attach_sink,
    entry,
    lifecycle,
    messages,
    reset,
    status_numbers,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch
from pulseboard.bus.rejections import Rejections
from pulseboard.hub import connection as connection_module
from pulseboard.hub import fan_out
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import WRITE_DEADLINE_S, HubOptions
from pulseboard.hub.ring import Ring
from pulseboard.hub.view import View


class TestSlowClient:
    def test_slow_client_is_skipped_without_delaying_others_and_catches_up(self, hub: Hub) -> None:
        hub.apply(reset(0))
        slow, fast = ListSink(room=1), ListSink()
        connection = Connection(View(), slow)
        attach(hub, connection)
        attach_sink(hub, sink=fast)
        for n in range(1, 11):
            hub.apply(Batch([entry(n)]))
            assert status_numbers(fast)[-1] == n
        assert status_numbers(slow) == []
        slow.room = None
        hub.resume_writing(connection)
        assert status_numbers(slow) == status_numbers(fast) == list(range(1, 11))

    @pytest.mark.parametrize(
        ("view", "skipped"),
        [
            (View(), {"status": 6, "lifecycle": 1}),
            (View(services=frozenset({"b"})), {"status": 2}),
            (View(kinds=frozenset({"lifecycle"})), {"lifecycle": 1}),
        ],
    )
    def test_client_behind_the_ring_gets_the_skipped_counts_and_the_board(
        self, rejections: Rejections, view: View, skipped: dict[str, int]
    ) -> None:
        hub = Hub(Board(), RedisClock(), rejections, HubOptions(), ring=Ring(max_frames=3))
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(view, slow)
        attach(hub, connection)
        for n in range(1, 6):
            hub.apply(Batch([entry(n, "b" if n % 3 == 0 else "a")]))
        hub.apply(Batch([entry(6, "b"), lifecycle(7, "other")]))
        slow.room = None
        hub.resume_writing(connection)
        hub.apply(Batch([entry(8, "b"), lifecycle(9, "other", "b")]))
        sent = messages(slow.writes)
        assert [each.event for each in sent[:3]] == ["board", "skipped", "board"]
        assert "too slow" in sent[1].data["reason"]
        assert sent[1].data["skipped"] == skipped
        assert {each["service"]: each["status"]["n"] for each in sent[2].data["instances"]}[
            "b"
        ] == 6
        assert [each.id for each in sent[3:]] == (["9-0"] if view.kinds else ["8-0", "9-0"])

    def test_skipped_counts_include_only_the_unread_events(self, rejections: Rejections) -> None:
        hub = Hub(Board(), RedisClock(), rejections, HubOptions(), ring=Ring(max_frames=8))
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(View(), slow)
        attach(hub, connection)
        for n in range(1, 101):
            hub.apply(Batch([entry(n)]))
            if n in (3, 7, 50):
                # At 50 the client gets two writes: the skipped counts, and the board.
                slow.room = 1 if n < 50 else 2
                hub.resume_writing(connection)
        slow.room = None
        hub.resume_writing(connection)
        skips = [
            each.data["skipped"]["status"]
            for each in messages(slow.writes)
            if each.event == "skipped"
        ]
        assert status_numbers(slow) == [1, 2, 3, 4, 5, 6, 7]
        assert skips == [43, 50]

    def test_status_stream_client_behind_the_ring_gets_the_snapshot_again(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(), RedisClock(), rejections, HubOptions(), ring=Ring(max_frames=3))
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(STATUS_STREAM, slow)
        attach(hub, connection)
        hub.apply(Batch([entry(n) for n in range(1, 9)]))
        slow.room = None
        hub.resume_writing(connection)
        assert [each.data for each in messages(slow.writes)] == [{}, {"a": {"n": 8}}]

    def test_client_that_is_far_behind_gets_writes_of_bounded_size(self, hub: Hub) -> None:
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(View(), slow)
        attach(hub, connection)
        for n in range(1, 3_001):
            hub.apply(Batch([entry(n)]))
        slow.room = None
        hub.resume_writing(connection)
        assert status_numbers(slow) == list(range(1, 3_001))
        assert max(map(len, slow.writes)) <= fan_out.WRITE_MAX_BYTES

    @pytest.fixture
    def advance_clock(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        """Return a function that advances time.monotonic()."""
        now = 1_000.0

        def advance(by_s: float) -> None:
            nonlocal now
            now += by_s

        monkeypatch.setattr(time, "monotonic", lambda: now)
        return advance

    def test_frozen_client_is_closed_and_others_are_not(
        self, hub: Hub, advance_clock: Callable[[float], None]
    ) -> None:
        hub.apply(reset(0))
        frozen, responsive = attach_sink(hub, sink=ListSink(room=1)), attach_sink(hub)
        advance_clock(WRITE_DEADLINE_S + 1)
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        assert frozen.aborted
        assert not responsive.aborted
        assert hub.clients == 1

    def test_client_that_reads_a_little_at_a_time_is_not_closed(
        self, hub: Hub, advance_clock: Callable[[float], None]
    ) -> None:
        """Such a client was closed when it had not caught up completely within the deadline.

        It had read something all the time.
        """
        hub.apply(reset(0))
        sink = ListSink(room=1)
        connection = Connection(View(), sink)
        attach(hub, connection)
        for n in range(1, 6):
            hub.apply(Batch([entry(n)]))
            advance_clock(WRITE_DEADLINE_S * 0.6)
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.room = 1
            hub.resume_writing(connection)
        assert not sink.aborted
        assert status_numbers(sink) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize(("step", "stays"), [(1, True), (0, False), (-1, False)])
    def test_client_that_reads_a_large_board_slowly_is_not_closed(
        self, hub: Hub, advance_clock: Callable[[float], None], step: int, stays: bool
    ) -> None:
        """Such a client was closed in the middle of its first message, each time it connected."""
        hub.apply(reset(0))
        sink = attach_sink(hub, sink=ListSink(room=1))
        sink.buffered_bytes = 1_000
        for _ in range(5):
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.buffered_bytes -= step
            advance_clock(WRITE_DEADLINE_S * 0.6)
        assert sink.aborted is not stays

    def test_client_that_reads_almost_nothing_is_closed_in_the_end(
        self, hub: Hub, advance_clock: Callable[[float], None]
    ) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, sink=ListSink(room=1))
        sink.buffered_bytes = 1_000
        turns = 0
        while not sink.aborted:
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.buffered_bytes -= 1
            advance_clock(WRITE_DEADLINE_S * 0.5)
            turns += 1
        assert 2 * connection_module.SLOW_FACTOR <= turns <= 2 * connection_module.SLOW_FACTOR + 2


class TestSlices:
    async def test_long_flush_yields_to_the_event_loop_and_reaches_every_client(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Events of 20 kB for 500 clients delayed every other request for seconds."""
        monkeypatch.setattr(fan_out, "SLICE_S", 0.0)
        hub.apply(reset(0))
        sinks = [attach_sink(hub) for _ in range(50)]
        turns = 0
        for n in range(1, 4):
            hub.apply(Batch([entry(n)]))
            assert sum(status_numbers(sink) == [] for sink in sinks) >= (49 if n == 1 else 0)
            await asyncio.sleep(0)
        while any(status_numbers(sink) != [1, 2, 3] for sink in sinks):
            turns += 1
            await asyncio.sleep(0)
        assert 40 < turns < 500

    async def test_client_that_detaches_between_two_slices_gets_no_write(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fan_out, "SLICE_S", 0.0)
        hub.apply(reset(0))
        connections = [Connection(View(), ListSink()) for _ in range(10)]
        for connection in connections:
            attach(hub, connection)
        hub.apply(Batch([entry(1)]))
        for connection in connections:
            hub.detach(connection)
        for _ in range(20):
            await asyncio.sleep(0)
        assert sum(len(messages(connection.sink.writes)) == 2 for connection in connections) == 1  # type: ignore[attr-defined]
