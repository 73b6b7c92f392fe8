"""JSON as it travels: encoding, decoding, and the checks that every event must pass."""

from typing import Any, TypeVar

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent

MAX_EVENT_BYTES = 65_536


MAX_DEPTH = 32


MAX_TIMESTAMP_MS = 8_640_000_000_000_000
"""The last moment that a JavaScript Date can hold (ECMA-262, 21.4.1.1); further out the page would not take the board."""


Json = msgspec.Raw | msgspec.UnsetType
"""A part of an event that is kept as its JSON text, since nobody on the way looks inside; UNSET where there is none."""


Timestamp = msgspec.Meta(ge=-MAX_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)


T = TypeVar("T")


_anything = msgspec.json.Decoder(Any)


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
        raise InvalidEvent(
            "too-deep", f"an event nests at most {MAX_DEPTH} deep, itself included"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent("malformed", str(error)) from error


def check_size(data: bytes, max_bytes: int) -> None:
    """Raise InvalidEvent for what is larger than an event may be."""
    if len(data) > max_bytes:
        raise InvalidEvent(
            "too-large", f"an event is at most {max_bytes} bytes, this one has {len(data)}"
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
