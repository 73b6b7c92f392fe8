"""Status events: what a service publishes about itself, as a message and as a feed entry."""

from typing import Annotated, Any

import msgspec

from pulseboard.wire.codec import (
    MAX_EVENT_BYTES,
    Timestamp,
    check_depth,
    check_raw_object,
    check_size,
    decode,
    encode,
    encode_event,
    is_stamped,
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
    """The seed's message on `service:<name>`: who, when (ms since the epoch), and the whole status."""

    service: str
    timestamp: int
    status: dict[str, Any]


class StatusEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status event as it stands in the feed (docs/reference/wire.md). `status` is the JSON text of an object.

    `commands` are the names of those that the instance listens for; what they take, it tells in Redis.
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
    """What a publisher may send: the event with its status decoded, and the id that says it came from the feed.

    A `timestamp` may have a fraction (`time.time() * 1000` does); the fraction is dropped.
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


def parse_message(
    channel: str, payload: bytes, *, prefix: str = DEFAULT_PREFIX, max_bytes: int = MAX_EVENT_BYTES
) -> bytes | None:
    """Check one pub/sub message; return the event's compact JSON, or None when it carries the id of the feed already.

    Raises InvalidEvent with the reason for which the message must be dropped.
    """
    service = parse_channel(channel, prefix)
    check_size(payload, max_bytes)
    message = decode(_messages, payload)
    if is_stamped(message.id):
        return None
    if message.service != service:
        raise InvalidEvent(
            "channel-mismatch",
            f"an event of {message.service[:80]!r} came on the channel of {service!r}",
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
    _check_rhythm(event)
    return encode_event(event, max_bytes=max_bytes)


def parse_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> StatusEvent:
    """Read one feed entry. The scripts wrote it from a checked event, but anyone with Redis can write there: check again."""
    check_size(data, max_bytes + 64)  # the id that the script put in is not the publisher's
    event = decode(_events, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    _check_rhythm(event)
    check_raw_object(bytes(event.status))
    return event


def parse_update(payload: bytes) -> ServiceStatusUpdate:
    """Read the seed's message, wherever it came from; raise InvalidEvent with the reason when it is none."""
    message = decode(_messages, payload)
    return ServiceStatusUpdate(message.service, int(message.timestamp), message.status)


def _check_rhythm(event: StatusEvent) -> None:
    if event.heartbeat_s is not None and not 0 < event.heartbeat_s <= MAX_HEARTBEAT_S:
        raise InvalidEvent(
            "wrong-type", f"heartbeat_s is more than 0 and at most {MAX_HEARTBEAT_S:.0f} seconds"
        )
    if event.back_in_s is not None and not (event.stopped and 0 < event.back_in_s <= MAX_BACK_IN_S):
        raise InvalidEvent(
            "wrong-type",
            f"back_in_s goes with a goodbye, is more than 0 and at most {MAX_BACK_IN_S:.0f} seconds",
        )
