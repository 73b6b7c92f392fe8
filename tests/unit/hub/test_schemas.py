"""The messages that a hub sends match the generated schemas."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.support.hub import ListSink, attach, attach_sink, entry, lifecycle, messages, reset

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, FeedUnavailable, Heartbeat
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.connection import Connection
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.hub.ring import Ring
from pulseboard.hub.view import View
from pulseboard.wire.views import CoverageGapView

SPEC = Path(__file__).parents[3] / "spec"


@pytest.mark.parametrize("event", ["board", "status", "heartbeats", "ping", "lifecycle"])
def test_message_matches_its_schema(hub: Hub, event: str) -> None:
    hub.apply(reset(2, entry(1, "a", "i", heartbeat_s=5.0), entry(2, "b")))
    sink = attach_sink(hub)
    hub.apply(
        Batch([entry(3, "a", "i", heartbeat_s=5.0), entry(4, "b"), lifecycle(5, "lost", "b")])
    )
    hub.apply(Batch([entry(6, "c", stopped=True, back_in_s=9.0), lifecycle(7, "gone", "b")]))
    hub.report_gap(CoverageGapView(1, None))
    hub.apply(FeedUnavailable("connection refused"))
    hub.apply(Batch(heartbeats=[Heartbeat("a", "i", 8), Heartbeat("c", "", 8, 2_000)]))
    late = attach_sink(hub)
    check([*sink.writes, *late.writes], event)


@pytest.mark.parametrize("event", ["reset", "skipped", "bye"])
def test_message_about_the_stream_matches_its_schema(event: str) -> None:
    hub = Hub(Board(), RedisClock(), Rejections(), HubOptions(), ring=Ring(max_frames=2))
    hub.apply(reset(1, entry(1)))
    sink = ListSink(room=1)
    connection = Connection(View(), sink)
    attach(hub, connection)
    hub.apply(Batch([entry(n) for n in range(2, 9)]))
    sink.room = None
    hub.resume_writing(connection)
    hub.apply(reset(9, entry(9), reason="a failover"))
    hub.close("the server is stopping")
    check(sink.writes, event)


def check(writes: list[bytes], event: str) -> None:
    validator = Draft202012Validator(json.loads((SPEC / f"{event}.schema.json").read_text("utf-8")))
    found = [message.data for message in messages(writes) if message.event == event]
    assert found
    for data in found:
        validator.validate(data)
