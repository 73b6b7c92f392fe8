"""The frames of both streams: which event becomes which bytes (docs/reference/wire.md)."""

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
    """Return the frame of one event, for both streams; the status stream carries status events alone."""
    event, id = entry.event, str(entry.cursor)
    kind = kind_of(event)
    status_stream = None
    if kind.status_stream_view is not None:
        status_stream = format_frame(encode(kind.status_stream_view(event)), id=id)
    full = format_frame(encode(kind.view(event, entry.cursor)), event=kind.sse_event, id=id)
    return Frame(
        entry.cursor, kind.sse_event, event.service, full, status_stream, kind.count(event)
    )


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
    name = HEARTBEAT.sse_event
    return Frame(cursor, name, None, _named(name, view, cursor), None)


def ping_frame(now: int, sight: Freshness, cursor: Cursor, omitted: int) -> Frame:
    """Return the sign of life of the server itself, named so that a page's script sees it."""
    view = PingView(now=now, omitted=omitted, **msgspec.structs.asdict(sight))
    return Frame(cursor, None, None, _named("ping", view, cursor), None)


def keepalive_frame(cursor: Cursor) -> Frame:
    """Return the comment that keeps proxies from cutting a quiet stream (WHATWG HTML 9.2.7)."""
    return Frame(cursor, None, None, KEEPALIVE, KEEPALIVE)


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
