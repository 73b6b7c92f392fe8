"""The frames of both streams: the bytes of each message (docs/reference/wire.md)."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pulseboard.bus.feed.entries import Entry, Heartbeat
from pulseboard.hub.ring import Frame
from pulseboard.wire.codec import encode
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.kinds import HEARTBEAT, kind_of
from pulseboard.wire.sse import KEEPALIVE, format_frame
from pulseboard.wire.views import (
    BoardView,
    ByeView,
    Freshness,
    HeartbeatsView,
    PingView,
    ResetView,
    SkippedView,
)


def event_frame(entry: Entry) -> Frame:
    """Return the frame of one event. The status stream has a message for status events alone."""
    event, cursor = entry.event, entry.cursor
    kind = kind_of(event)
    status_stream = None
    if kind.status_stream_view is not None:
        status_stream = format_frame(encode(kind.status_stream_view(event)), id=str(cursor))
    return Frame(
        cursor,
        kind.sse_event,
        event.service,
        full=_message(kind.sse_event, kind.view(event, cursor), cursor),
        status_stream=status_stream,
        count=kind.count(event),
    )


def heartbeats_frame(
    now: int, observed_until: int, heartbeats: Iterable[Heartbeat], cursor: Cursor
) -> Frame:
    """Return the frame of some heartbeats; times are ms by Redis' clock."""
    # A row leaves out a lag of 0, which msgspec cannot express for a struct that is an array.
    rows: list[Any] = [
        (each.service, each.instance, each.seen, each.lag_ms)
        if each.lag_ms
        else (each.service, each.instance, each.seen)
        for each in heartbeats
    ]
    view = HeartbeatsView(now, observed_until, rows)
    name = HEARTBEAT.sse_event
    return Frame(
        cursor, kind=name, service=None, full=_message(name, view, cursor), status_stream=None
    )


def ping_frame(now: int, freshness: Freshness, cursor: Cursor, omitted: int) -> Frame:
    """Return the server's own sign of life. It has a name, so that a page's script receives it."""
    view = PingView(now=now, omitted=omitted, **msgspec.structs.asdict(freshness))
    full = _message("ping", view, cursor)
    return Frame(cursor, kind=None, service=None, full=full, status_stream=None)


def keepalive_frame(cursor: Cursor) -> Frame:
    """Return the comment that keeps a proxy from closing a quiet stream (WHATWG HTML 9.2.7)."""
    return Frame(cursor, kind=None, service=None, full=KEEPALIVE, status_stream=KEEPALIVE)


def board_bytes(view: BoardView, cursor: Cursor) -> bytes:
    """Return the `board` message."""
    return _message("board", view, cursor)


def reset_bytes(reason: str) -> bytes:
    """Return the `reset` message, which has no id: only the board that follows has one."""
    return format_frame(encode(ResetView(reason)), event="reset")


def skipped_bytes(reason: str, skipped: Mapping[str, int]) -> bytes:
    """Return the `skipped` message: the number of skipped events by kind. A board follows."""
    return format_frame(encode(SkippedView(reason, dict(skipped))), event="skipped")


def snapshot_bytes(snapshot: dict[str, msgspec.Raw], cursor: Cursor) -> bytes:
    """Return the first message of the status stream."""
    return format_frame(encode(snapshot), id=str(cursor))


def bye_bytes(reason: str, retry_ms: int, cursor: Cursor | None) -> bytes:
    """Return the last message of the event stream.

    Without a cursor, the client keeps the id of the last message that it received.
    """
    return format_frame(
        encode(ByeView(reason)),
        event="bye",
        id="" if cursor is None else str(cursor),
        retry_ms=retry_ms,
    )


def retry_bytes(retry_ms: int) -> bytes:
    """Return the reconnection time for the status stream; without data it is not a message."""
    return b"retry: %d\n\n" % retry_ms


def _message(event: str, data: msgspec.Struct, cursor: Cursor) -> bytes:
    return format_frame(encode(data), event=event, id=str(cursor))
