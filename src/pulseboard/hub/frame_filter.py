"""Cuts the rows of some services, or some log lines, out of a frame that all clients share.

The ring keeps nothing for this, and clients without such a filter pay nothing. The last few frames
stay split in memory, since one flush cuts the same frames for each view.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.views import LogView

_DATA = b"data: "
_ROWS = b'"heartbeats":['

_logs = msgspec.json.Decoder(LogView)


class _Split(NamedTuple):
    head: bytes
    rows_by_service: dict[str, bytes]
    tail: bytes


def filter_heartbeats(full: bytes, services: Collection[str]) -> bytes:
    """Return a `heartbeats` message with the rows of these services alone.

    A message without rows is sent too: it carries `observed_until`.
    """
    head, rows_by_service, tail = _split(full)
    selected = sorted(rows_by_service.keys() & services)
    return head + b",".join(rows_by_service[service] for service in selected) + tail


def filter_log(full: bytes, lines: LogFilter) -> bytes | None:
    """Return a `log` message with the selected lines alone, or None if it would be empty."""
    head, _, json = full.partition(_DATA)
    view = _logs.decode(json)
    view.lines = [line for line in view.lines if lines.matches(line)]
    if not view.lines and not view.dropped:
        return None
    return head + _DATA + msgspec.json.encode(view) + b"\n\n"


@lru_cache(maxsize=4)
def _split(full: bytes) -> _Split:
    start = full.index(_ROWS, full.index(_DATA)) + len(_ROWS)
    end = full.rindex(b"]")
    rows: list[list[Any]] = msgspec.json.decode(full[start - 1 : end + 1])
    by_service: dict[str, list[bytes]] = {}
    for row in rows:
        by_service.setdefault(row[0], []).append(msgspec.json.encode(row))
    joined = {service: b",".join(each) for service, each in by_service.items()}
    return _Split(full[:start], joined, full[end:])
