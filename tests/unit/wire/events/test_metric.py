"""Metric events: valid and invalid external messages, and metric names with labels."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulseboard.wire.codec import encode
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.metric import (
    MAX_METRICS,
    Distribution,
    check_metric_name,
    join_name,
    parse_external_metric,
    parse_metric_event,
    split_name,
)


def message(metrics: Any, **more: Any) -> bytes:
    return json.dumps({"service": "report", "metrics": metrics} | more).encode()


def test_message_of_the_original_specification_is_accepted() -> None:
    event = parse_external_metric(b'{"service": "report", "metrics": {"duration": 123}}')
    assert event is not None
    assert (event.service, event.instance, event.timestamp, event.metrics) == (
        "report",
        "",
        0,
        {"duration": 123},
    )
    assert event.kind("duration") == "gauge"
    assert parse_metric_event(encode(event)) == event


def test_kinds_apply_to_numbers_and_a_distribution_is_always_a_histogram() -> None:
    kinds = {"n": "counter", "g": "gauge", "h": "counter", "none": "counter"}
    event = parse_external_metric(
        message(
            {"n": 1, "g": 2.5, "h": {"count": 3, "sum": 4, "min": 1, "max": 2}},
            kinds=kinds,
            timestamp=5.7,
        )
    )
    assert event is not None
    assert [event.kind(name) for name in "ngh"] == ["counter", "gauge", "histogram"]
    assert event.metrics["h"] == Distribution(3, 4.0, 1.0, 2.0)
    assert event.timestamp == 5
    assert "none" not in event.kinds


def test_message_with_a_feed_id_is_not_ingested_again() -> None:
    assert parse_external_metric(message({"n": 1}, id="1765584000000-0")) is None
    assert parse_external_metric(message({"n": 1}, id="mine")) is not None


BAD: dict[str, tuple[bytes, str]] = {
    "no metrics": (b'{"service":"report"}', "wrong-type"),
    "metrics are a list": (message([1]), "wrong-type"),
    "a text value": (message({"n": "5"}), "wrong-type"),
    "a boolean value": (message({"n": True}), "wrong-type"),
    "a null value": (message({"n": None}), "wrong-type"),
    "NaN": (b'{"service":"report","metrics":{"n":NaN}}', "malformed"),
    "infinite": (b'{"service":"report","metrics":{"n":1e999}}', "wrong-type"),
    "too large to be summed": (message({"n": 1e301}), "wrong-type"),
    "an integer of 400 digits": (
        b'{"service":"report","metrics":{"n":' + b"9" * 400 + b"}}",
        "wrong-type",
    ),
    "an unknown kind": (message({"n": 1}, kinds={"n": "ratio"}), "wrong-type"),
    "a name with a space": (message({"a b": 1}), "bad-name"),
    "an empty name": (message({"": 1}), "bad-name"),
    "a name of 257 characters": (message({"a" * 257: 1}), "bad-name"),
    "a line break in a label": (message({'a{b="c\n"}': 1}), "bad-name"),
    "an invalid service name": (message({"n": 1}, service="Report"), "bad-name"),
    "an invalid instance name": (message({"n": 1}, instance="a/b"), "bad-name"),
    "too many metrics": (message({f"n{n}": 1 for n in range(MAX_METRICS + 1)}), "too-large"),
    "a message that is too large": (message({"n": 1}, more="x" * 70_000), "too-large"),
    "nesting that is too deep": (
        b'{"service":"report","metrics":{},"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "too-deep",
    ),
    "a histogram without a sum": (message({"h": {"count": 1}}), "wrong-type"),
    "a negative count": (message({"h": {"count": -1, "sum": 1}}), "wrong-type"),
    "a minimum without a maximum": (message({"h": {"count": 1, "sum": 1, "min": 1}}), "wrong-type"),
    "a minimum above the maximum": (
        message({"h": {"count": 1, "sum": 1, "min": 2, "max": 1}}),
        "wrong-type",
    ),
    "buckets out of order": (
        message({"h": {"count": 9, "sum": 1, "buckets": [[2, 1], [1, 2]]}}),
        "wrong-type",
    ),
    "bucket counts that decrease": (
        message({"h": {"count": 9, "sum": 1, "buckets": [[1, 2], [2, 1]]}}),
        "wrong-type",
    ),
    "a bucket count above the total": (
        message({"h": {"count": 1, "sum": 1, "buckets": [[1, 2]]}}),
        "wrong-type",
    ),
    "a timestamp that is text": (message({"n": 1}, timestamp="now"), "wrong-type"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_metric_message_is_refused_with_its_reason(name: str) -> None:
    payload, reason = BAD[name]
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_metric(payload)
    assert refusal.value.reason == reason


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\\n'), max_size=8
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,5}", fullmatch=True)


@given(labels=st.dictionaries(keys, texts, max_size=4))
def test_labels_are_unchanged_after_joining_and_splitting_a_name(labels: dict[str, str]) -> None:
    name = check_metric_name(join_name("http.requests", labels))
    assert split_name(name) == ("http.requests", labels)
