"""Removes heartbeats of other services, or log lines that do not match, from a shared frame.

Only a view with such a filter needs this work. The last 4 frames of heartbeats stay split by
service in a cache, because a flush filters the same frames again for each view.
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
    """Return the `heartbeats` message `full` with the rows of these services alone.

    The client needs the message even without rows, because it contains `observed_until`.
    """
    head, rows_by_service, tail = _split(full)
    selected = sorted(rows_by_service.keys() & services)
    return head + b",".join(rows_by_service[service] for service in selected) + tail


def filter_log(full: bytes, lines: LogFilter) -> bytes | None:
    """Return the `log` message `full` with the selected lines alone.

    Returns None if no line is selected and the message reports no dropped lines.
    """
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
