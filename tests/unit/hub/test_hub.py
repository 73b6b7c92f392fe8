"""The hub: attached clients get the board, then events, filtered, shared and resumable."""

import asyncio
import re
import time

import pytest
from tests.support.hub import (
    STATUS_STREAM,
    ListSink,
    attach,
    attach_sink,
    entry,
    event_names,
    eventually,
    lifecycle,
    messages,
    reset,
    status_numbers,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat
from pulseboard.bus.feed.reader import FeedReader
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.hub import ticker as ticker_module
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import RETRY_MS, Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor


class TestAttach:
    def test_first_message_is_the_board(self, hub: Hub) -> None:
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

    def test_status_stream_sends_its_snapshot_and_then_its_messages(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, STATUS_STREAM)
        hub.apply(Batch([entry(1, "balance-sync", "host:1", heartbeat_s=5.0)]))
        first, second = messages(sink.writes)
        assert (first.event, first.data) == ("message", {"a": {}})
        assert (second.event, second.id) == ("message", "1-0")
        assert second.data == {"service": "balance-sync", "timestamp": 1, "status": {"n": 1}}

    def test_board_of_an_insecure_server_is_marked_insecure(self) -> None:
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(insecure=True))
        assert messages(attach_sink(hub).writes)[0].data["insecure"] is True

    def test_events_after_the_board_follow_without_a_gap_or_a_duplicate(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(Batch([entry(2)]))
        sink = attach_sink(hub)
        hub.apply(Batch([entry(3)]))
        board, status = messages(sink.writes)
        assert [each["status"]["n"] for each in board.data["instances"]] == [2]
        assert (status.event, status.data["status"]) == ("status", {"n": 3})

    def test_clients_that_attach_together_share_the_board_and_then_the_events(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(1, entry(1)))
        sinks = [attach_sink(hub) for _ in range(10)]
        assert len({id(sink.writes[0]) for sink in sinks}) == 1
        hub.apply(Batch([entry(2)]))
        late_sink = attach_sink(hub)
        assert [status_numbers(sink) for sink in sinks] == [[2]] * 10
        # The late client may get the earlier board: then the newer events follow it.
        numbers = [
            each["status"]["n"] for each in messages(late_sink.writes)[0].data["instances"]
        ] + status_numbers(late_sink)
        assert numbers[-1] == 2

    def test_closed_hub_sends_new_clients_bye_and_closes_them(self, hub: Hub) -> None:
        hub.apply(reset(1))
        hub.close("bye")
        sink = attach_sink(hub)
        assert sink.closed
        assert event_names(sink) == ["bye"]
        assert hub.clients == 0


class TestHeartbeats:
    def test_heartbeats_are_encoded_once_for_all_clients_with_the_same_services(
        self, hub: Hub
    ) -> None:
        hub.apply(reset(1, entry(1), entry(1, "b", "i"), entry(1, "b", "j"), entry(1, "c")))
        clients_of_b = [attach_sink(hub, View(services=frozenset("b"))) for _ in range(10)]
        client_of_two, client_of_all, client_of_none = (
            attach_sink(hub, View(services=names))
            for names in (frozenset("ac"), None, frozenset("z"))
        )
        other_kinds = attach_sink(hub, View(kinds=frozenset({"status"}), services=frozenset("b")))
        hub.apply(FeedUnavailable("unreachable"))
        for sink in (*clients_of_b, client_of_two, client_of_all, client_of_none, other_kinds):
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
            (data,) = [each.data for each in messages(sink.writes) if each.event == "heartbeats"]
            assert data["observed_until"] == 9
            return sorted(data["heartbeats"])

        assert heartbeats(clients_of_b[0]) == [["b", "i", 8, 1_500], ["b", "j", 9]]
        assert heartbeats(client_of_two) == [["a", "", 9], ["c", "", 7]]
        assert len(heartbeats(client_of_all)) == 4
        assert heartbeats(client_of_none) == []
        assert event_names(other_kinds) == ["ping"]
        assert len({id(sink.writes[0]) for sink in clients_of_b}) == 1


class TestSharing:
    def test_clients_of_one_view_at_one_position_share_the_same_bytes(self, hub: Hub) -> None:
        hub.apply(reset(0))
        views = [
            View(),
            View(),
            View(kinds=frozenset({"status"})),
            View(kinds=frozenset({"status"})),
            STATUS_STREAM,
            STATUS_STREAM,
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

    def test_each_framing_is_applied_once_for_all_clients(self, hub: Hub) -> None:
        framed = []

        def framing(data: bytes) -> bytes:
            framed.append(data)
            return b"<" + data + b">"

        hub.apply(reset(0))
        sinks = [attach_sink(hub, sink=ListSink(framing=framing)) for _ in range(5)]
        unframed_sink = attach_sink(hub)
        framed.clear()
        hub.apply(Batch([entry(1)]))
        assert len(framed) == 1
        assert {sink.writes[-1] for sink in sinks} == {b"<" + unframed_sink.writes[-1] + b">"}

    def test_reset_sends_one_shared_board_to_all_clients_of_a_view(self, hub: Hub) -> None:
        """A board for each of a thousand clients took a thousand times the memory."""
        hub.apply(reset(0))
        sinks = [attach_sink(hub) for _ in range(5)]
        hub.apply(reset(9, entry(9), reason="a failover"))
        assert [event_names(sink) for sink in sinks] == [["board", "reset", "board"]] * 5
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

    def test_kinds_are_filtered_and_pings_are_always_sent(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, View(kinds=frozenset()))
        hub.apply(Batch([entry(1)]))
        hub.apply(FeedUnavailable("connection lost"))
        assert event_names(sink) == ["board", "ping"]

    def test_resume_sends_only_the_requested_kinds(self, hub: Hub) -> None:
        hub.apply(reset(0, entry(0)))
        sink = attach_sink(hub, View(kinds=frozenset({"status"})), since=Cursor(0, 0))
        assert event_names(sink) == ["ping"]

    def test_no_write_follows_if_the_filter_removes_every_event(self, hub: Hub) -> None:
        hub.apply(reset(0))
        sink = attach_sink(hub, View(services=frozenset({"z"})))
        hub.apply(Batch([entry(1)]))
        assert len(sink.writes) == 1


class TestResume:
    def test_missed_events_are_sent_once(self, hub: Hub) -> None:
        hub.apply(reset(0))
        for n in range(1, 6):
            hub.apply(Batch([entry(n)]))
        sink = attach_sink(hub, since=Cursor(3, 0))
        assert status_numbers(sink) == [4, 5]
        assert "board" not in event_names(sink)

    def test_resume_starts_with_heartbeats_and_the_freshness(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 7)]))
        hub.apply(FeedUnavailable("connection lost"))
        heartbeats, ping = messages(attach_sink(hub, since=Cursor(1, 0)).writes)[:2]
        assert heartbeats.data["heartbeats"] == [["a", "", 7]]
        assert ping.data["blind"]["reason"] == "connection lost"
        assert heartbeats.id == ping.id == "1-0"

    def test_heartbeats_at_a_resume_are_filtered_by_service(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1), entry(1, "b")))
        heartbeats, _ = messages(
            attach_sink(hub, View(services=frozenset("b")), since=Cursor(1, 0)).writes
        )
        assert heartbeats.data["heartbeats"] == [["b", "", 1]]

    @pytest.mark.parametrize(
        "since", [Cursor(2, 0), Cursor(4, 5), Cursor(99, 0)], ids=["too old", "unknown", "future"]
    )
    def test_cursor_outside_the_ring_is_not_resumed_from_the_ring(
        self, hub: Hub, since: Cursor
    ) -> None:
        hub.apply(reset(3))
        hub.apply(Batch([entry(4), entry(5)]))
        sink = ListSink()
        assert not attach(hub, Connection(View(), sink), since)
        assert (sink.writes, hub.clients) == ([], 0)

    def test_status_stream_resumes_with_missed_events_and_no_snapshot(self, hub: Hub) -> None:
        hub.apply(reset(0))
        hub.apply(Batch([entry(n) for n in range(1, 4)]))
        sink = attach_sink(hub, STATUS_STREAM, since=Cursor(1, 0))
        assert sink.writes[0] == b": heartbeat\n\n", "the first byte is sent at once"
        assert [each.data["status"] for each in messages(sink.writes)] == [{"n": 2}, {"n": 3}]

    def test_missed_lifecycle_events_are_sent_at_a_resume(self, hub: Hub) -> None:
        hub.apply(reset(0, entry(0, "b")))
        hub.apply(Batch([entry(1), lifecycle(2, "gone", "b")]))
        *_, gone = messages(attach_sink(hub, since=Cursor(1, 0)).writes)
        assert (gone.event, gone.id) == ("lifecycle", "2-0")
        assert gone.data == {"service": "b", "instance": "", "timestamp": 2, "event": "gone"}


class TestClose:
    def test_streams_end_with_bye_and_spread_retry_delays(self, hub: Hub) -> None:
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

    def test_status_stream_ends_without_a_message(self, hub: Hub) -> None:
        hub.apply(reset(3))
        sink = attach_sink(hub, STATUS_STREAM)
        hub.close("the server is stopping")
        assert sink.closed
        *writes, last = sink.writes
        assert [each.data for each in messages(writes)] == [{"a": {}}]
        # Without data there is no message (WHATWG HTML, 9.2.6), but the retry delay takes effect.
        retry = re.fullmatch(rb"retry: (\d+)\n\n", last)
        assert retry is not None
        assert RETRY_MS[0] <= int(retry[1]) <= RETRY_MS[1]

    def test_bye_to_a_client_that_is_behind_has_no_id(self, hub: Hub) -> None:
        """The `bye` carried the id of the last event.

        The client then resumed from there and never got the events between.
        """
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

    def test_client_that_resumes_after_its_lifetime_misses_no_event(self, hub: Hub) -> None:
        first = attach_sink(hub)
        hub.enforce_deadlines(time.monotonic() + 4_000)
        hub.apply(Batch([entry(4)]))
        bye = messages(first.writes)[-1]
        assert bye.id is not None
        second = attach_sink(hub, since=Cursor.parse(bye.id))
        assert [each.id for each in messages(second.writes) if each.event == "status"] == ["4-0"]
        assert "board" not in event_names(second)

    def test_stream_without_a_lifetime_does_not_end(self) -> None:
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
        hub.apply(reset(3))
        sink = attach_sink(hub)
        hub.enforce_deadlines(time.monotonic() + 1e9)
        assert not sink.closed


class TestTicker:
    async def test_ticker_sends_pings_heartbeats_and_keepalives(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker_module, "HEARTBEATS_EVERY_S", 0.01)
        hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(ping_s=0.01, keepalive_s=0.01))
        hub.apply(reset(1, entry(1)))
        on_event_stream, on_status_stream = attach_sink(hub), attach_sink(hub, STATUS_STREAM)
        feed = FeedReader(RedisAddress(), Keys(), RedisClock(), Rejections())
        ticking = asyncio.create_task(ticker_module.Ticker(hub).run(feed))
        hub.apply(
            Batch(
                heartbeats=[
                    Heartbeat("a", "", 5),
                    Heartbeat("a", "", 6),
                    Heartbeat("unknown", "", 6),
                ]
            )
        )

        def complete() -> bool:
            return b": heartbeat" in b"".join(on_status_stream.writes) and {
                "ping",
                "heartbeats",
            } <= set(event_names(on_event_stream))

        await eventually(complete)
        ticking.cancel()
        (heartbeats,) = [
            each for each in messages(on_event_stream.writes) if each.event == "heartbeats"
        ]
        assert heartbeats.data["heartbeats"] == [["a", "", 6]]
        assert len(messages(on_status_stream.writes)) == 1


def test_detaching_a_second_time_has_no_effect(hub: Hub) -> None:
    connection = Connection(View(), ListSink())
    attach(hub, connection)
    hub.detach(connection)
    hub.detach(connection)
    hub.resume_writing(connection)
    assert hub.clients == 0
