"""The shapes that clients receive: the data of each named event, and the answers that repeat them.

These structs are the only source: `scripts/generate_shapes.py` writes the JSON Schemas in `spec/`
and the page's TypeScript types from them. The events `command` and `lifecycle` carry the event of
the feed itself (`wire.events`). All times are in ms by Redis' clock, unless a field says otherwise.
"""

from typing import Annotated

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.lifecycle import Incident
from pulseboard.wire.events.log import LinePosition, LineView, LogEvent, view_line
from pulseboard.wire.events.metric import MetricEvent, MetricValues
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.field_types import (
    FeedId,
    InstanceName,
    JsonObject,
    PublisherTimeMs,
    RedisTimeMs,
    ServiceName,
)
from pulseboard.wire.state import State

NowMs = Annotated[int, msgspec.Meta(description="The time of the server's answer, in ms.")]
ObservedUntilMs = Annotated[
    int,
    msgspec.Meta(
        description="Redis' time up to which every heartbeat has been reported to this client."
    ),
]
ObservedSinceMs = Annotated[
    int, msgspec.Meta(description="Redis' time from which on silence proves a failure.")
]


class BlindView(msgspec.Struct, frozen=True):
    """Since when (ms by Redis' clock) and why the server cannot reach Redis."""

    since: RedisTimeMs
    reason: str


class CoverageGapView(msgspec.Struct, frozen=True):
    """A period in which no server was subscribed, so external messages may be missing.

    `since` and `until` are ms by Redis' clock; `until` is null while the gap continues.
    """

    since: RedisTimeMs
    until: RedisTimeMs | None


class Freshness(msgspec.Struct, frozen=True):
    """How far the server's knowledge reaches. While `blind`, every state is `unknown`."""

    blind: BlindView | None = None
    observed_until: ObservedUntilMs = 0
    observed_since: ObservedSinceMs = 0
    gap: Annotated[CoverageGapView | None, msgspec.Meta(description="The latest coverage gap.")] = (
        None
    )


class PingView(Freshness, frozen=True, kw_only=True):
    """The data of a `ping` event: the server is running, and whether it can reach Redis."""

    now: NowMs
    omitted: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            description="How many instances published in the last hour and found no room on the"
            " full board. It counts all services, also those that the client did not select;"
            " at most 10,000.",
        ),
    ] = 0


class InstanceView(StatusEvent, frozen=True, kw_only=True, omit_defaults=False):
    """The latest known of one instance: its last status event, and its last sign of life."""

    lost: Annotated[
        bool,
        msgspec.Meta(description="It was declared lost and has given no sign of life since."),
    ] = False
    lag_ms: Annotated[
        int,
        msgspec.Meta(
            ge=0, description="How long its event loop has not answered, in ms; 0: it answers."
        ),
    ] = 0
    id: FeedId = ""
    seen: Annotated[
        int, msgspec.Meta(description="Its last sign of life, in ms by Redis' clock.")
    ] = 0


class BoardView(PingView, frozen=True, kw_only=True):
    """The data of a `board` event: all that the server knows.

    It replaces all that the client knew.
    """

    ping_s: Annotated[
        float,
        msgspec.Meta(
            description="The interval of `ping` events, in seconds.",
            extra_json_schema={"exclusiveMinimum": 0},
        ),
    ]
    version: str = ""
    insecure: bool = False
    expect: list[ServiceName] = []
    instances: list[InstanceView] = []
    incidents: Annotated[
        list[Incident],
        msgspec.Meta(
            description="The latest incidents, newest first.", extra_json_schema={"maxItems": 20}
        ),
    ] = []


class StatusView(StatusEvent, frozen=True, kw_only=True):
    """The data of a `status` event. The time in the frame's id is the time it was seen."""

    instance: InstanceName


class StatusStreamMessage(msgspec.Struct, frozen=True):
    """A message of the status stream, in the shape of the original specification."""

    service: ServiceName
    timestamp: PublisherTimeMs
    status: JsonObject


class HeartbeatRow(msgspec.Struct, frozen=True, array_like=True):
    """One heartbeat as `[service, instance, seen]`, with `lag_ms` as a fourth if it is not 0.

    `lag_ms` is how long the event loop of the instance has not answered.
    """

    service: ServiceName
    instance: InstanceName
    seen: RedisTimeMs
    lag_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


class HeartbeatsView(msgspec.Struct, frozen=True):
    """The data of a `heartbeats` event, sent once a second, or more often for short intervals.

    `heartbeats` is empty when none arrived.
    """

    now: NowMs
    observed_until: ObservedUntilMs
    heartbeats: list[HeartbeatRow]


class LogView(msgspec.Struct, omit_defaults=True):
    """The data of a `log` event: some lines of one instance, in order."""

    service: ServiceName
    instance: InstanceName
    lines: list[LineView]
    dropped: Annotated[
        int, msgspec.Meta(ge=0, description="How many lines were lost before these.")
    ] = 0


class MetricView(MetricEvent, frozen=True, kw_only=True):
    """The data of a `metric` event.

    Without a `timestamp` of the publisher, it is the arrival time.
    """

    instance: InstanceName
    timestamp: PublisherTimeMs


class ReceiptView(Receipt, frozen=True, kw_only=True):
    """The data of a `receipt` event: one step of a command at one instance."""

    timestamp: RedisTimeMs


class SkippedView(msgspec.Struct, frozen=True):
    """The data of a `skipped` event: the client was too slow for these events, counted by kind.

    A `board` follows. The frame has no id: only the id of that board can be resumed from.
    """

    reason: str
    skipped: dict[str, Annotated[int, msgspec.Meta(ge=0)]]


class ResetView(msgspec.Struct, frozen=True):
    """The data of a `reset` event: continuity was lost, and a `board` follows.

    The frame has no id: only the id of that board can be resumed from.
    """

    reason: str


class ByeView(msgspec.Struct, frozen=True):
    """The data of a `bye` event: the server closes this stream.

    The frame's `retry` is the time after which to reconnect.
    """

    reason: str


class InstanceStateView(InstanceView, frozen=True, kw_only=True):
    """An instance as the `board` event shows it, with its state."""

    state: State


class ServiceView(msgspec.Struct, frozen=True):
    """A service. An expected one without instances is missing."""

    name: ServiceName
    expected: bool
    instances: list[InstanceStateView]


class ServicesView(msgspec.Struct, frozen=True):
    """The answer of `GET /api/services`: all services by name.

    While `blind`, states are `unknown`.
    """

    now: NowMs
    observed_until: ObservedUntilMs
    blind: BlindView | None
    services: list[ServiceView]


class IncidentView(Incident, frozen=True, kw_only=True):
    """An incident with the last words of its instance."""

    timestamp: PublisherTimeMs
    status: JsonObject
    last_id: FeedId
    lines: Annotated[
        list[LineView],
        msgspec.Meta(
            description="The last lines of its log, in order.", extra_json_schema={"maxItems": 20}
        ),
    ]
    metrics: Annotated[
        MetricValues | None,
        msgspec.Meta(description="Its last metrics by name; null if it had none."),
    ] = None


class IncidentsView(msgspec.Struct, frozen=True):
    """The answer of `GET /api/incidents`: incidents with last words, newest first."""

    incidents: Annotated[list[IncidentView], msgspec.Meta(extra_json_schema={"maxItems": 100})]


def view_status(event: StatusEvent, cursor: Cursor) -> StatusEvent:
    """Return the data of the `status` event, which always names the instance."""
    # An event that names its instance is its own view, which saves a copy for each event.
    return event if event.instance else StatusView(**msgspec.structs.asdict(event))


def view_for_status_stream(event: StatusEvent) -> StatusStreamMessage:
    """Return the data of the message on the status stream."""
    return StatusStreamMessage(event.service, event.timestamp, event.status)


def view_metric(event: MetricEvent, cursor: Cursor) -> MetricView:
    """Return the data of the `metric` event, which always has an instance and a timestamp."""
    fields = msgspec.structs.asdict(event)
    return MetricView(**fields | {"timestamp": event.timestamp or cursor.ms})


def view_log(event: LogEvent, cursor: Cursor) -> LogView:
    """Return the data of the `log` event: a batch of lines with their ids."""
    lines = [view_line(line, LinePosition(cursor, n)) for n, line in enumerate(event.lines)]
    return LogView(event.service, event.instance, lines, event.dropped)
