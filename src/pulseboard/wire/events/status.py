"""Status events: a service publishes its status, as a pub/sub message and as a feed entry."""

from typing import Annotated, Any

import msgspec

from pulseboard.wire.codec import (
    MAX_EVENT_BYTES,
    MAX_STAMP_BYTES,
    Timestamp,
    check_depth,
    check_raw_object,
    check_size,
    decode,
    encode,
    encode_event,
    is_feed_id,
)
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.field_types import (
    BackInS,
    CommandName,
    HeartbeatS,
    InstanceName,
    JsonObject,
    PublisherTimeMs,
    ServiceName,
)
from pulseboard.wire.names import (
    DEFAULT_PREFIX,
    check_instance_name,
    check_service_name,
    parse_channel,
)

MAX_HEARTBEAT_S = 86_400.0
MAX_BACK_IN_S = 86_400.0


class ServiceStatusUpdate(msgspec.Struct, frozen=True):
    """A message on `service:<name>`, as in the original specification.

    It holds the service, the time (ms since the epoch) and the whole status.
    """

    service: str
    timestamp: int
    status: dict[str, Any]


class StatusEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status event as a feed entry (docs/reference/wire.md).

    `status` is the JSON text of an object.

    `commands` are the names of the commands that the instance accepts; Redis holds their
    parameters.
    """

    service: ServiceName
    timestamp: PublisherTimeMs
    status: JsonObject
    instance: InstanceName = ""
    heartbeat_s: HeartbeatS | None = None
    commands: list[CommandName] = []
    stopped: bool = False
    back_in_s: BackInS | None = None


class PublishedStatus(StatusEvent, frozen=True, kw_only=True):
    """The payload of `PUBLISH service:<name>`. Further members are allowed and ignored."""

    id: Annotated[str, msgspec.Meta(description="With a feed id, it is in the feed already.")] = ""


class _Message(msgspec.Struct):
    """An external message: the event with its status decoded, and the id of messages from the feed.

    A `timestamp` can have a fraction (`time.time() * 1000` has one); the fraction is dropped.
    """

    service: str
    timestamp: Annotated[int, Timestamp] | Annotated[float, Timestamp]
    status: dict[str, Any]
    instance: str = ""
    heartbeat_s: float | None = None
    stopped: bool = False
    back_in_s: float | None = None
    id: Any = None


_messages = msgspec.json.Decoder(_Message)
_events = msgspec.json.Decoder(StatusEvent)


def parse_external_status(
    channel: str, payload: bytes, *, prefix: str = DEFAULT_PREFIX, max_bytes: int = MAX_EVENT_BYTES
) -> bytes | None:
    """Parse an external status message.

    Return the compact JSON of its event, or None when it came from the feed.

    Raises InvalidEvent with the reason for which the message must be dropped.
    """
    service = parse_channel(channel, prefix)
    check_size(payload, max_bytes)
    message = decode(_messages, payload)
    if is_feed_id(message.id):
        return None
    if message.service != service:
        raise InvalidEvent(
            "channel-mismatch",
            f"the channel of {service!r} carried an event of {message.service[:80]!r}",
        )
    check_depth(message.status)
    event = StatusEvent(
        service=service,
        timestamp=int(message.timestamp),
        status=msgspec.Raw(encode(message.status)),
        instance=check_instance_name(message.instance),
        heartbeat_s=message.heartbeat_s,
        stopped=message.stopped,
        back_in_s=message.back_in_s,
    )
    _check_durations(event)
    return encode_event(event, max_bytes=max_bytes)


def parse_status_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> StatusEvent:
    """Parse a feed entry of this kind; raise InvalidEvent with the reason when it is invalid.

    The scripts write checked events, but any program with access to Redis can write there too, so
    it is checked again.
    """
    check_size(data, max_bytes + MAX_STAMP_BYTES)
    event = decode(_events, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    _check_durations(event)
    check_raw_object(bytes(event.status))
    return event


def parse_status_update(payload: bytes) -> ServiceStatusUpdate:
    """Parse a message of the original specification from any channel.

    Raise InvalidEvent when it is invalid.
    """
    message = decode(_messages, payload)
    return ServiceStatusUpdate(message.service, int(message.timestamp), message.status)


def _check_durations(event: StatusEvent) -> None:
    if event.heartbeat_s is not None and not 0 < event.heartbeat_s <= MAX_HEARTBEAT_S:
        raise InvalidEvent(
            "wrong-type",
            f"heartbeat_s must be more than 0 and at most {MAX_HEARTBEAT_S:.0f} seconds",
        )
    if event.back_in_s is not None and not (event.stopped and 0 < event.back_in_s <= MAX_BACK_IN_S):
        raise InvalidEvent(
            "wrong-type",
            "back_in_s needs `stopped`, and must be more than 0 and at most"
            f" {MAX_BACK_IN_S:.0f} seconds",
        )
