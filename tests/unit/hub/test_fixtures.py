"""Golden fixtures of log lines, metrics and commands, from the message to the frame."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pulseboard.bus.feed.entries import Entry
from pulseboard.hub.frames import event_frame
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.kinds import KINDS_BY_CHANNEL

SPEC = Path(__file__).parents[3] / "spec"
PARSERS: dict[str, Any] = {kind.name: kind.parse_external for kind in KINDS_BY_CHANNEL.values()}
CURSOR = Cursor(1_765_584_000_000, 0)


def load(kind: str) -> list[Any]:
    cases = json.loads((SPEC / "fixtures" / f"{kind}s.json").read_text("utf-8"))
    return [pytest.param(kind, case, id=f"{kind}: {case['name']}") for case in cases]


@cache
def schema(name: str) -> Draft202012Validator:
    document = json.loads((SPEC / f"{name}.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


@pytest.mark.parametrize(("kind", "case"), [case for kind in PARSERS for case in load(kind)])
def test_message_becomes_a_frame_or_is_refused_as_in_the_fixture(
    kind: str, case: dict[str, Any]
) -> None:
    payload = case["payload"].encode()
    if not case["valid"]:
        with pytest.raises(InvalidEvent) as refusal:
            PARSERS[kind](payload)
        assert refusal.value.reason == case["reason"]
        return
    schema(f"{kind}-event").validate(json.loads(payload))
    event = PARSERS[kind](payload)
    if "data" not in case:
        # The message of a command does not say which instances receive it.
        assert event is None or kind == "command"
        return
    frame = event_frame(Entry(CURSOR, event))
    assert frame.full is not None
    head, data = frame.full.decode().split("data: ")
    assert head == f"id: {CURSOR}\nevent: {kind}\n"
    sent = json.loads(data)
    assert sent == case["data"]
    schema(kind).validate(sent)


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        case
        for case in (*load("metric"), *load("command"))
        if case.values[1].get("reason") in ("wrong-type", "bad-name")
    ],
)
def test_schema_refuses_the_messages_that_the_server_refuses(
    kind: str, case: dict[str, Any]
) -> None:
    assert not schema(f"{kind}-event").is_valid(json.loads(case["payload"]))
