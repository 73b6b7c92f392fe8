"""Outages and resets of the feed, and the period for which silence counts."""

import time

from tests.support.hub import (
    STATUS_STREAM,
    ListSink,
    attach,
    attach_sink,
    entry,
    event_names,
    messages,
    reset,
    status_numbers,
)

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.view import View
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.state import RECONNECT_MS
from pulseboard.wire.views import BlindView


class TestBlind:
    def test_new_hub_is_blind_until_the_first_item_of_the_feed(self, hub: Hub) -> None:
        sink = attach_sink(hub)
        hub.apply(reset(1, entry(1)))
        first, second = messages(sink.writes)
        assert first.data["blind"]["reason"]
        assert first.data["instances"] == []
        assert (second.event, second.data["blind"]) == (
            "board",
            None,
        ), "no reset, because no event was missed"
        assert len(second.data["instances"]) == 1

    def test_outage_is_reported_to_clients_at_once_and_only_once(self, hub: Hub) -> None:
        hub.apply(reset(1))
        sink = attach_sink(hub)
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(Batch())
        hub.apply(Batch())
        _, outage, heartbeats, recovery = messages(sink.writes)
        assert (outage.event, outage.data["blind"]["reason"]) == ("ping", "connection refused")
        assert heartbeats.event == "heartbeats"
        assert (recovery.event, recovery.data["blind"]) == ("ping", None)

    def test_blindness_keeps_its_first_time_and_its_latest_reason(self, hub: Hub) -> None:
        """A server with a wrong password always showed that it waited for the first answer."""
        assert hub.blind is not None
        blind_since = hub.blind.since
        hub.apply(FeedUnavailable("connection refused"))
        hub.apply(FeedUnavailable("invalid password"))
        assert hub.blind == BlindView(blind_since, "invalid password")

    def test_board_of_a_blind_hub_has_the_reason(self, hub: Hub) -> None:
        hub.apply(reset(1, entry(1)))
        hub.apply(FeedUnavailable("connection lost"))
        (board,) = messages(attach_sink(hub).writes)
        assert board.data["blind"]["reason"] == "connection lost"
        assert len(board.data["instances"]) == 1

    def test_blind_hub_evicts_and_loses_no_instance(self, hub: Hub) -> None:
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
        hub.apply(FeedUnavailable("connection lost"))
        assert not hub.evictable()
        assert not hub.losses()


class TestReset:
    def test_reset_sends_its_reason_and_the_board_to_every_client(self, hub: Hub) -> None:
        hub.apply(reset(5, entry(5)))
        on_event_stream, on_status_stream = attach_sink(hub), attach_sink(hub, STATUS_STREAM)
        hub.apply(reset(2, entry(2, "b"), reason="Redis lost events"))
        assert event_names(on_event_stream) == ["board", "reset", "board"]
        assert messages(on_event_stream.writes)[1].data == {"reason": "Redis lost events"}
        assert [each.data for each in messages(on_status_stream.writes)] == [
            {"a": {"n": 5}},
            {"a": {}, "b": {"n": 2}},
        ]

    def test_recent_events_before_the_start_of_the_server_can_be_resumed(self, hub: Hub) -> None:
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
        resumed = attach_sink(hub, since=Cursor(5, 0))
        assert status_numbers(resumed) == [6, 7, 8]
        # Instances in the missed events have sent heartbeats since, which no server forwarded.
        assert event_names(resumed)[-1] == "heartbeats"
        assert messages(resumed.writes)[-1].data["heartbeats"] == [["a", "", 99]]
        assert attach_sink(hub, since=Cursor(3, 0)).writes
        assert not attach(hub, Connection(View(), ListSink()), Cursor(2, 0)), (
            "older than the recent events that it read"
        )
        assert event_names(attach_sink(hub)) == ["board"]

    def test_recent_events_that_do_not_reach_the_board_are_not_used(self, hub: Hub) -> None:
        hub.apply(
            Reset("the server started", Cursor(9, 0), [entry(8)], [], recent=[entry(7), entry(8)])
        )
        assert not attach(hub, Connection(View(), ListSink()), Cursor(7, 0))

    def test_event_of_an_instance_beyond_the_limit_is_counted_and_sent(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(max_instances=1), RedisClock(), rejections, HubOptions())
        hub.apply(reset(0))
        sink = attach_sink(hub)
        hub.apply(Batch([entry(1, "a"), entry(2, "b"), entry(3, "a")]))
        assert status_numbers(sink) == [1, 2, 3]
        assert rejections.counts == {"board-full": 1}

    def test_clients_get_the_number_of_instances_that_a_full_board_omits(
        self, rejections: Rejections
    ) -> None:
        hub = Hub(Board(max_instances=1), RedisClock(), rejections, HubOptions())
        now = hub.now_ms
        hub.apply(reset(now - 10))
        early = attach_sink(hub)
        hub.apply(Batch([entry(now - n, f"s{n}") for n in (5, 4, 3)]))
        hub.report_ping()
        hub.apply(Batch())
        assert [messages(early.writes)[index].data["omitted"] for index in (0, -1)] == [0, 2]
        assert (
            messages(attach_sink(hub, View(services=frozenset({"s5"}))).writes)[0].data["omitted"]
            == 2
        )


class TestFreshness:
    """The times from which silence counts, and up to which every event was received."""

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

    def test_board_and_pings_say_up_to_when_the_feed_was_read(self, hub: Hub) -> None:
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

    def test_silence_before_redis_was_up_does_not_count(self, hub: Hub) -> None:
        """Redis was down, so no service could publish.

        A server that started after it declared all of them lost.
        """
        (board,) = messages(self.start(hub, observed_until=101_000, since=100_000).writes)
        assert board.data["observed_since"] == 100_000 + RECONNECT_MS
        assert hub.losses() == []

    def test_silence_while_the_server_was_blind_does_not_count(self, hub: Hub) -> None:
        sink = self.start(hub, observed_until=5_000)
        hub.apply(FeedUnavailable("connection lost"))
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 99_000)], observed_until=100_000))
        _, outage, heartbeats, recovery = messages(sink.writes)
        assert outage.data["blind"] is not None
        assert (heartbeats.event, heartbeats.data["heartbeats"]) == (
            "heartbeats",
            [["a", "", 99_000]],
        ), "heartbeats come before the ping that ends the blindness"
        assert (recovery.event, recovery.data["blind"]) == ("ping", None)
        assert (recovery.data["observed_until"], recovery.data["observed_since"]) == (
            100_000,
            100_000 + RECONNECT_MS,
        )

    def test_clock_of_redis_that_was_set_ahead_loses_no_instance(self, hub: Hub) -> None:
        self.start(hub, observed_until=5_000)
        hub.apply(Batch(observed_until=3_600_000, observed_since=3_600_000))
        assert hub.losses() == []
        hub.apply(Batch(observed_until=3_600_000 + RECONNECT_MS + 12_501))
        assert len(hub.losses()) == 1

    def test_server_that_was_paused_itself_loses_no_instance(self, hub: Hub) -> None:
        """The server judges by the time up to which it has read, not by the current time.

        It has still to read the heartbeats of its pause.
        """
        self.start(hub, observed_until=5_000)
        hub._clock.set(500_000, time.monotonic())
        assert hub.losses() == []
        hub.apply(Batch(heartbeats=[Heartbeat("a", "", 499_000)], observed_until=500_000))
        assert hub.losses() == []
