"""The events: the status event in its two forms, what becomes of instances, and the checks that a message passes to be one.

A `StatusEvent` holds its status as the JSON bytes it came in, since nobody on the way to the browser looks inside.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.names import DEFAULT_PREFIX, check_instance_name, check_service_name, parse_channel

MAX_EVENT_BYTES = 65_536
MAX_DEPTH = 32
MAX_BEAT_S = 86_400.0
MAX_BACK_IN_S = 86_400.0
MAX_TIMESTAMP_MS = 8_640_000_000_000_000
"""The last moment that a JavaScript Date can hold (ECMA-262, 21.4.1.1); further out the page would not take the board."""

Json = msgspec.Raw | msgspec.UnsetType
"""A part of an event that is kept as its JSON text, since nobody on the way looks inside; UNSET where there is none."""

Timestamp = msgspec.Meta(ge=-MAX_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)

T = TypeVar("T")


class ServiceStatusUpdate(msgspec.Struct, frozen=True):
    """The seed's message on `service:<name>`: who, when (ms since the epoch), and the whole status."""

    service: str
    timestamp: int
    status: dict[str, Any]


class StatusEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A status event as it stands in the feed (docs/reference/wire.md). `status` is the JSON text of an object.

    `commands` are the names of those that the instance listens for; what they take, it tells in Redis.
    """

    service: str
    timestamp: Annotated[int, Timestamp]
    status: msgspec.Raw
    instance: str = ""
    beat_s: float | None = None
    commands: list[str] = []
    goodbye: bool = False
    back_in_s: float | None = None


Cause = Literal["silent", "overdue"]
"""Why an instance was declared lost: no beat for two and a half of its rhythms, or a planned return that was missed."""


class Incident(msgspec.Struct, frozen=True):
    """One loss: an instance, its last sign of life and when it was declared lost, in ms by Redis' clock."""

    id: str
    service: str
    instance: str
    seen: int
    declared: int
    cause: Cause
    beat_s: float | None = None


class LifecycleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an instance: `lost`, with its incident, or `gone` from the board. Later kinds are passed on as they are."""

    service: str
    instance: str
    timestamp: Annotated[int, Timestamp]
    event: str
    incident: Incident | None = None
    replaced_by: str | None = None


class _Message(msgspec.Struct):
    """What a publisher may send: the event with its status decoded, and the id that says it came from the feed.

    A `timestamp` may have a fraction (`time.time() * 1000` does); the fraction is dropped.
    """

    service: str
    timestamp: Annotated[int, Timestamp] | Annotated[float, Timestamp]
    status: dict[str, Any]
    instance: str = ""
    beat_s: float | None = None
    goodbye: bool = False
    back_in_s: float | None = None
    id: Any = None


_messages = msgspec.json.Decoder(_Message)
_events = msgspec.json.Decoder(StatusEvent)
_lifecycles = msgspec.json.Decoder(LifecycleEvent)
_incidents = msgspec.json.Decoder(Incident)
_anything = msgspec.json.Decoder(Any)


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
            "channel-mismatch", f"an event of {message.service[:80]!r} came on the channel of {service!r}"
        )
    check_depth(message.status)
    event = StatusEvent(
        service=service,
        timestamp=int(message.timestamp),
        status=msgspec.Raw(encode(message.status)),
        instance=check_instance_name(message.instance),
        beat_s=message.beat_s,
        goodbye=message.goodbye,
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


def parse_update(payload: bytes) -> ServiceStatusUpdate:
    """Read the seed's message, wherever it came from; raise InvalidEvent with the reason when it is none."""
    message = decode(_messages, payload)
    return ServiceStatusUpdate(message.service, int(message.timestamp), message.status)


def encode_event(event: msgspec.Struct, *, max_bytes: int = MAX_EVENT_BYTES) -> bytes:
    """Return the event's compact JSON; raise InvalidEvent when it is larger than `max_bytes`."""
    data = encode(event)
    check_size(data, max_bytes)
    return data


def encode(value: Any) -> bytes:
    """Return compact JSON of a value that JSON can hold; a NaN or an infinity becomes null (RFC 8259 has neither)."""
    return msgspec.json.encode(value)


def json_of(part: Json) -> bytes:
    """Return the JSON text of a part of an event; nothing where there is none."""
    return bytes(part) if isinstance(part, msgspec.Raw) else b""


def check_depth(status: Any) -> None:
    """Raise InvalidEvent for a status that makes its event nest too deep; walks level by level, so depth costs no stack."""
    level = [status]
    for _ in range(MAX_DEPTH - 1):  # the event itself is the first level
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InvalidEvent("too-deep", f"an event nests at most {MAX_DEPTH} deep, itself included")


def check_raw_object(json: bytes) -> None:
    """Check a part of an event that is kept as its JSON text: an object, in UTF-8, that nests not too deep."""
    # The decoder passes over a Raw without looking into its strings, nor at how deep it nests.
    if not json.startswith(b"{"):
        raise InvalidEvent("wrong-type", "this is no JSON object")
    if not json.isascii():
        try:
            json.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent("malformed", str(error)) from error
    if may_be_deep(json, levels_around=1):
        check_depth(decode(_anything, json))


def may_be_deep(json: bytes, *, levels_around: int) -> bool:
    """Say whether a part of an event needs `check_depth`: what nests n deep has n opening brackets at least; most is flat."""
    return json.count(b"[") + json.count(b"{") + levels_around > MAX_DEPTH


def _children(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value
    return [child for child in inner if isinstance(child, dict | list)]


def decode(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Decode; raise InvalidEvent with the reason when that cannot be."""
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise InvalidEvent("wrong-type", str(error)) from error
    except RecursionError as error:
        raise InvalidEvent("too-deep", f"an event nests at most {MAX_DEPTH} deep, itself included") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent("malformed", str(error)) from error


def check_size(data: bytes, max_bytes: int) -> None:
    """Raise InvalidEvent for what is larger than an event may be."""
    if len(data) > max_bytes:
        raise InvalidEvent("too-large", f"an event is at most {max_bytes} bytes, this one has {len(data)}")


def _check_rhythm(event: StatusEvent) -> None:
    if event.beat_s is not None and not 0 < event.beat_s <= MAX_BEAT_S:
        raise InvalidEvent("wrong-type", f"beat_s is more than 0 and at most {MAX_BEAT_S:.0f} seconds")
    if event.back_in_s is not None and not (event.goodbye and 0 < event.back_in_s <= MAX_BACK_IN_S):
        raise InvalidEvent(
            "wrong-type", f"back_in_s goes with a goodbye, is more than 0 and at most {MAX_BACK_IN_S:.0f} seconds"
        )


def is_stamped(id: Any, *, of_line: bool = False) -> bool:
    """Say whether what a message has as `id` is a feed id, or if asked for one, that of a line: it is in the feed already."""
    if not isinstance(id, str):
        return False
    cursor, point, number = id.partition(".") if of_line else (id, "", "")
    try:
        Cursor.parse(cursor)
    except ValueError:
        return False
    return not point or (number.isascii() and number.isdigit())
