"""Status events: which bytes are valid, and the reason for which others are refused."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pulseboard.wire.codec import (
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_TIMESTAMP_MS,
    check_depth,
    encode_event,
)
from pulseboard.wire.errors import ConfigError, InvalidEvent, InvalidName, PulseboardError
from pulseboard.wire.events.status import (
    ServiceStatusUpdate,
    parse_external_status,
    parse_status_event,
    parse_status_update,
)

CHANNEL = "service:balance-sync"
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
STATUSES = st.dictionaries(st.text(), VALUES, max_size=6)


def message(**fields: object) -> bytes:
    """Return an external status message as JSON."""
    complete: dict[str, object] = {
        "service": "balance-sync",
        "timestamp": 1_765_584_000_000,
        "status": {"isRunning": True},
    }
    return json.dumps(complete | fields).encode()


def ingest(payload: bytes, channel: str = CHANNEL) -> bytes:
    """Parse an external message and return the event that the feed stores."""
    event = parse_external_status(channel, payload)
    assert event is not None
    return event


def reason_of(payload: bytes, channel: str = CHANNEL) -> str:
    """Return the reason for which an external message is refused."""
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_status(channel, payload)
    return refusal.value.reason


def nested(levels: int, opening: str = '{"a":', closing: str = "}", core: str = "{}") -> bytes:
    """Return a message with `levels` levels of nesting, including the message itself."""
    inner = opening * (levels - 2) + core + closing * (levels - 2)
    return f'{{"service":"balance-sync","timestamp":1,"status":{inner}}}'.encode()


@given(
    status=STATUSES,
    timestamp=st.integers(-MAX_TIMESTAMP_MS, MAX_TIMESTAMP_MS),
    instance=st.from_regex(r"[\w:. -]{0,40}", fullmatch=True).filter(
        lambda name: name == "" or name.isprintable()
    ),
    heartbeat_s=st.none() | st.floats(0.001, 86_400),
    stopped=st.booleans(),
)
def test_event_keeps_every_field_of_the_message(
    status: dict[str, Any], timestamp: int, instance: str, heartbeat_s: float | None, stopped: bool
) -> None:
    optional = {"heartbeat_s": heartbeat_s} if heartbeat_s is not None else {}
    event = parse_status_event(
        ingest(
            message(
                status=status, timestamp=timestamp, instance=instance, stopped=stopped, **optional
            )
        )
    )
    assert json.loads(bytes(event.status)) == status
    assert (event.service, event.timestamp) == ("balance-sync", timestamp)
    assert (event.instance, event.heartbeat_s, event.stopped) == (instance, heartbeat_s, stopped)


@given(st.binary() | st.text().map(str.encode) | VALUES.map(json.dumps).map(str.encode))
@example(b'{"service":"balance-sync","timestamp":1e308,"status":{}}')
@example(b'{"service":"balance-sync","timestamp":1,"status":{"n":' + b"1" * 5_000 + b"}}")
@example(b'{"service":"balance-sync","timestamp":1,"status":{"n":1e400}}')
@example(b'{"service":"balance-sync","timestamp":1,"status":{"a":"\\ud800"}}')
@example(b'{"service":"balance-sync","timestamp":1,"status":{},"instance":"\\udfff"}')
@example(b"\xff\xfe{}")
def test_any_bytes_give_an_event_or_an_invalid_event_error(payload: bytes) -> None:
    for parse in (
        lambda: parse_external_status(CHANNEL, payload),
        lambda: parse_status_event(payload),
        lambda: parse_status_update(payload),
    ):
        with contextlib.suppress(InvalidEvent):
            parse()


@given(
    fields=st.fixed_dictionaries(
        {"service": st.just("balance-sync"), "timestamp": VALUES, "status": STATUSES | VALUES},
        optional={
            "instance": VALUES,
            "heartbeat_s": VALUES,
            "stopped": VALUES,
            "id": VALUES,
            "more": VALUES,
        },
    )
)
def test_ingested_event_can_be_parsed_and_encodes_to_the_same_bytes(fields: dict[str, Any]) -> None:
    try:
        event = parse_external_status(CHANNEL, json.dumps(fields).encode())
    except InvalidEvent:
        return
    if event is not None:
        assert encode_event(parse_status_event(event)) == event


@given(st.binary(max_size=40), st.integers(0, 60))
def test_damaged_event_is_parsed_or_refused_as_invalid(damage: bytes, position: int) -> None:
    valid = ingest(message(instance="worker-1", heartbeat_s=5, status={"note": "naïve 残高"}))
    try:
        event = parse_status_event(valid[:position] + damage + valid[position:])
    except InvalidEvent:
        return
    bytes(event.status).decode()


def test_message_with_a_feed_id_is_not_ingested_again() -> None:
    assert parse_external_status(CHANNEL, message(id="1765584000000-0")) is None


@pytest.mark.parametrize("id", ["latest", "", "1-", 7, None, ["1-1"]])
def test_id_that_is_not_a_feed_id_is_dropped(id: object) -> None:
    assert b'"id"' not in ingest(message(id=id))


def test_event_of_the_maximum_size_is_accepted_and_one_byte_more_is_too_large() -> None:
    envelope = len(message(status={"a": ""}))
    assert (
        parse_external_status(CHANNEL, message(status={"a": "x" * (MAX_EVENT_BYTES - envelope)}))
        is not None
    )
    assert reason_of(message(status={"a": "x" * (MAX_EVENT_BYTES - envelope + 1)})) == "too-large"


def test_invalid_json_of_one_megabyte_is_refused_by_its_length() -> None:
    assert reason_of(b"{" * 1_000_000) == "too-large"


def test_caller_sets_the_size_limit() -> None:
    payload = message(status={"a": "x" * 200})
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_status(CHANNEL, payload, max_bytes=200)
    assert refusal.value.reason == "too-large"
    assert (
        parse_external_status(CHANNEL, message(status={"a": "x" * 70_000}), max_bytes=100_000)
        is not None
    )


@pytest.mark.parametrize(
    ("opening", "closing", "core"), [('{"a":', "}", "{}"), ('{"a":[', "]}", "[]")]
)
def test_nesting_depth_includes_the_event_itself(opening: str, closing: str, core: str) -> None:
    per_level = 1 + opening.count("[")
    levels = (MAX_DEPTH - 2) // per_level
    deepest = opening * levels + (core if per_level == 1 else '{"a":1}') + closing * levels
    template = b'{"service":"balance-sync","timestamp":1,"status":%b}'
    parse_status_event(ingest(template % deepest.encode()))
    too_deep = template % f'{{"a":{deepest}}}'.encode()
    assert reason_of(too_deep) == "too-deep"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(too_deep)
    assert refusal.value.reason == "too-deep"


def test_many_brackets_on_one_level_are_not_too_deep() -> None:
    flat = {"rows": [{"n": [n]} for n in range(200)]}
    parse_status_event(ingest(message(status=flat)))


@pytest.mark.parametrize("levels", [33, 200, 5_000, 10_000])
def test_deep_nesting_is_refused_without_recursion(levels: int) -> None:
    assert reason_of(nested(levels)) == "too-deep"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(nested(levels))
    assert refusal.value.reason == "too-deep"


@pytest.mark.parametrize(
    "payload", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000]
)
def test_100_000_levels_are_refused_even_with_a_large_size_limit(payload: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_external_status(CHANNEL, payload, max_bytes=10_000_000)
    with pytest.raises(InvalidEvent):
        parse_status_event(payload, max_bytes=10_000_000)


def test_depth_check_does_not_recurse() -> None:
    status: dict[str, Any] = {}
    for _ in range(100_000):
        status = {"a": status}
    with pytest.raises(InvalidEvent):
        check_depth(status)
    while status:  # otherwise its destructor would recurse
        status = status.pop("a")


@pytest.mark.parametrize("raw", [b"\x00", b"\r", b"\n", b"\x1f"])
def test_raw_control_character_in_a_string_is_malformed(raw: bytes) -> None:
    payload = b'{"service":"balance-sync","timestamp":1,"status":{"a":"' + raw + b'"}}'
    assert reason_of(payload) == "malformed"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(payload)
    assert refusal.value.reason == "malformed"


def test_escaped_control_character_is_accepted_as_text() -> None:
    event = ingest(message(status={"a": "\x00\r\n"}))
    assert b"\n" not in event
    assert json.loads(event)["status"] == {"a": "\x00\r\n"}


@pytest.mark.parametrize("invalid", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
def test_status_that_is_not_utf8_is_refused_from_the_feed_too(invalid: bytes) -> None:
    """The decoder skips the contents of a status.

    Invalid bytes were sent on unchanged and broke clients that decode strictly.
    """
    payload = b'{"service":"balance-sync","timestamp":1,"status":{"a":"' + invalid + b'"}}'
    assert reason_of(payload) == "malformed"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(payload)
    assert refusal.value.reason == "malformed"


@pytest.mark.parametrize("timestamp", ["1" * 400, "1e308", "8640000000000001", "-8640000000000001"])
def test_timestamp_outside_the_range_of_dates_is_refused(timestamp: str) -> None:
    """An integer of 400 digits is Infinity in a browser.

    Because of that one instance the page refused the whole board.
    """
    payload = b'{"service":"balance-sync","timestamp":%b,"status":{}}' % timestamp.encode()
    assert reason_of(payload) == "wrong-type"
    with pytest.raises(InvalidEvent):
        parse_status_event(payload)


def test_fraction_of_a_timestamp_is_dropped() -> None:
    assert (
        parse_status_event(ingest(message(timestamp=1_765_584_000_000.75))).timestamp
        == 1_765_584_000_000
    )
    assert parse_status_update(message(timestamp=1.5)).timestamp == 1


@pytest.mark.parametrize("heartbeat_s", [0, -1, 86_401, 1e300])
def test_heartbeat_interval_outside_its_bounds_is_refused(heartbeat_s: float) -> None:
    assert reason_of(message(heartbeat_s=heartbeat_s)) == "wrong-type"


def test_status_that_is_not_an_object_is_refused_from_the_feed() -> None:
    for status in (b"[]", b"null", b'"x"', b"1"):
        with pytest.raises(InvalidEvent) as refusal:
            parse_status_event(b'{"service":"a","timestamp":1,"status":%b}' % status)
        assert refusal.value.reason == "wrong-type"


def test_status_update_is_parsed_and_additional_fields_are_ignored() -> None:
    update = parse_status_update(message(status={"n": [1]}, instance="w", id="1-1", more=True))
    assert update == ServiceStatusUpdate("balance-sync", 1_765_584_000_000, {"n": [1]})
    assert json.loads(msgspec.json.encode(update)) == {
        "service": "balance-sync",
        "timestamp": 1_765_584_000_000,
        "status": {"n": [1]},
    }


def test_errors_form_one_class_tree_and_have_default_messages() -> None:
    assert issubclass(InvalidName, InvalidEvent)
    assert issubclass(InvalidEvent, PulseboardError)
    assert issubclass(ConfigError, ValueError)
    assert str(PulseboardError()) == "Something in Pulseboard failed."
    assert InvalidName("x").reason == "bad-name"
