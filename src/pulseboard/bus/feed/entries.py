"""Entries of the feed and the heartbeat stream, and the items that a feed reader yields."""

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
"""The number of latest incidents that the board shows. The API also returns older ones."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """One sign of life of an instance.

    `seen` is its time in ms by Redis' clock. `lag_ms` is how long the event loop of the host
    application has not responded; 0 if it responds.
    """

    service: str
    instance: str
    seen: int
    lag_ms: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its feed id."""

    cursor: Cursor
    event: Event


@dataclass(frozen=True, slots=True)
class Batch:
    """The answer to one read, in order. An empty batch also proves that the connection works.

    The reader has read everything up to `observed_until`. The silence of an instance before
    `observed_since` proves nothing, because Redis was down or its clock was set; 0 means that
    `observed_since` did not change. Both are ms by Redis' clock.
    """

    entries: list[Entry] = field(default_factory=list)
    heartbeats: list[Heartbeat] = field(default_factory=list)
    observed_until: int = 0
    observed_since: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """The whole board as it was at `cursor`, from which the receiver starts afresh.

    `lost` has the instances that were declared lost, with the time of their last sign of life (ms).
    `incidents` are the latest, the newest first. `recent` are the last events up to `cursor`, in
    order and without a gap.
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
    """The feed cannot be read at this moment."""

    reason: str


_MS = re.compile(rb"[0-9]{1,16}")
"""A time or a duration in ms.

The limit of 16 digits is needed because any program with access to Redis can write such a field,
and Python raises ValueError for a number of 5,000 digits.
"""

Row = tuple[bytes, dict[bytes, bytes]]
"""An entry of a stream: its id and its fields."""


def parse_rows(answer: list[Any]) -> list[Row]:
    """Return stream entries with their fields as dictionaries.

    In the answer of a script, the fields are a flat list of names and values.
    """
    return [
        (id, pairs if isinstance(pairs, dict) else dict(_paired(pairs))) for id, pairs in answer
    ]


def format_entry_name(row: Row) -> str:
    """Return the name of a feed entry for log lines about invalid entries."""
    return f"feed entry {row[0].decode()}"


def parse_feed_entry(row: Row, max_bytes: int = MAX_EVENT_BYTES) -> Entry:
    """Parse one entry of the feed; raise InvalidEvent."""
    return parse_history_entry(
        row[1].get(b"kind", b"none").decode("ascii", "replace"), row, max_bytes
    )


def parse_history_entry(kind: str, row: Row, max_bytes: int = MAX_EVENT_BYTES) -> Entry:
    """Parse one entry of a stream with events of this kind; raise InvalidEvent."""
    id, fields = row
    if (known := KINDS_BY_NAME.get(kind)) is None:
        raise InvalidEvent("wrong-type", f"the feed holds an entry of kind {kind[:40]!r}")
    return Entry(Cursor.parse(id), known.parse(fields.get(b"data", b""), max_bytes=max_bytes))


def parse_stamped_status(
    json: bytes, max_bytes: int = MAX_EVENT_BYTES
) -> tuple[Cursor, StatusEvent]:
    """Parse a status event that a script stored with its feed id; raise InvalidEvent."""
    event = parse_status_event(json, max_bytes=max_bytes)
    return _parse_stamp(json), event


def parse_stamped_metric(
    json: bytes, max_bytes: int = MAX_EVENT_BYTES
) -> tuple[Cursor, MetricEvent]:
    """Parse a metric event that a script stored with its feed id; raise InvalidEvent."""
    event = parse_metric_event(json, max_bytes=max_bytes)
    return _parse_stamp(json), event


def _parse_stamp(json: bytes) -> Cursor:
    try:
        return Cursor.parse(json[json.rindex(b'"id":"') + 6 : -2])
    except ValueError as error:
        raise InvalidEvent("malformed", "a stored event does not end with its feed id") from error


def parse_heartbeat(row: Row) -> Heartbeat:
    """Parse one entry of the heartbeat stream; a missing field results in an empty name."""
    id, fields = row
    service, instance = (
        fields.get(name, b"").decode("utf-8", "replace") for name in (b"service", b"instance")
    )
    lag = fields.get(b"lag", b"")
    return Heartbeat(service, instance, Cursor.parse(id).ms, int(lag) if _MS.fullmatch(lag) else 0)


def parse_times(flat: list[bytes] | dict[bytes, bytes]) -> dict[tuple[str, str], int]:
    """Parse a hash of `<service>/<instance>` to ms; a value that is not a time is ignored."""
    pairs = flat.items() if isinstance(flat, dict) else _paired(flat)
    times = {}
    for name, ms in pairs:
        if _MS.fullmatch(ms):
            service, _, instance = name.decode("utf-8", "replace").partition("/")
            times[service, instance] = int(ms)
    return times


def parse_incident_entry(row: Row) -> Incident:
    """Parse one entry of the incidents stream; raise InvalidEvent."""
    id, fields = row
    return parse_incident(fields.get(b"data", b"")[:-1] + b',"id":"%b"}' % id)


def _paired(flat: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
