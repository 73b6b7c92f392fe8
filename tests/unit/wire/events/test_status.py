"""What makes bytes an event, and what does not."""

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
    whole: dict[str, object] = {
        "service": "balance-sync",
        "timestamp": 1_765_584_000_000,
        "status": {"isRunning": True},
    }
    return json.dumps(whole | fields).encode()


def adopt(payload: bytes, channel: str = CHANNEL) -> bytes:
    event = parse_external_status(channel, payload)
    assert event is not None
    return event


def reason_of(payload: bytes, channel: str = CHANNEL) -> str:
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_status(channel, payload)
    return refusal.value.reason


def nested(levels: int, opening: str = '{"a":', closing: str = "}", core: str = "{}") -> bytes:
    """Return a message that nests `levels` deep, itself included."""
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
def test_a_message_keeps_all_it_says(
    status: dict[str, Any], timestamp: int, instance: str, heartbeat_s: float | None, stopped: bool
) -> None:
    more = {"heartbeat_s": heartbeat_s} if heartbeat_s is not None else {}
    event = parse_status_event(
        adopt(
            message(status=status, timestamp=timestamp, instance=instance, stopped=stopped, **more)
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
def test_any_bytes_are_an_event_or_an_invalid_event(payload: bytes) -> None:
    for read in (
        lambda: parse_external_status(CHANNEL, payload),
        lambda: parse_status_event(payload),
        lambda: parse_status_update(payload),
    ):
        with contextlib.suppress(InvalidEvent):
            read()


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
def test_what_was_adopted_can_be_read_and_encodes_to_the_same(fields: dict[str, Any]) -> None:
    try:
        event = parse_external_status(CHANNEL, json.dumps(fields).encode())
    except InvalidEvent:
        return
    if event is not None:
        assert encode_event(parse_status_event(event)) == event


@given(st.binary(max_size=40), st.integers(0, 60))
def test_a_damaged_event_is_read_or_refused_and_never_anything_else(
    damage: bytes, place: int
) -> None:
    good = adopt(message(instance="worker-1", heartbeat_s=5, status={"note": "naïve 残高"}))
    try:
        event = parse_status_event(good[:place] + damage + good[place:])
    except InvalidEvent:
        return
    bytes(event.status).decode()


def test_an_event_that_carries_a_feed_id_is_in_the_feed_already() -> None:
    assert parse_external_status(CHANNEL, message(id="1765584000000-0")) is None


@pytest.mark.parametrize("id", ["latest", "", "1-", 7, None, ["1-1"]])
def test_an_id_of_somebody_else_is_no_feed_id(id: object) -> None:
    assert b'"id"' not in adopt(message(id=id))


def test_the_largest_event_is_taken_and_one_byte_more_is_too_large() -> None:
    frame = len(message(status={"a": ""}))
    assert (
        parse_external_status(CHANNEL, message(status={"a": "x" * (MAX_EVENT_BYTES - frame)}))
        is not None
    )
    assert reason_of(message(status={"a": "x" * (MAX_EVENT_BYTES - frame + 1)})) == "too-large"


def test_a_megabyte_is_refused_by_its_length_alone() -> None:
    assert reason_of(b"{" * 1_000_000) == "too-large"


def test_the_limit_is_the_callers() -> None:
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
def test_depth_is_counted_the_event_included(opening: str, closing: str, core: str) -> None:
    per_level = 1 + opening.count("[")
    levels = (MAX_DEPTH - 2) // per_level
    deepest = opening * levels + (core if per_level == 1 else '{"a":1}') + closing * levels
    frame = b'{"service":"balance-sync","timestamp":1,"status":%b}'
    parse_status_event(adopt(frame % deepest.encode()))
    too_deep = frame % f'{{"a":{deepest}}}'.encode()
    assert reason_of(too_deep) == "too-deep"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(too_deep)
    assert refusal.value.reason == "too-deep"


def test_many_brackets_side_by_side_are_not_deep() -> None:
    flat = {"rows": [{"n": [n]} for n in range(200)]}
    parse_status_event(adopt(message(status=flat)))


@pytest.mark.parametrize("levels", [33, 200, 5_000, 10_000])
def test_deep_nesting_costs_no_stack(levels: int) -> None:
    assert reason_of(nested(levels)) == "too-deep"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(nested(levels))
    assert refusal.value.reason == "too-deep"


@pytest.mark.parametrize(
    "payload", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000]
)
def test_a_hundred_thousand_levels_are_refused_even_where_size_is_no_limit(payload: bytes) -> None:
    with pytest.raises(InvalidEvent):
        parse_external_status(CHANNEL, payload, max_bytes=10_000_000)
    with pytest.raises(InvalidEvent):
        parse_status_event(payload, max_bytes=10_000_000)


def test_depth_is_walked_without_recursion() -> None:
    status: dict[str, Any] = {}
    for _ in range(100_000):
        status = {"a": status}
    with pytest.raises(InvalidEvent):
        check_depth(status)
    while status:  # or its own destructor recurses
        status = status.pop("a")


@pytest.mark.parametrize("raw", [b"\x00", b"\r", b"\n", b"\x1f"])
def test_a_raw_control_character_in_a_string_is_malformed(raw: bytes) -> None:
    payload = b'{"service":"balance-sync","timestamp":1,"status":{"a":"' + raw + b'"}}'
    assert reason_of(payload) == "malformed"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(payload)
    assert refusal.value.reason == "malformed"


def test_an_escaped_control_character_is_text_like_any_other() -> None:
    event = adopt(message(status={"a": "\x00\r\n"}))
    assert b"\n" not in event
    assert json.loads(event)["status"] == {"a": "\x00\r\n"}


@pytest.mark.parametrize("bad", [b"\xff", b"\xed\xa0\x80", b"\xc3"])
def test_a_status_that_is_no_utf8_is_refused_from_the_feed_too(bad: bytes) -> None:
    """The decoder passes over a status unread; the bytes went out as they came and broke readers that decode strictly."""
    payload = b'{"service":"balance-sync","timestamp":1,"status":{"a":"' + bad + b'"}}'
    assert reason_of(payload) == "malformed"
    with pytest.raises(InvalidEvent) as refusal:
        parse_status_event(payload)
    assert refusal.value.reason == "malformed"


@pytest.mark.parametrize("timestamp", ["1" * 400, "1e308", "8640000000000001", "-8640000000000001"])
def test_a_time_that_no_date_can_hold_is_refused(timestamp: str) -> None:
    """One integer of 400 digits is Infinity in a browser; the page then refused the whole board for that instance."""
    payload = b'{"service":"balance-sync","timestamp":%b,"status":{}}' % timestamp.encode()
    assert reason_of(payload) == "wrong-type"
    with pytest.raises(InvalidEvent):
        parse_status_event(payload)


def test_the_fraction_of_a_timestamp_is_dropped() -> None:
    assert (
        parse_status_event(adopt(message(timestamp=1_765_584_000_000.75))).timestamp
        == 1_765_584_000_000
    )
    assert parse_status_update(message(timestamp=1.5)).timestamp == 1


@pytest.mark.parametrize("heartbeat_s", [0, -1, 86_401, 1e300])
def test_a_rhythm_outside_its_bounds_is_refused(heartbeat_s: float) -> None:
    assert reason_of(message(heartbeat_s=heartbeat_s)) == "wrong-type"


def test_the_feed_takes_no_status_that_is_not_an_object() -> None:
    for status in (b"[]", b"null", b'"x"', b"1"):
        with pytest.raises(InvalidEvent) as refusal:
            parse_status_event(b'{"service":"a","timestamp":1,"status":%b}' % status)
        assert refusal.value.reason == "wrong-type"


def test_the_seeds_message_is_read_with_whatever_else_stands_in_it() -> None:
    update = parse_status_update(message(status={"n": [1]}, instance="w", id="1-1", more=True))
    assert update == ServiceStatusUpdate("balance-sync", 1_765_584_000_000, {"n": [1]})
    assert json.loads(msgspec.json.encode(update)) == {
        "service": "balance-sync",
        "timestamp": 1_765_584_000_000,
        "status": {"n": [1]},
    }


def test_every_error_is_of_one_tree_and_says_something() -> None:
    assert issubclass(InvalidName, InvalidEvent)
    assert issubclass(InvalidEvent, PulseboardError)
    assert issubclass(ConfigError, ValueError)
    assert str(PulseboardError()) == "Something in Pulseboard failed."
    assert InvalidName("x").reason == "bad-name"
