"""Metrics as they travel: what is taken, what is dropped and why, and names with labels."""

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


def test_the_seeds_shape_is_taken() -> None:
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


def test_kinds_say_what_a_number_is_and_a_histogram_says_it_itself() -> None:
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


def test_what_carries_the_id_of_the_feed_is_there_already() -> None:
    assert parse_external_metric(message({"n": 1}, id="1765584000000-0")) is None
    assert parse_external_metric(message({"n": 1}, id="mine")) is not None


BAD: dict[str, tuple[bytes, str]] = {
    "no metrics": (b'{"service":"report"}', "wrong-type"),
    "metrics are a list": (message([1]), "wrong-type"),
    "text": (message({"n": "5"}), "wrong-type"),
    "true": (message({"n": True}), "wrong-type"),
    "null": (message({"n": None}), "wrong-type"),
    "NaN": (b'{"service":"report","metrics":{"n":NaN}}', "malformed"),
    "infinite": (b'{"service":"report","metrics":{"n":1e999}}', "wrong-type"),
    "larger than any sum could bear": (message({"n": 1e301}), "wrong-type"),
    "an integer of 400 digits": (
        b'{"service":"report","metrics":{"n":' + b"9" * 400 + b"}}",
        "wrong-type",
    ),
    "an unknown kind": (message({"n": 1}, kinds={"n": "ratio"}), "wrong-type"),
    "a name with a space": (message({"a b": 1}), "bad-name"),
    "an empty name": (message({"": 1}), "bad-name"),
    "a name of 257": (message({"a" * 257: 1}), "bad-name"),
    "a line end in a label": (message({'a{b="c\n"}': 1}), "bad-name"),
    "a service that is none": (message({"n": 1}, service="Report"), "bad-name"),
    "an instance that is none": (message({"n": 1}, instance="a/b"), "bad-name"),
    "too many": (message({f"n{n}": 1 for n in range(MAX_METRICS + 1)}), "too-large"),
    "too large": (message({"n": 1}, more="x" * 70_000), "too-large"),
    "too deep": (
        b'{"service":"report","metrics":{},"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "too-deep",
    ),
    "a histogram without sum": (message({"h": {"count": 1}}), "wrong-type"),
    "a negative count": (message({"h": {"count": -1, "sum": 1}}), "wrong-type"),
    "one extreme": (message({"h": {"count": 1, "sum": 1, "min": 1}}), "wrong-type"),
    "extremes the wrong way": (
        message({"h": {"count": 1, "sum": 1, "min": 2, "max": 1}}),
        "wrong-type",
    ),
    "buckets out of order": (
        message({"h": {"count": 9, "sum": 1, "buckets": [[2, 1], [1, 2]]}}),
        "wrong-type",
    ),
    "buckets that shrink": (
        message({"h": {"count": 9, "sum": 1, "buckets": [[1, 2], [2, 1]]}}),
        "wrong-type",
    ),
    "more in a bucket than there are": (
        message({"h": {"count": 1, "sum": 1, "buckets": [[1, 2]]}}),
        "wrong-type",
    ),
    "a timestamp that is text": (message({"n": 1}, timestamp="now"), "wrong-type"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_metric_has_a_reason(name: str) -> None:
    payload, reason = BAD[name]
    with pytest.raises(InvalidEvent) as refusal:
        parse_external_metric(payload)
    assert refusal.value.reason == reason


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\\n'), max_size=8
)
keys = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,5}", fullmatch=True)


@given(labels=st.dictionaries(keys, texts, max_size=4))
def test_labels_come_out_of_a_name_as_they_went_in(labels: dict[str, str]) -> None:
    name = check_metric_name(join_name("http.requests", labels))
    assert split_name(name) == ("http.requests", labels)
