"""Log events: one line in a message on `service:logs`, a batch of lines in a feed entry."""

from typing import Annotated, Any, NamedTuple

import msgspec

from pulseboard.wire.codec import (
    MAX_EVENT_BYTES,
    MAX_TIMESTAMP_MS,
    check_depth,
    check_raw_object,
    check_size,
    decode,
    encode,
    is_feed_id,
    json_text,
)
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.field_types import (
    AnyTimeMs,
    InstanceName,
    JsonObject,
    LineId,
    PublisherTimeMs,
    ServiceName,
)
from pulseboard.wire.names import check_instance_name, check_service_name

LEVELS = ("debug", "info", "warning", "error", "critical")
"""The levels of Python's `logging`, the least severe first."""

MAX_SHARED_BYTES = 1_024
"""Space for the members that the lines of a feed entry share, and its `dropped`.

The publisher did not send them.
"""

LogLevel = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LEVELS)})]

_ALIASES = {
    "trace": "debug",
    "notset": "debug",
    "notice": "info",
    "log": "info",
    "success": "info",
    "warn": "warning",
    "err": "error",
    "fatal": "critical",
    "crit": "critical",
    "panic": "critical",
    "emergency": "critical",
    "alert": "critical",
}


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One log line.

    `timestamp` is in ms by the clock of its publisher, 0 when it has none. `fields` is the JSON
    text of an object.
    """

    level: LogLevel
    message: str
    timestamp: PublisherTimeMs = 0
    logger: str = ""
    fields: JsonObject | msgspec.UnsetType = msgspec.UNSET
    traceback: str = ""


class LinePosition(NamedTuple):
    """The position of a log line: its feed entry and its number there.

    Positions have the order of the lines.
    """

    cursor: Cursor
    number: int

    @classmethod
    def parse(cls, text: str) -> "LinePosition":
        """Parse `<ms>-<seq>.<number>`; raise ValueError for anything else."""
        id, _, number = text.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) <= 6):
            raise ValueError(
                f"{text[:60]!r} is not the id of a log line; one looks like 1763890000123-0.5"
            )
        return cls(Cursor.parse(id), int(number))

    def __str__(self) -> str:
        return f"{self.cursor}.{self.number}"


class LineView(LogLine, frozen=True, kw_only=True):
    """A log line with its id, as clients get it.

    A line without a `timestamp` gets the time at which it arrived. `dropped` is the number of lines
    of its instance that were dropped before it, in history; on the event stream the frame has that
    number instead.
    """

    id: LineId
    timestamp: PublisherTimeMs
    dropped: Annotated[int, msgspec.Meta(ge=0)] = 0


class LogEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A batch of lines of one instance, in order.

    `dropped` is the number of lines that the instance dropped before these because there were too
    many.
    """

    service: ServiceName
    lines: list[LogLine]
    instance: InstanceName = ""
    dropped: Annotated[int, msgspec.Meta(ge=0)] = 0


class PublishedLine(msgspec.Struct, frozen=True):
    """The payload on `service:logs`. Members besides these become `fields` of the line.

    `level` is accepted in any case and by the names of any usual library. `parse_external_log`
    reads the payload as a dict, since it keeps the unknown members.
    """

    service: ServiceName
    message: str
    level: str = "info"
    timestamp: AnyTimeMs = 0
    instance: InstanceName = ""
    logger: str = ""
    traceback: str = ""
    id: Annotated[
        Any, msgspec.Meta(description="With the id of a line, it is in the feed already.")
    ] = None


class LogFilter(NamedTuple):
    """A filter by least level, and by text in message, logger, fields or traceback."""

    level: str = LEVELS[0]
    contains: str = ""

    def matches(self, line: LogLine) -> bool:
        """Return whether a line passes the filter."""
        if LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        text = self.contains.lower()
        if not text:
            return True
        parts = (line.message, line.logger, line.traceback, json_text(line.fields).decode())
        return any(text in part.lower() for part in parts)


_events = msgspec.json.Decoder(LogEvent)
_messages = msgspec.json.Decoder(dict[str, Any])


def parse_level(name: str) -> str:
    """Return the level for a name in any case, from any known library.

    Raise InvalidEvent for another name.
    """
    level = name.lower()
    level = _ALIASES.get(level, level)
    if level not in LEVELS:
        raise InvalidEvent(
            "wrong-type", f"a level must be one of {', '.join(LEVELS)}, not {name[:40]!r}"
        )
    return level


def parse_external_log(payload: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> LogEvent | None:
    """Parse an external message on `service:logs`.

    Return an event of one line, or None when it came from the feed.

    Members other than the known ones become `fields`. Raises InvalidEvent with the reason for which
    it must be dropped.
    """
    check_size(payload, max_bytes)
    message = decode(_messages, payload)
    check_depth(message)
    if is_feed_id(message.pop("id", None), of_line=True):
        return None
    service, instance = _text(message, "service"), _text(message, "instance", "")
    fields = message.pop("fields", None)
    timestamp = message.pop("timestamp", 0)
    if (
        isinstance(timestamp, bool)
        or not isinstance(timestamp, int | float)
        or not abs(timestamp) <= MAX_TIMESTAMP_MS
    ):
        raise InvalidEvent("wrong-type", "a timestamp must be a number of ms since the epoch")
    level = parse_level(_text(message, "level", "info"))
    text, logger, trace = (
        _text(message, name, default)
        for name, default in (("message", None), ("logger", ""), ("traceback", ""))
    )
    more = message | (
        fields if isinstance(fields, dict) else {} if fields is None else {"fields": fields}
    )
    line = LogLine(
        level,
        text,
        int(timestamp),
        logger,
        msgspec.Raw(encode(more)) if more else msgspec.UNSET,
        trace,
    )
    return LogEvent(check_service_name(service), [line], check_instance_name(instance))


def parse_log_event(data: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> LogEvent:
    """Parse a feed entry of this kind; raise InvalidEvent with the reason when it is invalid."""
    check_size(data, max_bytes + MAX_SHARED_BYTES)
    event = decode(_events, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    for line in event.lines:
        if line.level not in LEVELS:
            raise InvalidEvent("wrong-type", f"a level must be one of {', '.join(LEVELS)}")
        if line.fields is not msgspec.UNSET:
            check_raw_object(json_text(line.fields))
    return event


def view_line(line: LogLine, position: LinePosition, dropped: int = 0) -> LineView:
    """Return one line as clients get it, live and from history.

    `dropped` lines are missing before it.
    """
    return LineView(
        level=line.level,
        message=line.message,
        timestamp=line.timestamp or position.cursor.ms,
        logger=line.logger,
        fields=line.fields,
        traceback=line.traceback,
        id=str(position),
        dropped=dropped,
    )


def shorten_text(text: str, most: int, *, keep_end: bool = False, unseen: int = 0) -> str:
    """Shorten a text to `most` characters, with a note of the number left out.

    `unseen` characters were left out before and are not part of `text`; the note counts them too.
    """
    if len(text) <= most and not unseen:
        return text
    note = f"({max(0, len(text) - most) + unseen} characters left out)"
    return f"{note} … {text[-most:]}" if keep_end else f"{text[:most]} … {note}"


def count_levels(lines: list[LogLine]) -> str:
    """Return the number of lines of each level, in the format of the scripts: `info=3 error=1`."""
    counts = {level: sum(line.level == level for line in lines) for level in LEVELS}
    return " ".join(f"{level}={count}" for level, count in counts.items() if count)


def _text(message: dict[str, Any], name: str, default: str | None = None) -> str:
    value = message.pop(name, default)
    if not isinstance(value, str):
        raise InvalidEvent(
            "wrong-type",
            f"`{name}` must be a string" if value is not None else f"a log line needs a `{name}`",
        )
    return value
