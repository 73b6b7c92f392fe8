"""What readers see: all of it, in one order, or a word that says what they do not."""

import asyncio
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.examples import examples
from tests.support.hub import (
    ListSink,
    attach,
    attach_sink,
    entry,
    eventually,
    lifecycle,
    messages,
    reset,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.feed.reader import FeedReader
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.hub import connection as connection_module
from pulseboard.hub import fan_out
from pulseboard.hub import ticker as ticker_module
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import RETRY_MS, Hub
from pulseboard.hub.options import WRITE_DEADLINE_S, HubOptions
from pulseboard.hub.ring import Ring
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.state import RECONNECT_MS
from pulseboard.wire.views import BlindView

SEED = View(status_stream=True)


def told(sink: ListSink, event: str = "status") -> list[int]:
    """The numbers of the events that a reader was given, in order."""
    return [each.data["status"]["n"] for each in messages(sink.writes) if each.event == event]


def events(sink: ListSink) -> list[str]:
    return [each.event for each in messages(sink.writes)]


class TestJoin:
    def test_the_first_message_is_the_board(self, hub: Hub) -> None:
        hub.apply(
            reset(5, entry(3, "b", "i", heartbeat_s=2.0), heartbeats=[Heartbeat("b", "i", 4)])
        )
        (board,) = messages(attach_sink(hub).writes)
        assert (board.event, board.id) == ("board", "5-0")
        assert abs(board.data.pop("now") - time.time() * 1000) < 60_000
        assert board.data == {
            "observed_until": 0,
            "observed_since": 0,
            "blind": None,
            "gap": None,
            "omitted": 0,
            "incidents": [],
            "ping_s": 5.0,
            "version": "1.2.3",
            "insecure": False,
            "expect": ["a"],
            "instances": [
                {
                    "service": "b",
                    "instance": "i",
                    "timestamp": 3,
                    "status": {"n": 3},
                    "heartbeat_s": 2.0,
                    "commands": [],
                    "stopped": False,
                    "back_in_s": None,
                    "lost": False,
                    "lag_ms": 0,
                    "id": "3-0",
                    "seen": 4,
                }
            ],
        }

    def test_the_seeds_stream_begins_with_its_snapshot_and_goes_on_with_its_messages(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, SEED)
        hub.apply(Batch([entry(1, "balance-sync", "host:1", heartbeat_s=5.0)]))
        first, second = messages(sink.writes)
        assert (first.event, first.data) == ("message", {"a": {}})
        assert (second.event, second.id) == ("message", "1-0")
        assert second.data == {"service": "balance-sync", "timestamp": 1, "status": {"n": 1}}

    def test_an_insecure_server_says_so_on_the_board(self) -> None:
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(insecure=True))
        assert messages(attach_sink(hub).writes)[0].data["insecure"] is True

    def test_what_comes_after_joining_follows_the_board_without_a_gap_or_a_repeat(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(Batch([entry(2)]))
        sink = attach_sink(hub)
        hub.apply(Batch([entry(3)]))
        board, status = messages(sink.writes)
        assert [each["status"]["n"] for each in board.data["instances"]] == [2]
        assert (status.event, status.data["status"]) == ("status", {"n": 3})

    def test_many_who_join_at_once_are_given_the_same_board_and_then_the_same_events(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(1, entry(1)))
        sinks = [attach_sink(hub) for _ in range(10)]
        assert len({id(sink.writes[0]) for sink in sinks}) == 1
        hub.apply(Batch([entry(2)]))
        late = attach_sink(hub)
        assert [told(sink) for sink in sinks] == [[2]] * 10
        # What was made for those before may serve: then what came since follows it.
        numbers = [
            each["status"]["n"] for each in messages(late.writes)[0].data["instances"]
        ] + told(late)
        assert numbers[-1] == 2

    def test_nobody_is_taken_once_the_hub_is_closed(self, hub: Hub) -> None:
        hub.apply(reset(1))
        hub.close("bye")
        sink = attach_sink(hub)
        assert sink.closed
        assert events(sink) == ["bye"]
        assert hub.clients == 0


class TestBeats:
    def test_those_of_some_services_are_made_once_for_all_who_asked_for_the_same(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(1, entry(1), entry(1, "b", "i"), entry(1, "b", "j"), entry(1, "c")))
        of_b = [attach_sink(hub, View(services=frozenset("b"))) for _ in range(10)]
        of_two, of_all, of_none = (
            attach_sink(hub, View(services=names))
            for names in (frozenset("ac"), None, frozenset("z"))
        )
        other_kinds = attach_sink(hub, View(kinds=frozenset({"status"}), services=frozenset("b")))
        hub.apply(FeedUnavailable("away"))
        for sink in (*of_b, of_two, of_all, of_none, other_kinds):
            sink.writes.clear()
        hub.apply(
            Batch(
                heartbeats=[
                    Heartbeat("c", "", 7),
                    Heartbeat("b", "i", 8, 1_500),
                    Heartbeat("a", "", 9),
                    Heartbeat("b", "j", 9),
                ],
                observed_until=9,
            )
        )

        def heartbeats(sink: ListSink) -> list[list[object]]:
            (told,) = [each.data for each in messages(sink.writes) if each.event == "heartbeats"]
            assert told["observed_until"] == 9
            return sorted(told["heartbeats"])

        assert heartbeats(of_b[0]) == [["b", "i", 8, 1_500], ["b", "j", 9]]
        assert heartbeats(of_two) == [["a", "", 9], ["c", "", 7]]
        assert len(heartbeats(of_all)) == 4
        assert heartbeats(of_none) == []
        assert events(other_kinds) == ["ping"]
        assert len({id(sink.writes[0]) for sink in of_b}) == 1


class TestOrder:
    @settings(max_examples=examples(60), deadline=None)
    @given(st.data())
    def test_whatever_happens_a_reader_sees_one_order_or_is_told(self, data: st.DataObject) -> None:
        """Readers of any speed come, go and come back with their last id, while events come in batches of any size.

        Each holds what a page would hold. In the end all hold the board, nobody saw an event twice or out of order, and
        every event that one did not see is covered by a `reset` or the board that came first.
        """
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(), ring=Ring(max_frames=12))
        hub.apply(reset(0))
        readers: list[_Reader] = []
        n = 0
        for _ in range(data.draw(st.integers(1, 40))):
            action = data.draw(
                st.sampled_from(["events", "events", "join", "leave", "room", "reset"])
            )
            if action == "events":
                count = data.draw(st.integers(1, 5))
                batch = [
                    entry(n + i, data.draw(st.sampled_from("ab"))) for i in range(1, count + 1)
                ]
                n += count
                hub.apply(Batch(batch))
            elif action == "join":
                readers.append(_Reader(hub, data.draw(st.one_of(st.none(), st.integers(0, 3)))))
            elif action == "reset":
                n += 1
                hub.apply(reset(n, entry(n, "a"), reason="a failover"))
            elif readers:
                reader = data.draw(st.sampled_from(readers))
                if action == "leave":
                    reader.come_back(data.draw(st.one_of(st.none(), st.integers(0, 3))))
                else:
                    reader.take(data.draw(st.integers(1, 4)))
        truth = {each.service: each.id for each in hub.board.view()}
        for reader in readers:
            reader.take(None)
            assert reader.held == truth
            assert hub.clients == len(readers)


class _Reader:
    """A page: what it holds is what its messages said."""

    def __init__(self, hub: Hub, room: int | None) -> None:
        self.hub = hub
        self.held: dict[str, str] = {}
        self.last_id: Cursor | None = None
        self.known = False
        self._connect(room)

    def come_back(self, room: int | None) -> None:
        self._note()
        self.hub.detach(self.connection)
        self._connect(room)

    def take(self, room: int | None) -> None:
        self.sink.room = room
        self.hub.resume_writing(self.connection)
        self._note()

    def _connect(self, room: int | None) -> None:
        self.sink = ListSink(room)
        self.connection = Connection(View(), self.sink)
        assert attach(self.hub, self.connection, self.last_id)

    def _note(self) -> None:
        announced = not self.known
        for each in messages(self.sink.writes):
            if each.event in ("reset", "skipped"):
                announced = True
                continue
            assert each.id is not None
            cursor = Cursor.parse(each.id)
            if each.event == "board":
                assert announced or self.hub.blind, "a board that nobody announced"
                announced = False
                self.held = {item["service"]: item["id"] for item in each.data["instances"]}
            elif each.event == "status":
                assert self.last_id is not None
                assert cursor > self.last_id, "twice, or out of order"
                assert cursor.ms == each.data["status"]["n"]
                self.held[each.data["service"]] = each.id
            self.last_id, self.known = cursor, True
        self.sink.writes.clear()


class TestSlowReader:
    def test_it_delays_nobody_and_catches_up_from_the_ring(self, hub: Hub) -> None:
        hub.apply(reset(0))
        slow, fast = ListSink(room=1), ListSink()
        connection = Connection(View(), slow)
        attach(hub, connection)
        attach_sink(hub, sink=fast)
        for n in range(1, 11):
            hub.apply(Batch([entry(n)]))
            assert told(fast)[-1] == n
        assert told(slow) == []
        slow.room = None
        hub.resume_writing(connection)
        assert told(slow) == told(fast) == list(range(1, 11))

    @pytest.mark.parametrize(
        ("view", "skipped"),
        [
            (View(), {"status": 6, "lifecycle": 1}),
            (View(services=frozenset({"b"})), {"status": 2}),
            (View(kinds=frozenset({"lifecycle"})), {"lifecycle": 1}),
        ],
    )
    def test_one_that_fell_off_the_ring_is_told_how_much_it_missed_and_given_the_board(
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
        told = messages(slow.writes)
        assert [each.event for each in told[:3]] == ["board", "skipped", "board"]
        assert "too slow" in told[1].data["reason"]
        assert told[1].data["skipped"] == skipped
        assert {each["service"]: each["status"]["n"] for each in told[2].data["instances"]}[
            "b"
        ] == 6
        assert [each.id for each in told[3:]] == (["9-0"] if view.kinds else ["8-0", "9-0"])

    def test_one_that_read_a_part_is_told_only_of_the_rest(self, rejections: Rejections) -> None:
        hub = Hub(Board(), RedisClock(), rejections, HubOptions(), ring=Ring(max_frames=8))
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(View(), slow)
        attach(hub, connection)
        for n in range(1, 101):
            hub.apply(Batch([entry(n)]))
            if n in (3, 7, 50):
                slow.room = (
                    1 if n < 50 else 2
                )  # what was missed until then and the board, a write each
                hub.resume_writing(connection)
        slow.room = None
        hub.resume_writing(connection)
        skips = [
            each.data["skipped"]["status"]
            for each in messages(slow.writes)
            if each.event == "skipped"
        ]
        assert told(slow) == [1, 2, 3, 4, 5, 6, 7]
        assert skips == [43, 50]

    def test_the_seeds_reader_that_fell_off_gets_the_snapshot_again(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(), RedisClock(), rejections, HubOptions(), ring=Ring(max_frames=3))
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(SEED, slow)
        attach(hub, connection)
        hub.apply(Batch([entry(n) for n in range(1, 9)]))
        slow.room = None
        hub.resume_writing(connection)
        assert [each.data for each in messages(slow.writes)] == [{}, {"a": {"n": 8}}]

    def test_one_that_is_far_behind_gets_it_in_bounded_writes(self, hub: Hub) -> None:
        hub.apply(reset(0))
        slow = ListSink(room=1)
        connection = Connection(View(), slow)
        attach(hub, connection)
        for n in range(1, 3_001):
            hub.apply(Batch([entry(n)]))
        slow.room = None
        hub.resume_writing(connection)
        assert told(slow) == list(range(1, 3_001))
        assert max(map(len, slow.writes)) <= fan_out.WRITE_MAX_BYTES

    @pytest.fixture
    def at(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        now = 1_000.0

        def advance(by_s: float) -> None:
            nonlocal now
            now += by_s

        monkeypatch.setattr(time, "monotonic", lambda: now)
        return advance

    def test_a_frozen_one_is_let_go_and_others_are_not(
        self, hub: Hub, at: Callable[[float], None]
    ) -> None:
        hub.apply(reset(0))
        frozen, lively = attach_sink(hub, sink=ListSink(room=1)), attach_sink(hub)
        at(WRITE_DEADLINE_S + 1)
        hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
        assert frozen.aborted
        assert not lively.aborted
        assert hub.clients == 1

    def test_one_that_takes_a_little_at_a_time_is_not_frozen(
        self, hub: Hub, at: Callable[[float], None]
    ) -> None:
        """It was let go after the deadline of never being quite up to date, though it took something all the time."""
        hub.apply(reset(0))
        sink = ListSink(room=1)
        connection = Connection(View(), sink)
        attach(hub, connection)
        for n in range(1, 6):
            hub.apply(Batch([entry(n)]))
            at(WRITE_DEADLINE_S * 0.6)
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.room = 1
            hub.resume_writing(connection)
        assert not sink.aborted
        assert told(sink) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize(("step", "stays"), [(1, True), (0, False), (-1, False)])
    def test_one_that_takes_a_large_board_slowly_is_not_frozen(
        self, hub: Hub, at: Callable[[float], None], step: int, stays: bool
    ) -> None:
        """It was cut off in the middle of its first message, and began anew each time."""
        hub.apply(reset(0))
        sink = attach_sink(hub, sink=ListSink(room=1))
        sink.buffered_bytes = 1_000
        for _ in range(5):
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.buffered_bytes -= step
            at(WRITE_DEADLINE_S * 0.6)
        assert sink.aborted is not stays

    def test_one_that_takes_next_to_nothing_is_let_go_in_the_end(
        self, hub: Hub, at: Callable[[float], None]
    ) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, sink=ListSink(room=1))
        sink.buffered_bytes = 1_000
        turns = 0
        while not sink.aborted:
            hub._fan_out.abort_stalled(WRITE_DEADLINE_S)
            sink.buffered_bytes -= 1
            at(WRITE_DEADLINE_S * 0.5)
            turns += 1
        assert 2 * connection_module.SLOW_FACTOR <= turns <= 2 * connection_module.SLOW_FACTOR + 2


class TestSlices:
    async def test_a_long_flush_lets_others_have_the_loop_and_misses_nobody(
        self, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Events of 20 kB to 500 readers held every other request for seconds."""
        monkeypatch.setattr(fan_out, "SLICE_S", 0.0)
        hub.apply(reset(0))
        sinks = [attach_sink(hub) for _ in range(50)]
        turns = 0
        for n in range(1, 4):
            hub.apply(Batch([entry(n)]))
            assert sum(told(sink) == [] for sink in sinks) >= (49 if n == 1 else 0)
            await asyncio.sleep(0)
        while any(told(sink) != [1, 2, 3] for sink in sinks):
            turns += 1
            await asyncio.sleep(0)
        assert 40 < turns < 500

    async def test_one_that_leaves_between_two_slices_is_not_written_to(
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


class TestSharing:
    def test_who_stands_at_the_same_place_shares_the_same_bytes(self, hub: Hub) -> None:
        hub.apply(reset(0))
        views = [
            View(),
            View(),
            View(kinds=frozenset({"status"})),
            View(kinds=frozenset({"status"})),
            SEED,
            SEED,
        ]
        sinks = [attach_sink(hub, view) for view in views]
        hub.apply(Batch([entry(1), entry(2)]))
        last = [sink.writes[-1] for sink in sinks]
        for one, other in ((0, 1), (2, 3), (4, 5)):
            assert last[one] is last[other]
        assert last[0] == last[2] != last[4]

    def test_one_flush_is_one_write(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub)
        hub.apply(Batch([entry(n) for n in range(1, 20)]))
        assert len(sink.writes) == 2

    def test_each_framing_is_applied_once_for_all(self, hub: Hub) -> None:
        framed = []

        def framing(data: bytes) -> bytes:
            framed.append(data)
            return b"<" + data + b">"

        hub.apply(reset(0))
        sinks = [attach_sink(hub, sink=ListSink(framing=framing)) for _ in range(5)]
        plainly = attach_sink(hub)
        framed.clear()
        hub.apply(Batch([entry(1)]))
        assert len(framed) == 1
        assert {sink.writes[-1] for sink in sinks} == {b"<" + plainly.writes[-1] + b">"}

    def test_a_reset_gives_all_readers_of_a_view_the_same_board(self, hub: Hub) -> None:
        """A thousand readers each with a board of their own were a thousand times its memory."""
        hub.apply(reset(0))
        sinks = [attach_sink(hub) for _ in range(5)]
        hub.apply(reset(9, entry(9), reason="a failover"))
        assert [events(sink) for sink in sinks] == [["board", "reset", "board"]] * 5
        assert len({id(sink.writes[-1]) for sink in sinks}) == 1


class TestFilters:
    def test_services_are_filtered_on_board_and_stream(self, hub: Hub) -> None:
        hub.apply(reset(2, entry(1, "a"), entry(2, "b")))
        sink = attach_sink(hub, View(services=frozenset({"b"})))
        hub.apply(Batch([entry(3, "a"), entry(4, "b")]))
        board, status = messages(sink.writes)
        assert board.data["expect"] == []
        assert [each["service"] for each in board.data["instances"]] == ["b"]
        assert status.data["service"] == "b"

    def test_kinds_are_filtered_and_pings_always_come(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, View(kinds=frozenset()))
        hub.apply(Batch([entry(1)]))
        hub.apply(FeedUnavailable("gone"))
        assert events(sink) == ["board", "ping"]

    def test_a_resume_brings_only_the_kinds_that_were_asked_for(self, hub: Hub) -> None:
        hub.apply(reset(0, entry(0)))
        sink = attach_sink(hub, View(kinds=frozenset({"status"})), since=Cursor(0, 0))
        assert events(sink) == ["ping"]

    def test_nothing_is_written_where_a_filter_leaves_nothing(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, View(services=frozenset({"z"})))
        hub.apply(Batch([entry(1)]))
        assert len(sink.writes) == 1


class TestResume:
    def test_what_was_missed_follows_once(self, hub: Hub) -> None:
        hub.apply(reset(0))
        for n in range(1, 6):
            hub.apply(Batch([entry(n)]))
        sink = attach_sink(hub, since=Cursor(3, 0))
        assert told(sink) == [4, 5]
        assert "board" not in events(sink)

    def test_it_says_first_who_is_alive_and_whether_redis_is_seen(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 7)]))
        hub.apply(FeedUnavailable("gone"))
        heartbeats, ping = messages(attach_sink(hub, since=Cursor(1, 0)).writes)[:2]
        assert heartbeats.data["heartbeats"] == [["a", "", 7]]
        assert ping.data["blind"]["reason"] == "gone"
        assert heartbeats.id == ping.id == "1-0"

    def test_one_who_asked_for_some_services_is_told_who_of_them_is_alive(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1), entry(1, "b")))
        heartbeats, _ = messages(
            attach_sink(hub, View(services=frozenset("b")), since=Cursor(1, 0)).writes
        )
        assert heartbeats.data["heartbeats"] == [["b", "", 1]]

    @pytest.mark.parametrize(
        "since", [Cursor(2, 0), Cursor(4, 5), Cursor(99, 0)], ids=["too old", "unknown", "future"]
    )
    def test_where_the_ring_cannot_say_it_serves_nobody_by_guess(
        self, hub: Hub, since: Cursor
    ) -> None:
        hub.apply(reset(3))
        hub.apply(Batch([entry(4), entry(5)]))
        sink = ListSink()
        assert not attach(hub, Connection(View(), sink), since)
        assert (sink.writes, hub.clients) == ([], 0)

    def test_the_seeds_stream_resumes_with_what_was_missed_and_no_snapshot(self, hub: Hub) -> None:
        hub.apply(reset(0))
        hub.apply(Batch([entry(n) for n in range(1, 4)]))
        sink = attach_sink(hub, SEED, since=Cursor(1, 0))
        assert sink.writes[0] == b": heartbeat\n\n", "a first byte at once"
        assert [each.data["status"] for each in messages(sink.writes)] == [{"n": 2}, {"n": 3}]

    def test_what_became_of_an_instance_is_among_what_was_missed(self, hub: Hub) -> None:
        hub.apply(reset(0, entry(0, "b")))
        hub.apply(Batch([entry(1), lifecycle(2, "gone", "b")]))
        *_, gone = messages(attach_sink(hub, since=Cursor(1, 0)).writes)
        assert (gone.event, gone.id) == ("lifecycle", "2-0")
        assert gone.data == {"service": "b", "instance": "", "timestamp": 2, "event": "gone"}


class TestBlind:
    def test_a_new_hub_is_blind_until_the_feed_speaks(self, hub: Hub) -> None:
        sink = attach_sink(hub)
        hub.apply(reset(1, entry(1)))
        first, second = messages(sink.writes)
        assert first.data["blind"]["reason"]
        assert first.data["instances"] == []
        assert (second.event, second.data["blind"]) == (
            "board",
            None,
        )  # no reset: nothing was broken
        assert len(second.data["instances"]) == 1

    def test_readers_are_told_at_once_and_only_once(self, hub: Hub) -> None:
        hub.apply(reset(1))
        sink = attach_sink(hub)
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(Batch())
        hub.apply(Batch())
        _, gone, heartbeats, back = messages(sink.writes)
        assert (gone.event, gone.data["blind"]["reason"]) == ("ping", "connection refused")
        assert heartbeats.event == "heartbeats"
        assert (back.event, back.data["blind"]) == ("ping", None)

    def test_the_reason_is_the_latest_and_the_time_that_of_the_first(self, hub: Hub) -> None:
        """A server with a wrong password said for ever that no answer had come yet."""
        assert hub.blind is not None
        began = hub.blind.since
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(FeedUnavailable("invalid password"))
        assert hub.blind == BlindView(began, "invalid password")

    def test_who_joins_meanwhile_is_told_on_the_board(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(FeedUnavailable("gone"))
        (board,) = messages(attach_sink(hub).writes)
        assert board.data["blind"]["reason"] == "gone"
        assert len(board.data["instances"]) == 1

    def test_nobody_is_forgotten_or_lost_while_nothing_is_seen(self, hub: Hub) -> None:
        hub.apply(
            Reset(
                "the server started",
                Cursor(1, 0),
                [entry(1, heartbeat_s=5)],
                [],
                observed_until=20_000,
            )
        )
        assert len(hub.evictable()) == len(hub.losses()) == 1
        hub.apply(FeedUnavailable("gone"))
        assert not hub.evictable()
        assert not hub.losses()


class TestReset:
    def test_every_reader_is_told_why_and_given_the_board(self, hub: Hub) -> None:
        hub.apply(reset(5, entry(5)))
        ours, seeds = attach_sink(hub), attach_sink(hub, SEED)
        hub.apply(reset(2, entry(2, "b"), reason="Redis lost events"))
        assert events(ours) == ["board", "reset", "board"]
        assert messages(ours.writes)[1].data == {"reason": "Redis lost events"}
        assert [each.data for each in messages(seeds.writes)] == [
            {"a": {"n": 5}},
            {"a": {}, "b": {"n": 2}},
        ]

    def test_what_happened_before_a_server_started_is_in_its_ring(self, hub: Hub) -> None:
        recent = [entry(n, heartbeat_s=5) for n in range(3, 9)]
        heartbeats = [Heartbeat("a", "", 99)]
        hub.apply(
            Reset(
                "the server started",
                Cursor(8, 0),
                [recent[-1]],
                heartbeats,
                recent=recent,
                observed_until=100,
            )
        )
        back = attach_sink(hub, since=Cursor(5, 0))
        assert told(back) == [6, 7, 8]
        # Whoever appeared in what was missed has beaten since, and nobody was there to tell it.
        assert events(back)[-1] == "heartbeats"
        assert messages(back.writes)[-1].data["heartbeats"] == [["a", "", 99]]
        assert attach_sink(hub, since=Cursor(3, 0)).writes
        assert not attach(hub, Connection(View(), ListSink()), Cursor(2, 0)), (
            "older than what it read"
        )
        assert events(attach_sink(hub)) == ["board"]

    def test_what_is_read_of_the_past_must_reach_to_the_board(self, hub: Hub) -> None:
        hub.apply(
            Reset("the server started", Cursor(9, 0), [entry(8)], [], recent=[entry(7), entry(8)])
        )
        assert not attach(hub, Connection(View(), ListSink()), Cursor(7, 0))

    def test_an_instance_too_many_is_counted_and_passes_by_the_board(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(max_instances=1), RedisClock(), rejections, HubOptions())
        hub.apply(reset(0))
        sink = attach_sink(hub)
        hub.apply(Batch([entry(1, "a"), entry(2, "b"), entry(3, "a")]))
        assert told(sink) == [1, 2, 3]
        assert rejections.counts == {"board-full": 1}

    def test_readers_are_told_how_many_a_full_board_leaves_out(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(max_instances=1), RedisClock(), rejections, HubOptions())
        now = hub.now_ms
        hub.apply(reset(now - 10))
        before = attach_sink(hub)
        hub.apply(Batch([entry(now - n, f"s{n}") for n in (5, 4, 3)]))
        hub.report_ping()
        hub.apply(Batch())
        assert [messages(before.writes)[at].data["omitted"] for at in (0, -1)] == [0, 2]
        assert (
            messages(attach_sink(hub, View(services=frozenset({"s5"}))).writes)[0].data["omitted"]
            == 2
        )


class TestSight:
    """From when on silence counts, and up to when everything was heard."""

    def start(self, hub: Hub, *, observed_until: int, since: int = 0) -> ListSink:
        hub.apply(
            Reset(
                "the server started",
                Cursor(1, 0),
                [entry(1, heartbeat_s=5)],
                [],
                observed_until=observed_until,
                observed_since=since,
            )
        )
        return attach_sink(hub)

    def test_the_board_says_up_to_when_it_has_heard(self, hub: Hub) -> None:
        sink = self.start(hub, observed_until=7_000)
        hub.apply(Batch(observed_until=8_000))
        hub.report_ping()
        hub.apply(Batch(observed_until=9_000))
        board, ping = messages(sink.writes)
        assert (
            board.data["observed_until"],
            board.data["observed_since"],
            ping.data["observed_until"],
        ) == (
            7_000,
            0,
            8_000,
        )

    def test_silence_before_redis_was_up_is_held_against_nobody(self, hub: Hub) -> None:
        """Redis was away and everybody with it: a server that starts then called them all lost."""
        (board,) = messages(self.start(hub, observed_until=101_000, since=100_000).writes)
        assert board.data["observed_since"] == 100_000 + RECONNECT_MS
        assert hub.losses() == []

    def test_silence_while_the_server_was_blind_is_held_against_nobody(self, hub: Hub) -> None:
        sink = self.start(hub, observed_until=5_000)
        hub.apply(FeedUnavailable("gone"))
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 99_000)], observed_until=100_000))
        _, gone, heartbeats, back = messages(sink.writes)
        assert gone.data["blind"] is not None
        assert (heartbeats.event, heartbeats.data["heartbeats"]) == (
            "heartbeats",
            [["a", "", 99_000]],
        ), "before it can be judged"
        assert (back.event, back.data["blind"]) == ("ping", None)
        assert (back.data["observed_until"], back.data["observed_since"]) == (
            100_000,
            100_000 + RECONNECT_MS,
        )

    def test_a_clock_of_redis_that_was_set_ahead_kills_nobody(self, hub: Hub) -> None:
        self.start(hub, observed_until=5_000)
        hub.apply(Batch(observed_until=3_600_000, observed_since=3_600_000))
        assert hub.losses() == []
        hub.apply(Batch(observed_until=3_600_000 + RECONNECT_MS + 12_501))
        assert len(hub.losses()) == 1

    def test_a_server_that_was_itself_paused_blames_nobody(self, hub: Hub) -> None:
        """It judges by what it has heard, not by what time it is: the beats of its pause are still on their way to it."""
        self.start(hub, observed_until=5_000)
        hub._clock.set(500_000, time.monotonic())
        assert hub.losses() == []
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 499_000)], observed_until=500_000))
        assert hub.losses() == []


class TestClose:
    def test_streams_end_with_a_bye_and_a_spread_of_retries(self, hub: Hub) -> None:
        hub.apply(reset(3))
        sinks = [attach_sink(hub) for _ in range(50)]
        hub.close("the server is stopping")
        byes = [messages(sink.writes)[-1] for sink in sinks]
        assert all(sink.closed for sink in sinks)
        assert {(bye.event, bye.data["reason"], bye.id) for bye in byes} == {
            ("bye", "the server is stopping", "3-0")
        }
        retries = {bye.retry for bye in byes if bye.retry is not None}
        assert len(retries) > 10
        assert RETRY_MS[0] <= min(retries)
        assert max(retries) <= RETRY_MS[1]
        assert hub.clients == 0

    def test_the_seeds_stream_ends_with_nothing_that_its_page_could_take_for_a_status(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(3))
        sink = attach_sink(hub, SEED)
        hub.close("the server is stopping")
        assert sink.closed
        *writes, last = sink.writes
        assert [each.data for each in messages(writes)] == [{"a": {}}]
        # No data, so no message (WHATWG HTML, 9.2.6); but its reader comes back spread out as well.
        retry = re.fullmatch(rb"retry: (\d+)\n\n", last)
        assert retry is not None
        assert RETRY_MS[0] <= int(retry[1]) <= RETRY_MS[1]

    def test_one_that_is_behind_is_not_told_that_it_has_seen_everything(self, hub: Hub) -> None:
        """Its `bye` carried the id of the last event; so it came back as one that had missed nothing."""
        hub.apply(reset(0))
        slow = attach_sink(hub, sink=ListSink(room=1))
        hub.apply(Batch([entry(1)]))
        hub.close("the server is stopping")
        board, bye = messages(slow.writes)
        assert (board.id, bye.event, bye.id) == ("0-0", "bye", None)


class TestLifetime:
    @pytest.fixture
    def hub(self) -> Hub:
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(stream_lifetime_s=3_600))
        hub.apply(reset(3))
        return hub

    def test_streams_end_after_their_lifetime_spread_over_a_fifth_of_it(self, hub: Hub) -> None:
        started = time.monotonic()
        sinks = [attach_sink(hub) for _ in range(50)]
        ended = []
        for minute in range(50, 70):
            hub.enforce_deadlines(started + 60 * minute)
            ended.append(sum(sink.closed for sink in sinks))
        assert (ended[0], ended[-1]) == (0, 50)
        assert len(set(ended)) > 5
        assert hub.clients == 0
        assert {(bye.event, bye.id) for bye in (messages(sink.writes)[-1] for sink in sinks)} == {
            ("bye", "3-0")
        }

    def test_who_comes_back_where_it_ended_has_missed_nothing(self, hub: Hub) -> None:
        first = attach_sink(hub)
        hub.enforce_deadlines(time.monotonic() + 4_000)
        hub.apply(Batch([entry(4)]))
        bye = messages(first.writes)[-1]
        assert bye.id is not None
        second = attach_sink(hub, since=Cursor.parse(bye.id))
        assert [each.id for each in messages(second.writes) if each.event == "status"] == ["4-0"]
        assert "board" not in events(second)

    def test_none_ends_where_no_lifetime_is_set(self) -> None:
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
        hub.apply(reset(3))
        sink = attach_sink(hub)
        hub.enforce_deadlines(time.monotonic() + 1e9)
        assert not sink.closed


class TestTick:
    async def test_pings_beats_and_heartbeats_come_by_themselves(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker_module, "HEARTBEATS_EVERY_S", 0.01)
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(ping_s=0.01, keepalive_s=0.01))
        hub.apply(reset(1, entry(1)))
        ours, seeds = attach_sink(hub), attach_sink(hub, SEED)
        feed = FeedReader(RedisAddress(), Keys(), RedisClock(), Rejections())
        ticking = asyncio.create_task(ticker_module.Ticker(hub).run(feed))
        hub.apply(
            Batch(
                heartbeats=[
                    Heartbeat("a", "", 5),
                    Heartbeat("a", "", 6),
                    Heartbeat("stranger", "", 6),
                ]
            )
        )

        def complete() -> bool:
            return b": heartbeat" in b"".join(seeds.writes) and {"ping", "heartbeats"} <= set(
                events(ours)
            )

        await eventually(complete)
        ticking.cancel()
        (heartbeats,) = [each for each in messages(ours.writes) if each.event == "heartbeats"]
        assert heartbeats.data["heartbeats"] == [["a", "", 6]]
        assert len(messages(seeds.writes)) == 1


def test_leaving_twice_is_leaving_once(hub: Hub) -> None:
    connection = Connection(View(), ListSink())
    attach(hub, connection)
    hub.detach(connection)
    hub.detach(connection)
    hub.resume_writing(connection)
    assert hub.clients == 0
