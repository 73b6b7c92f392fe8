"""The golden fixtures of log lines, metrics and commands: from what is published to what readers are told, by the schemas."""

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
def test_a_message_is_told_or_dropped_as_the_fixture_says(kind: str, case: dict[str, Any]) -> None:
    payload = case["payload"].encode()
    if not case["valid"]:
        with pytest.raises(InvalidEvent) as refusal:
            PARSERS[kind](payload)
        assert refusal.value.reason == case["reason"]
        return
    schema(f"{kind}-event").validate(json.loads(payload))
    event = PARSERS[kind](payload)
    if "data" not in case:
        assert (
            event is None or kind == "command"
        )  # to whom a command goes, a message alone does not say
        return
    frame = event_frame(Entry(CURSOR, event))
    assert frame.full is not None
    head, data = frame.full.decode().split("data: ")
    assert head == f"id: {CURSOR}\nevent: {kind}\n"
    told = json.loads(data)
    assert told == case["data"]
    schema(kind).validate(told)


@pytest.mark.parametrize(
    ("kind", "case"),
    [
        case
        for case in (*load("metric"), *load("command"))
        if case.values[1].get("reason") in ("wrong-type", "bad-name")
    ],
)
def test_the_schema_refuses_what_the_server_drops(kind: str, case: dict[str, Any]) -> None:
    assert not schema(f"{kind}-event").is_valid(json.loads(case["payload"]))
