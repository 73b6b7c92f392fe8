"""The frames of both streams: which event becomes which bytes (docs/reference/wire.md)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from pulseboard.bus.feed.entries import Entry, Heartbeat
from pulseboard.hub.board import InstanceView
from pulseboard.hub.freshness import BlindView, CoverageGapView, Freshness
from pulseboard.hub.ring import Frame
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.lifecycle import Incident, LifecycleEvent
from pulseboard.wire.events.log import LinePlace, LineView, LogEvent, view_line
from pulseboard.wire.events.metric import Kind, MetricEvent, Value
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.sse import HEARTBEAT, format_frame


class BoardView(msgspec.Struct):
    """The data of the `board` event."""

    now: int
    observed_until: int
    observed_since: int
    blind: BlindView | None
    gap: CoverageGapView | None
    omitted: int
    ping_s: float
    version: str
    insecure: bool
    expect: Sequence[str]
    instances: list[InstanceView]
    incidents: list[Incident]


class _Status(msgspec.Struct, omit_defaults=True):
    service: str
    timestamp: int
    status: msgspec.Raw
    instance: str
    heartbeat_s: float | None = None
    commands: list[str] = []
    stopped: bool = False
    back_in_s: float | None = None


class LogView(msgspec.Struct, omit_defaults=True):
    """The data of the `log` event."""

    service: str
    instance: str
    lines: list[LineView]
    dropped: int = 0


class MetricView(msgspec.Struct, omit_defaults=True):
    """The data of the `metric` event; `timestamp` is when it came, where nobody said."""

    service: str
    instance: str
    timestamp: int
    metrics: dict[str, Value]
    kinds: dict[str, Kind] = {}


class _SeedStatus(msgspec.Struct):
    service: str
    timestamp: int
    status: msgspec.Raw


def event_frame(entry: Entry) -> Frame:
    """Return the frame of one event, for both streams; the seed's knows status events alone."""
    event, id = entry.event, str(entry.cursor)
    if isinstance(event, LifecycleEvent):
        full = format_frame(encode(event), event="lifecycle", id=id)
        return Frame(entry.cursor, "lifecycle", event.service, full, None)
    if isinstance(event, LogEvent):
        full = _named("log", view_log(event, entry.cursor), entry.cursor)
        return Frame(entry.cursor, "log", event.service, full, None, len(event.lines))
    if isinstance(event, Command):
        return Frame(
            entry.cursor, "command", event.service, _named("command", event, entry.cursor), None
        )
    if isinstance(event, Receipt):
        return Frame(
            entry.cursor, "receipt", event.service, _named("receipt", event, entry.cursor), None
        )
    if isinstance(event, MetricEvent):
        timestamp = event.timestamp or entry.cursor.ms
        metric = MetricView(event.service, event.instance, timestamp, event.metrics, event.kinds)
        return Frame(
            entry.cursor, "metric", event.service, _named("metric", metric, entry.cursor), None
        )
    status = _Status(
        event.service,
        event.timestamp,
        event.status,
        event.instance,
        event.heartbeat_s,
        event.commands,
        event.stopped,
        event.back_in_s,
    )
    seed = _SeedStatus(event.service, event.timestamp, event.status)
    return Frame(
        entry.cursor,
        "status",
        event.service,
        format_frame(encode(status), event="status", id=id),
        format_frame(encode(seed), id=id),
    )


def view_log(event: LogEvent, cursor: Cursor) -> LogView:
    """Return a log with the ids of its lines."""
    lines = [view_line(line, LinePlace(cursor, n)) for n, line in enumerate(event.lines)]
    return LogView(event.service, event.instance, lines, event.dropped)


def heartbeats_frame(
    now: int, observed_until: int, heartbeats: Iterable[Heartbeat], cursor: Cursor
) -> Frame:
    """Return the frame that tells signs of life as [service, instance, seen], and the lag where there is one."""
    told = [
        [
            heartbeat.service,
            heartbeat.instance,
            heartbeat.seen,
            *([heartbeat.lag_ms] if heartbeat.lag_ms else []),
        ]
        for heartbeat in heartbeats
    ]
    return Frame(
        cursor,
        "heartbeats",
        None,
        _named(
            "heartbeats", {"now": now, "observed_until": observed_until, "heartbeats": told}, cursor
        ),
        None,
    )


def ping_frame(now: int, sight: Freshness, cursor: Cursor, omitted: int) -> Frame:
    """Return the sign of life of the server itself, named so that a page's script sees it."""
    data = {
        "now": now,
        "observed_until": sight.observed_until,
        "observed_since": sight.observed_since,
        "blind": sight.blind,
        "gap": sight.gap,
    }
    return Frame(cursor, None, None, _named("ping", data | {"omitted": omitted}, cursor), None)


def keepalive_frame(cursor: Cursor) -> Frame:
    """Return the comment that keeps proxies from cutting a quiet stream (WHATWG HTML 9.2.7)."""
    return Frame(cursor, None, None, HEARTBEAT, HEARTBEAT)


def board_bytes(view: BoardView, cursor: Cursor) -> bytes:
    """Return the `board` message."""
    return format_frame(encode(view), event="board", id=str(cursor))


def reset_bytes(reason: str) -> bytes:
    """Return the message that says why continuity was lost; a board follows. Only that one's id may be resumed from."""
    return format_frame(encode({"reason": reason}), event="reset")


def skipped_bytes(reason: str, skipped: Mapping[str, int]) -> bytes:
    """Return the message that says how many events by kind a reader was too slow for; a board follows."""
    return format_frame(encode({"reason": reason, "skipped": skipped}), event="skipped")


def snapshot_bytes(snapshot: dict[str, msgspec.Raw], cursor: Cursor) -> bytes:
    """Return the first message of the seed's stream."""
    return format_frame(encode(snapshot), id=str(cursor))


def bye_bytes(reason: str, retry_ms: int, cursor: Cursor | None) -> bytes:
    """Return the last message of `/api/stream`; without a cursor the reader keeps the id of what it saw last."""
    return format_frame(
        encode({"reason": reason}),
        event="bye",
        id="" if cursor is None else str(cursor),
        retry_ms=retry_ms,
    )


def retry_bytes(retry_ms: int) -> bytes:
    """Return what tells a reader of the seed's stream when to come back; without data it is no message to anybody."""
    return b"retry: %d\n\n" % retry_ms


def _named(
    event: str, data: dict[str, Any] | LogView | MetricView | Command | Receipt, cursor: Cursor
) -> bytes:
    return format_frame(encode(data), event=event, id=str(cursor))
