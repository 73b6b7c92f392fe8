"""Lifecycle events: the loss of an instance, and its removal from the board."""

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
"""Why an instance was declared lost: no beat for two and a half of its rhythms, or a planned return that was missed."""


class Incident(msgspec.Struct, frozen=True):
    """One loss: an instance, its last sign of life and when it was declared lost, in ms by Redis' clock."""

    id: FeedId
    service: ServiceName
    instance: InstanceName
    seen: RedisTimeMs
    declared: RedisTimeMs
    cause: Annotated[str, msgspec.Meta(description="`silent` or `overdue`; others may follow.")]
    heartbeat_s: HeartbeatS | None = None


class LifecycleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an instance: `lost`, with its incident, or `gone` from the board. Later kinds are passed on as they are."""

    service: ServiceName
    instance: InstanceName
    timestamp: PublisherTimeMs
    event: str
    incident: Incident | None = None
    replaced_by: InstanceName | None = None


_lifecycles = msgspec.json.Decoder(LifecycleEvent)


_incidents = msgspec.json.Decoder(Incident)


def parse_lifecycle(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> LifecycleEvent:
    """Read one feed entry of this kind; raise InvalidEvent with the reason when it is none."""
    check_size(data, max(max_bytes, MAX_EVENT_BYTES))
    event = decode(_lifecycles, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    return event


def parse_incident(data: bytes) -> Incident:
    """Read one incident; raise InvalidEvent with the reason when it is none."""
    check_size(data, MAX_EVENT_BYTES)
    return decode(_incidents, data)
