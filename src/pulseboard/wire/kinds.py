"""The registry of event kinds: one entry for each, which all other code looks up.

Some names stand in a second place because static types or the order of imports need it:
`names.RESERVED`, the fields of
`Limits` and the options of retention. A test walks the registry and checks them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, cast

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import (
    Command,
    ExternalCommand,
    parse_command_event,
    parse_external_command,
)
from pulseboard.wire.events.lifecycle import LifecycleEvent, parse_lifecycle_event
from pulseboard.wire.events.log import LogEvent, parse_external_log, parse_log_event
from pulseboard.wire.events.metric import (
    MetricEvent,
    parse_external_metric,
    parse_metric_event,
)
from pulseboard.wire.events.receipt import Receipt, parse_receipt_event
from pulseboard.wire.events.status import StatusEvent, parse_status_event
from pulseboard.wire.views import (
    StatusStreamMessage,
    view_for_status_stream,
    view_log,
    view_metric,
    view_status,
)

Event = StatusEvent | LogEvent | MetricEvent | Command | Receipt | LifecycleEvent
"""An event in the feed."""
HistoryKind = Literal["status", "log", "metric"]
"""The name of a kind that has a history."""

_MB = 1_000_000
_WEEK_S = 7 * 86_400

E = TypeVar("E", bound=Event)


class History(NamedTuple):
    """The history of one kind that Redis keeps for each service, and its default limits."""

    key: str
    """The part of the Redis key before the service: `{namespace}:<key>:<service>`."""
    option: str
    """The server's option that changes the limits."""
    entries: int
    size_bytes: int
    age_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKind:
    """A kind of message that clients of the event stream can select with `?kinds=`."""

    name: str
    sse_event: str
    """The name of its SSE event, which is also its name in `?kinds=`."""


def _unchanged(event: Any, cursor: Cursor) -> Any:
    return event


def _one(event: Any) -> int:
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind(StreamKind, Generic[E]):
    """A kind of event in the feed; `name` is its name there."""

    event: type[E]
    parse: Callable[..., E]
    """`parse(data, max_bytes=)` parses the data of a feed entry; it raises InvalidEvent."""
    view: Callable[[E, Cursor], msgspec.Struct] = _unchanged
    """Returns the data of its SSE event, from the event and its position in the feed."""
    count: Callable[[E], int] = _one
    """Returns the number of things that the event reports, which a `skipped` event adds up."""
    public: bool = False
    """Whether every event of the kind is also PUBLISHed, for programs that subscribe to Redis."""
    channel: str | None = None
    """The reserved suffix of its pub/sub channel.

    None: it is not public, or each service has its own channel.
    """
    parse_external: Callable[..., E | ExternalCommand | None] | None = None
    """`parse_external(payload, max_bytes=)` parses an external message on `channel`.

    None when it came from the feed.
    """
    history: History | None = None
    status_stream_view: Callable[[E], StatusStreamMessage] | None = None
    """Returns the data of its message on the status stream; None: it is not on that stream."""


STATUS = EventKind(
    name="status",
    sse_event="status",
    event=StatusEvent,
    parse=parse_status_event,
    view=view_status,
    public=True,
    history=History("status", "keep_status", 1_000, 1 * _MB, _WEEK_S),
    status_stream_view=view_for_status_stream,
)
LOG = EventKind(
    name="log",
    sse_event="log",
    event=LogEvent,
    parse=parse_log_event,
    view=view_log,
    count=lambda event: len(event.lines),
    public=True,
    channel="logs",
    parse_external=parse_external_log,
    history=History("logs", "keep_logs", 20_000, 2 * _MB, _WEEK_S),
)
METRIC = EventKind(
    name="metric",
    sse_event="metric",
    event=MetricEvent,
    parse=parse_metric_event,
    view=view_metric,
    public=True,
    channel="metrics",
    parse_external=parse_external_metric,
    history=History("metrics", "keep_metrics", 20_000, 1 * _MB, _WEEK_S),
)
COMMAND = EventKind(
    name="command",
    sse_event="command",
    event=Command,
    parse=parse_command_event,
    public=True,
    channel="commands",
    parse_external=parse_external_command,
)
RECEIPT = EventKind(name="receipt", sse_event="receipt", event=Receipt, parse=parse_receipt_event)
LIFECYCLE = EventKind(
    name="lifecycle", sse_event="lifecycle", event=LifecycleEvent, parse=parse_lifecycle_event
)
HEARTBEAT = StreamKind(name="heartbeat", sse_event="heartbeats")
"""Heartbeats have a Redis stream of their own, and one SSE message reports several of them."""

EVENT_KINDS: tuple[EventKind[Any], ...] = (STATUS, LOG, METRIC, COMMAND, RECEIPT, LIFECYCLE)
STREAM_KINDS: tuple[StreamKind, ...] = (*EVENT_KINDS, HEARTBEAT)
SSE_EVENTS = frozenset(kind.sse_event for kind in STREAM_KINDS)
KINDS_BY_NAME: dict[str, EventKind[Any]] = {kind.name: kind for kind in EVENT_KINDS}
KINDS_BY_CHANNEL: dict[str, EventKind[Any]] = {
    kind.channel: kind for kind in EVENT_KINDS if kind.channel is not None
}
HISTORIES: dict[HistoryKind, History] = {
    cast("HistoryKind", kind.name): kind.history for kind in EVENT_KINDS if kind.history is not None
}
_KINDS_BY_TYPE: dict[type, EventKind[Any]] = {kind.event: kind for kind in EVENT_KINDS}


def kind_of(event: Event) -> EventKind[Any]:
    """Return the kind of an event."""
    return _KINDS_BY_TYPE[type(event)]
