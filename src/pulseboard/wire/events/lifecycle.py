"""Lifecycle events: a server declared an instance lost, or an instance left the board."""

from typing import Annotated, Literal

import msgspec

from pulseboard.wire.codec import MAX_EVENT_BYTES, check_size, decode
from pulseboard.wire.field_types import (
    FeedId,
    HeartbeatS,
    InstanceName,
    PublisherTimeMs,
    RedisTimeMs,
    ServiceName,
)
from pulseboard.wire.names import check_instance_name, check_service_name

Cause = Literal["silent", "overdue"]
"""Why a server declared an instance lost.

`silent`: it sent no heartbeat for 2.5 intervals; `overdue`: it did not return as planned.
"""


class Incident(msgspec.Struct, frozen=True):
    """One loss of an instance: its last sign of life, and when a server declared it lost.

    Both times are in ms by Redis' clock.
    """

    id: FeedId
    service: ServiceName
    instance: InstanceName
    seen: RedisTimeMs
    declared: RedisTimeMs
    cause: Annotated[
        str, msgspec.Meta(description="`silent` or `overdue`; later versions may add causes.")
    ]
    heartbeat_s: HeartbeatS | None = None


class LifecycleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of an instance: `event` is `lost`, with its incident, or `gone` from the board.

    A server passes a value of `event` that it does not know to its clients unchanged.
    """

    service: ServiceName
    instance: InstanceName
    timestamp: PublisherTimeMs
    event: str
    incident: Incident | None = None
    replaced_by: InstanceName | None = None


_events = msgspec.json.Decoder(LifecycleEvent)
_incidents = msgspec.json.Decoder(Incident)


def parse_lifecycle_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> LifecycleEvent:
    """Parse a lifecycle event; raise InvalidEvent with the reason if it is invalid."""
    check_size(data, max(max_bytes, MAX_EVENT_BYTES))
    event = decode(_events, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    return event


def parse_incident(data: bytes) -> Incident:
    """Parse one incident; raise InvalidEvent with the reason if it is invalid."""
    check_size(data, MAX_EVENT_BYTES)
    return decode(_incidents, data)
