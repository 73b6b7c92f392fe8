"""The registry of event kinds, and the places that repeat the names of kinds."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from pulseboard.bus.feed.entries import Entry
from pulseboard.bus.keys import Keys
from pulseboard.bus.retention.limits import Limits
from pulseboard.hub.frames import event_frame
from pulseboard.server.settings import Settings
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.kinds import (
    EVENT_KINDS,
    HISTORIES,
    KINDS_BY_CHANNEL,
    KINDS_BY_NAME,
    SSE_EVENTS,
    STATUS,
    STREAM_KINDS,
    Event,
    EventKind,
    HistoryKind,
    kind_of,
)
from pulseboard.wire.names import RESERVED

SPEC = Path(__file__).parents[3] / "spec"
EXAMPLES: dict[str, str] = {
    "status": '{"service":"report","timestamp":1,"status":{"isRunning":true}}',
    "log": '{"service":"report","lines":[{"level":"info","message":"a"},'
    '{"level":"info","message":"b"}]}',
    "metric": '{"service":"report","metrics":{"done":1},"timestamp":1}',
    "command": '{"command_id":"c1","service":"report","command":"pause","instances":["w-1"],'
    '"args":{},"issued":1,"expires":2}',
    "receipt": '{"service":"report","instance":"w-1","command_id":"c1","command":"pause",'
    '"receipt":"done"}',
    "lifecycle": '{"service":"report","instance":"w-1","timestamp":1,"event":"gone"}',
}

each_kind = pytest.mark.parametrize("kind", EVENT_KINDS, ids=lambda kind: kind.name)


def test_names_channels_and_events_of_kinds_are_unique() -> None:
    assert len(KINDS_BY_NAME) == len(EVENT_KINDS)
    assert len(SSE_EVENTS) == len(STREAM_KINDS)
    assert len({kind.event for kind in EVENT_KINDS}) == len(EVENT_KINDS)
    assert len({history.key for history in HISTORIES.values()}) == len(HISTORIES)


def test_event_union_and_history_names_match_the_registry() -> None:
    assert set(get_args(Event)) == {kind.event for kind in EVENT_KINDS}, (
        "the members of Event and of EVENT_KINDS in wire/kinds.py differ"
    )
    assert set(get_args(HistoryKind)) == set(HISTORIES), (
        "the members of HistoryKind in wire/kinds.py and the kinds with a history differ"
    )


def test_reserved_names_are_the_channels_of_the_registry() -> None:
    assert set(KINDS_BY_CHANNEL) == RESERVED, (
        "RESERVED in wire/names.py must have exactly the channels of EVENT_KINDS in wire/kinds.py"
    )


@each_kind
def test_kind_is_complete(kind: EventKind[Any]) -> None:
    assert (kind.channel is None) == (kind.parse_external is None)
    assert kind.public or kind.channel is None
    assert kind is STATUS or kind.status_stream_view is None


@each_kind
def test_event_becomes_a_frame_of_its_kind(kind: EventKind[Any]) -> None:
    assert kind.name in EXAMPLES, f"add an event of kind {kind.name!r} to EXAMPLES in this file"
    event = kind.parse(EXAMPLES[kind.name].encode())
    assert kind_of(event) is kind
    frame = event_frame(Entry(Cursor(5, 0), event))
    assert frame.kind == kind.sse_event
    assert frame.service == "report"
    assert frame.count == kind.count(event) == (2 if kind.name == "log" else 1)
    assert frame.full is not None
    assert f"event: {kind.sse_event}\n".encode() in frame.full


@pytest.mark.parametrize("kind", STREAM_KINDS, ids=lambda kind: kind.name)
def test_data_of_each_sse_event_has_a_schema(kind: EventKind[Any]) -> None:
    path = SPEC / f"{kind.sse_event}.schema.json"
    assert path.exists(), (
        f"add a Shape {kind.sse_event!r} to SHAPES in scripts/generate_shapes.py, and run it"
    )
    schema = json.loads(path.read_text("utf-8"))
    assert schema["$schema"].endswith("2020-12/schema")


@each_kind
def test_each_public_kind_has_a_schema_for_its_messages(kind: EventKind[Any]) -> None:
    has_schema = (SPEC / f"{kind.name}-event.schema.json").exists()
    assert has_schema == kind.public, (
        f"SHAPES in scripts/generate_shapes.py needs a Shape {kind.name!r}-event, written=False,"
        " exactly if the kind is public; then run the script"
    )


@pytest.mark.parametrize("kind", HISTORIES)
def test_each_history_has_a_key_default_limits_and_an_option(kind: HistoryKind) -> None:
    history = HISTORIES[kind]
    assert Keys("n").history("report", kind) == f"{{n}}:{history.key}:report"
    limit = getattr(Limits(), kind)
    assert tuple(limit) == (history.entries, history.size_bytes, history.age_s)
    assert history.option in Settings.model_fields
    changed = Settings.load(**{history.option: "500,3MB,2d"}).limits
    assert getattr(changed, kind).entries == 500


def test_view_is_encoded_without_members_that_have_their_default() -> None:
    event = STATUS.parse(EXAMPLES["status"].encode())
    view = json.loads(encode(STATUS.view(event, Cursor(5, 0))))
    assert view == {
        "service": "report",
        "timestamp": 1,
        "status": {"isRunning": True},
        "instance": "",
    }
