"""The frames of both streams: which event becomes which bytes (docs/reference/wire.md)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from pulseboard.bus.feed import Entry
from pulseboard.hub.board import InstanceView
from pulseboard.hub.ring import Frame
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events import encode
from pulseboard.wire.sse import HEARTBEAT, format_frame


class BlindView(msgspec.Struct, frozen=True):
    """Since when (ms by Redis' clock) and why the server cannot see Redis."""

    since: int
    reason: str


class BoardView(msgspec.Struct):
    """The data of the `board` event."""

    now: int
    blind: BlindView | None
    ping_s: float
    version: str
    insecure: bool
    expect: Sequence[str]
    instances: list[InstanceView]


class _Status(msgspec.Struct, omit_defaults=True):
    service: str
    timestamp: int
    status: msgspec.Raw
    instance: str
    beat_s: float | None = None
    goodbye: bool = False


class _SeedStatus(msgspec.Struct):
    service: str
    timestamp: int
    status: msgspec.Raw


def status_frame(entry: Entry) -> Frame:
    """Return the frame of one status event, for both streams."""
    event, id = entry.event, str(entry.cursor)
    full = _Status(event.service, event.timestamp, event.status, event.instance, event.beat_s, event.goodbye)
    seed = _SeedStatus(event.service, event.timestamp, event.status)
    return Frame(
        entry.cursor,
        "status",
        event.service,
        format_frame(encode(full), event="status", id=id),
        format_frame(encode(seed), id=id),
    )


def beats_frame(now: int, beats: Sequence[tuple[str, str, int]], cursor: Cursor) -> Frame:
    """Return the frame that tells signs of life as (service, instance, seen)."""
    return Frame(cursor, "beats", None, _named("beats", {"now": now, "beats": beats}, cursor), None)


def ping_frame(now: int, blind: BlindView | None, cursor: Cursor) -> Frame:
    """Return the sign of life of the server itself, named so that a page's script sees it."""
    return Frame(cursor, None, None, _named("ping", {"now": now, "blind": blind}, cursor), None)


def heartbeat_frame(cursor: Cursor) -> Frame:
    """Return the comment that keeps proxies from cutting a quiet stream (WHATWG HTML 9.2.7)."""
    return Frame(cursor, None, None, HEARTBEAT, HEARTBEAT)


def board_bytes(view: BoardView, cursor: Cursor, *, reset: str | None = None) -> bytes:
    """Return the `board` message, after a `reset` with its reason where continuity was lost."""
    board = format_frame(encode(view), event="board", id=str(cursor))
    return (_named("reset", {"reason": reset}, cursor) if reset is not None else b"") + board


def snapshot_bytes(snapshot: dict[str, msgspec.Raw], cursor: Cursor) -> bytes:
    """Return the first message of the seed's stream."""
    return format_frame(encode(snapshot), id=str(cursor))


def bye_bytes(reason: str, retry_ms: int, cursor: Cursor | None) -> bytes:
    """Return the last message of `/api/stream`; without a cursor the reader keeps the id of what it saw last."""
    return format_frame(
        encode({"reason": reason}), event="bye", id="" if cursor is None else str(cursor), retry_ms=retry_ms
    )


def _named(event: str, data: dict[str, Any], cursor: Cursor) -> bytes:
    return format_frame(encode(data), event=event, id=str(cursor))
