"""Encode and decode the JSON that travels, and check the limits that every event must respect."""

from typing import Any, TypeVar

import msgspec

from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent

MAX_EVENT_BYTES = 65_536
MAX_STAMP_BYTES = 64
"""Space for the `id` member that a Redis script appends to an event.

It does not count as the publisher's.
"""
MAX_DEPTH = 32
MAX_TIMESTAMP_MS = 8_640_000_000_000_000
"""The last moment that a JavaScript Date can hold (ECMA-262, 21.4.1.1).

The page would reject a board with a later timestamp.
"""

Json = msgspec.Raw | msgspec.UnsetType
"""A part of an event that stays JSON text, because no code on its way reads it.

UNSET: the part is absent.
"""
Timestamp = msgspec.Meta(ge=-MAX_TIMESTAMP_MS, le=MAX_TIMESTAMP_MS)
T = TypeVar("T")

_TOO_DEEP = f"an event can be nested at most {MAX_DEPTH} levels deep, including the event itself"
_any = msgspec.json.Decoder(Any)


def encode(value: Any) -> bytes:
    """Return the compact JSON of a value.

    NaN and infinity become null, because JSON has neither (RFC 8259).
    """
    return msgspec.json.encode(value)


def encode_event(event: msgspec.Struct, *, max_bytes: int = MAX_EVENT_BYTES) -> bytes:
    """Return the compact JSON of an event; raise InvalidEvent when it exceeds `max_bytes`."""
    data = encode(event)
    check_size(data, max_bytes)
    return data


def decode(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    """Decode JSON; raise InvalidEvent with the reason when the payload does not fit the decoder."""
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise InvalidEvent("wrong-type", str(error)) from error
    except RecursionError as error:
        raise InvalidEvent("too-deep", _TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent("malformed", str(error)) from error


def json_text(part: Json) -> bytes:
    """Return the JSON text of a part of an event; empty when the part is absent."""
    return bytes(part) if isinstance(part, msgspec.Raw) else b""


def check_size(data: bytes, max_bytes: int) -> None:
    """Raise InvalidEvent for data that is larger than an event may be."""
    if len(data) > max_bytes:
        raise InvalidEvent(
            "too-large", f"an event can have at most {max_bytes} bytes; this one has {len(data)}"
        )


def check_depth(part: Any) -> None:
    """Raise InvalidEvent for a decoded part that makes its event too deeply nested.

    It walks level by level, so deep nesting does not use the Python stack.
    """
    level = [part]
    for _ in range(MAX_DEPTH - 1):  # The event itself is the first level.
        level = [child for parent in level for child in _containers_in(parent)]
        if not level:
            return
    raise InvalidEvent("too-deep", _TOO_DEEP)


def check_raw_object(json: bytes) -> None:
    """Check a part that stays JSON text: a UTF-8 object that is not too deeply nested."""
    # The decoder does not check the strings inside a Raw, nor how deeply it is nested.
    if not json.startswith(b"{"):
        raise InvalidEvent("wrong-type", "this part of the event must be a JSON object")
    if not json.isascii():
        try:
            json.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent("malformed", str(error)) from error
    if may_be_deep(json, levels_around=1):
        check_depth(decode(_any, json))


def may_be_deep(json: bytes, *, levels_around: int) -> bool:
    """Return whether a part of an event needs `check_depth`.

    JSON that is nested n levels deep has at least n opening brackets, so this quick count rules out
    most events.
    """
    return json.count(b"[") + json.count(b"{") + levels_around > MAX_DEPTH


def is_feed_id(id: Any, *, of_line: bool = False) -> bool:
    """Return whether the `id` of a message shows that it is in the feed already.

    With `of_line`, the id of a log line (`<feed id>.<number>`) is one too.
    """
    if not isinstance(id, str):
        return False
    cursor, dot, number = id.partition(".") if of_line else (id, "", "")
    try:
        Cursor.parse(cursor)
    except ValueError:
        return False
    return not dot or (number.isascii() and number.isdigit())


def _containers_in(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list)]
