"""Metric events: values of one instance at one moment, on `service:metrics` and in the feed.

Counters, and the count, sum and buckets of a histogram, are totals since their instance started, so
a lost event loses no counts. A total that is lower than the one before means that the instance
restarted.
"""

import re
from typing import Annotated, Any, Literal

import msgspec

from pulseboard.wire.codec import (
    MAX_EVENT_BYTES,
    MAX_STAMP_BYTES,
    Timestamp,
    check_size,
    decode,
    is_feed_id,
)
from pulseboard.wire.errors import InvalidEvent, InvalidName
from pulseboard.wire.field_types import AnyTimeMs, InstanceName, PublisherTimeMs, ServiceName
from pulseboard.wire.names import check_instance_name, check_service_name

MAX_METRICS = 500
"""The most names in one event."""
MAX_BUCKETS = 200
MAX_NAME_CHARS = 256
LARGEST = 1e300
"""The largest value. The sum, difference and rate of two such numbers are finite too."""

MetricKind = Literal["gauge", "counter", "histogram"]

_LABEL = r'[A-Za-z_][A-Za-z0-9_.]*="(?:[^"\\\x00-\x1f\x7f]|\\["\\n])*"'
_NAME = re.compile(rf"([A-Za-z0-9_][A-Za-z0-9_.:/-]*)(?:\{{({_LABEL}(?:,{_LABEL})*)\}})?")
_LABELS = re.compile(r'([A-Za-z0-9_.]+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\"": '"', r"\\": "\\", r"\n": "\n"}
_ESCAPE = re.compile(r'\\["\\n]')

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


# The parser checks these limits, with a reason of its own; `spec/` states them.
_LIMITS = msgspec.Meta(extra_json_schema={"minimum": -LARGEST, "maximum": LARGEST})
FiniteInt = Annotated[int, _LIMITS]
FiniteFloat = Annotated[float, _LIMITS]


class Distribution(msgspec.Struct, frozen=True, omit_defaults=True):
    """The value of a histogram: the total count and sum, and the extremes since the previous event.

    `buckets` are pairs of an upper bound and the total count of values up to it, as in Prometheus.
    """

    count: Count
    sum: FiniteFloat
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    buckets: Annotated[
        list[tuple[FiniteFloat, Count]], msgspec.Meta(extra_json_schema={"maxItems": MAX_BUCKETS})
    ] = []


Value = FiniteInt | FiniteFloat | Distribution
MetricName = Annotated[
    str,
    msgspec.Meta(
        extra_json_schema={
            "type": "string",
            "maxLength": MAX_NAME_CHARS,
            "pattern": rf"^(?:{_NAME.pattern})(?![\s\S])",
        }
    ),
]
MetricValues = Annotated[
    dict[MetricName, Value], msgspec.Meta(extra_json_schema={"maxProperties": MAX_METRICS})
]


class MetricEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Metrics of one instance. A number is a gauge, unless `kinds` declares it a counter.

    `timestamp` is in ms by the clock of the publisher, 0 when it has none.
    """

    service: ServiceName
    metrics: MetricValues
    instance: InstanceName = ""
    timestamp: PublisherTimeMs = 0
    kinds: Annotated[
        dict[str, MetricKind],
        msgspec.Meta(description="The names of the counters; other numbers are gauges."),
    ] = {}

    def kind(self, name: str) -> MetricKind:
        """Return the kind of a metric of this event."""
        if isinstance(self.metrics[name], Distribution):
            return "histogram"
        return "counter" if self.kinds.get(name) == "counter" else "gauge"


class PublishedMetrics(MetricEvent, frozen=True, kw_only=True):
    """The payload on `service:metrics`. Unknown members are ignored."""

    timestamp: AnyTimeMs = 0  # type: ignore[assignment]
    id: Annotated[Any, msgspec.Meta(description="With a feed id, it is in the feed already.")] = (
        None
    )


class _Message(msgspec.Struct):
    """An external message. Its `timestamp` can have a fraction, which is dropped."""

    service: str
    metrics: dict[str, Value]
    instance: str = ""
    timestamp: Annotated[int, Timestamp] | Annotated[float, Timestamp] = 0
    kinds: dict[str, MetricKind] = {}
    id: Any = None


_events = msgspec.json.Decoder(MetricEvent)
_messages = msgspec.json.Decoder(_Message)


def check_metric_name(name: str) -> str:
    """Return `name` if it is a valid metric name; else raise InvalidName with the rule."""
    if len(name) > MAX_NAME_CHARS or _NAME.fullmatch(name) is None:
        raise InvalidName(
            f"{name[:80]!r} cannot name a metric: use up to {MAX_NAME_CHARS} of A-Z, a-z, 0-9,"
            " '_', '.', ':', '/' and '-', starting with a letter, a digit or '_'; labels follow,"
            ' as in {route="/x"}'
        )
    return name


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """Split a metric name into the name without its labels, and the labels."""
    base, brace, labels = name.partition("{")
    if not brace:
        return base, {}
    return base, {
        key: _ESCAPE.sub(lambda found: _ESCAPED[found[0]], text)
        for key, text in _LABELS.findall(labels)
    }


def join_name(base: str, labels: dict[str, str]) -> str:
    """Return the name of the metric with these labels, the inverse of `split_name`.

    It is not checked.
    """
    if not labels:
        return base
    pairs = (f'{key}="{_escape(text)}"' for key, text in sorted(labels.items()))
    return f"{base}{{{','.join(pairs)}}}"


def parse_external_metric(
    payload: bytes, *, max_bytes: int = MAX_EVENT_BYTES
) -> MetricEvent | None:
    """Parse an external message on `service:metrics`.

    Return its event, or None when it came from the feed.

    Raises InvalidEvent with the reason for which it must be dropped.
    """
    check_size(payload, max_bytes)
    message = decode(_messages, payload)
    if is_feed_id(message.id):
        return None
    counters: dict[str, MetricKind] = {
        name: kind
        for name, kind in message.kinds.items()
        if kind == "counter" and name in message.metrics
    }
    return _check(
        MetricEvent(
            message.service,
            message.metrics,
            message.instance,
            int(message.timestamp),
            kinds=counters,
        )
    )


def parse_metric_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> MetricEvent:
    """Parse a feed entry of this kind; raise InvalidEvent with the reason when it is invalid."""
    check_size(data, max_bytes + MAX_STAMP_BYTES)
    return _check(decode(_events, data))


def _check(event: MetricEvent) -> MetricEvent:
    check_service_name(event.service)
    check_instance_name(event.instance)
    if len(event.metrics) > MAX_METRICS:
        raise InvalidEvent(
            "too-large",
            f"an event can have at most {MAX_METRICS} metrics; this one has {len(event.metrics)}",
        )
    for name, value in event.metrics.items():
        check_metric_name(name)
        if not (_is_consistent(value) if isinstance(value, Distribution) else _is_finite(value)):
            raise InvalidEvent(
                "wrong-type",
                f"the value of {name[:80]!r} must be a finite number, or a histogram"
                " of finite numbers",
            )
    return event


def _is_consistent(value: Distribution) -> bool:
    """Return whether both extremes or none are set, in order, and the buckets rise."""
    if (value.min is None) != (value.max is None) or (
        value.min is not None and value.max is not None and value.min > value.max
    ):
        return False
    numbers = [value.sum, *(bound for bound, _ in value.buckets)]
    numbers += [extreme for extreme in (value.min, value.max) if extreme is not None]
    if len(value.buckets) > MAX_BUCKETS or not all(map(_is_finite, numbers)):
        return False
    bounds, counts = [bound for bound, _ in value.buckets], [count for _, count in value.buckets]
    return (
        bounds == sorted(set(bounds))
        and counts == sorted(counts)
        and max(counts, default=0) <= value.count
    )


def _is_finite(number: float) -> bool:
    return -LARGEST <= number <= LARGEST


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
