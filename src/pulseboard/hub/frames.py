"""The frames of both streams: which event becomes which bytes (docs/reference/wire.md)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pulseboard.bus.feed.entries import Entry, Heartbeat
from pulseboard.hub.ring import Frame
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.command import Command
from pulseboard.wire.events.lifecycle import LifecycleEvent
from pulseboard.wire.events.log import LinePlace, LogEvent, view_line
from pulseboard.wire.events.metric import MetricEvent
from pulseboard.wire.events.receipt import Receipt
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.sse import HEARTBEAT, format_frame
from pulseboard.wire.views import (
    BoardView,
    ByeView,
    Freshness,
    HeartbeatsView,
    LogView,
    MetricView,
    PingView,
    ResetView,
    SkippedView,
    StatusStreamMessage,
    StatusView,
)


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
        full = _named("metric", view_metric(event, entry.cursor), entry.cursor)
        return Frame(entry.cursor, "metric", event.service, full, None)
    message = StatusStreamMessage(event.service, event.timestamp, event.status)
    return Frame(
        entry.cursor,
        "status",
        event.service,
        format_frame(encode(view_status(event)), event="status", id=id),
        format_frame(encode(message), id=id),
    )


def view_status(event: StatusEvent) -> StatusEvent:
    """Return the data of the `status` event, which always names the instance."""
    # An event that names its instance is its own view, which saves a copy for each event.
    return event if event.instance else StatusView(**msgspec.structs.asdict(event))


def view_metric(event: MetricEvent, cursor: Cursor) -> MetricView:
    """Return the data of the `metric` event, which always has an instance and a timestamp."""
    fields = msgspec.structs.asdict(event)
    return MetricView(**fields | {"timestamp": event.timestamp or cursor.ms})


def view_log(event: LogEvent, cursor: Cursor) -> LogView:
    """Return a log with the ids of its lines."""
    lines = [view_line(line, LinePlace(cursor, n)) for n, line in enumerate(event.lines)]
    return LogView(event.service, event.instance, lines, event.dropped)


def heartbeats_frame(
    now: int, observed_until: int, heartbeats: Iterable[Heartbeat], cursor: Cursor
) -> Frame:
    """Return the frame that tells signs of life as [service, instance, seen], and the lag where there is one."""
    # A row leaves a lag of 0 out, which no struct of msgspec can do.
    rows: list[Any] = [
        (each.service, each.instance, each.seen, each.lag_ms)
        if each.lag_ms
        else (each.service, each.instance, each.seen)
        for each in heartbeats
    ]
    view = HeartbeatsView(now, observed_until, rows)
    return Frame(cursor, "heartbeats", None, _named("heartbeats", view, cursor), None)


def ping_frame(now: int, sight: Freshness, cursor: Cursor, omitted: int) -> Frame:
    """Return the sign of life of the server itself, named so that a page's script sees it."""
    view = PingView(now=now, omitted=omitted, **msgspec.structs.asdict(sight))
    return Frame(cursor, None, None, _named("ping", view, cursor), None)


def keepalive_frame(cursor: Cursor) -> Frame:
    """Return the comment that keeps proxies from cutting a quiet stream (WHATWG HTML 9.2.7)."""
    return Frame(cursor, None, None, HEARTBEAT, HEARTBEAT)


def board_bytes(view: BoardView, cursor: Cursor) -> bytes:
    """Return the `board` message."""
    return format_frame(encode(view), event="board", id=str(cursor))


def reset_bytes(reason: str) -> bytes:
    """Return the message that says why continuity was lost; a board follows. Only that one's id may be resumed from."""
    return format_frame(encode(ResetView(reason)), event="reset")


def skipped_bytes(reason: str, skipped: Mapping[str, int]) -> bytes:
    """Return the message that says how many events by kind a reader was too slow for; a board follows."""
    return format_frame(encode(SkippedView(reason, dict(skipped))), event="skipped")


def snapshot_bytes(snapshot: dict[str, msgspec.Raw], cursor: Cursor) -> bytes:
    """Return the first message of the seed's stream."""
    return format_frame(encode(snapshot), id=str(cursor))


def bye_bytes(reason: str, retry_ms: int, cursor: Cursor | None) -> bytes:
    """Return the last message of `/api/stream`; without a cursor the reader keeps the id of what it saw last."""
    return format_frame(
        encode(ByeView(reason)),
        event="bye",
        id="" if cursor is None else str(cursor),
        retry_ms=retry_ms,
    )


def retry_bytes(retry_ms: int) -> bytes:
    """Return what tells a reader of the seed's stream when to come back; without data it is no message to anybody."""
    return b"retry: %d\n\n" % retry_ms


def _named(event: str, data: msgspec.Struct, cursor: Cursor) -> bytes:
    return format_frame(encode(data), event=event, id=str(cursor))
