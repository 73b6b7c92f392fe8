"""What is read from Redis about services: events and beats with their places, and the items that a feed yields."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pulseboard.wire.codec import MAX_EVENT_BYTES
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.lifecycle import Incident, parse_incident
from pulseboard.wire.events.metric import MetricEvent, parse_metric_event
from pulseboard.wire.events.status import StatusEvent, parse_status_event
from pulseboard.wire.kinds import KINDS_BY_NAME, Event

INCIDENTS_SHOWN = 20
"""So many of the latest incidents are on the board; older ones are to be asked for."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One sign of life: who, when by Redis' clock (ms), and for how long its event loop has not answered (ms; 0: it does)."""

    service: str
    instance: str
    seen: int
    lag_ms: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its place in the feed."""

    cursor: Cursor
    event: Event


@dataclass(frozen=True, slots=True)
class Batch:
    """What one read brought, in order. Both empty is a sign of life too.

    `observed_until` is the time by Redis' clock (ms) up to which all was read. Silence before `observed_since` (0: nothing new about that)
    proves nothing: Redis was not up, or its clock jumped.
    """

    entries: list[Entry] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    observed_until: int = 0
    observed_since: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """Start afresh from here: the whole board, true at `cursor`.

    `lost` are those declared lost, with when they were last seen (ms); `incidents` the latest, the newest first; `recent` the
    last events up to `cursor`, in order and none missing between them.
    """

    reason: str
    cursor: Cursor
    board: list[Entry]
    heartbeats: list[Heartbeat]
    lost: dict[tuple[str, str], int] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    recent: list[Entry] = field(default_factory=list)
    observed_until: int = 0
    observed_since: int = 0


@dataclass(frozen=True, slots=True)
class FeedUnavailable:
    """Redis is out of sight."""

    reason: str


_MS = re.compile(rb"[0-9]{1,16}")
"""A time or a span in ms: anyone with Redis can write there, and Python refuses to read a number of 5,000 digits."""

Row = tuple[bytes, dict[bytes, bytes]]
"""An entry of a stream: its id and its fields."""


def rows_of(answer: list[Any]) -> list[Row]:
    """Return stream entries in the one shape: a script's answer has its fields as a list of names and values."""
    return [
        (id, pairs if isinstance(pairs, dict) else dict(_paired(pairs))) for id, pairs in answer
    ]


def name_entry(row: Row) -> str:
    """Return what an entry of the feed is called where it is complained of."""
    return f"feed entry {row[0].decode()}"


def parse_feed_entry(row: Row, max_bytes: int = MAX_EVENT_BYTES) -> Entry:
    """Read one entry of the feed; raise InvalidEvent when it is none."""
    return parse_history_entry(
        row[1].get(b"kind", b"none").decode("ascii", "replace"), row, max_bytes
    )


def parse_history_entry(kind: str, row: Row, max_bytes: int = MAX_EVENT_BYTES) -> Entry:
    """Read one entry of a stream that holds events of this kind; raise InvalidEvent when it is none."""
    id, fields = row
    if (known := KINDS_BY_NAME.get(kind)) is None:
        raise InvalidEvent("wrong-type", f"the feed holds an entry of kind {kind[:40]!r}")
    return Entry(Cursor.parse(id), known.parse(fields.get(b"data", b""), max_bytes=max_bytes))


def parse_stamped_status(
    json: bytes, max_bytes: int = MAX_EVENT_BYTES
) -> tuple[Cursor, StatusEvent]:
    """Read an event that ends with its feed id, as the scripts keep it; raise InvalidEvent when it is none."""
    event = parse_status_event(json, max_bytes=max_bytes)
    return _parse_stamp(json), event


def parse_stamped_metric(
    json: bytes, max_bytes: int = MAX_EVENT_BYTES
) -> tuple[Cursor, MetricEvent]:
    """Read metrics that end with their feed id; raise InvalidEvent when they are none."""
    event = parse_metric_event(json, max_bytes=max_bytes)
    return _parse_stamp(json), event


def _parse_stamp(json: bytes) -> Cursor:
    try:
        return Cursor.parse(json[json.rindex(b'"id":"') + 6 : -2])
    except ValueError as error:
        raise InvalidEvent("malformed", "a kept event does not end with its feed id") from error


def parse_heartbeat(row: Row) -> Heartbeat:
    """Read one entry of the beats; what is not there is empty, and names nobody."""
    id, fields = row
    service, instance = (
        fields.get(name, b"").decode("utf-8", "replace") for name in (b"service", b"instance")
    )
    lag = fields.get(b"lag", b"")
    return Heartbeat(service, instance, Cursor.parse(id).ms, int(lag) if _MS.fullmatch(lag) else 0)


def parse_times(flat: list[bytes] | dict[bytes, bytes]) -> dict[tuple[str, str], int]:
    """Read a hash of `<service>/<instance>` to ms; a value that is no time is passed over."""
    pairs = flat.items() if isinstance(flat, dict) else _paired(flat)
    times = {}
    for name, ms in pairs:
        if _MS.fullmatch(ms):
            service, _, instance = name.decode("utf-8", "replace").partition("/")
            times[service, instance] = int(ms)
    return times


def parse_incident_entry(row: Row) -> Incident:
    """Read one entry of the incidents; raise InvalidEvent when it is none."""
    id, fields = row
    return parse_incident(fields.get(b"data", b"")[:-1] + b',"id":"%b"}' % id)


def _paired(flat: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
