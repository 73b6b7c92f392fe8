"""The `heartbeats` of some services, or the lines of a log that are wanted, cut out of the frame that everybody else shares.

Nothing is kept in the ring for it, and whoever asks for no part pays nothing. The last few frames are kept taken
apart, since in one flush each view cuts the same ones.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.views import LogView

_DATA = b"data: "
_BEATS = b'"heartbeats":['

_logs = msgspec.json.Decoder(LogView)


class _Parts(NamedTuple):
    head: bytes
    by_service: dict[str, bytes]
    tail: bytes


def filter_heartbeats(full: bytes, services: Collection[str]) -> bytes:
    """Return a `heartbeats` message with the beats of these services alone, be there none: it says up to when that is so."""
    head, by_service, tail = _take_apart(full)
    return (
        head
        + b",".join(by_service[service] for service in sorted(by_service.keys() & services))
        + tail
    )


def filter_log(full: bytes, lines: LogFilter) -> bytes | None:
    """Return a `log` message with the lines that are wanted alone, or None when there is nothing to tell."""
    head, _, json = full.partition(_DATA)
    view = _logs.decode(json)
    view.lines = [line for line in view.lines if lines.matches(line)]
    return (
        head + _DATA + msgspec.json.encode(view) + b"\n\n" if view.lines or view.dropped else None
    )


@lru_cache(maxsize=4)
def _take_apart(full: bytes) -> _Parts:
    start = full.index(_BEATS, full.index(_DATA)) + len(_BEATS)
    end = full.rindex(b"]")
    heartbeats: list[list[Any]] = msgspec.json.decode(full[start - 1 : end + 1])
    by_service: dict[str, list[bytes]] = {}
    for heartbeat in heartbeats:
        by_service.setdefault(heartbeat[0], []).append(msgspec.json.encode(heartbeat))
    return _Parts(
        full[:start], {service: b",".join(each) for service, each in by_service.items()}, full[end:]
    )
