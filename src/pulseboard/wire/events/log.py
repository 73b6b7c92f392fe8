"""Log lines as they travel: one on `service:logs`, a batch of one instance in the feed."""

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
    is_stamped,
    json_of,
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
"""The levels of Python's `logging`, the least first."""

LogLevel = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(LEVELS)})]

_OTHER_NAMES = {
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
    """One line. `timestamp` is ms by the clock of whoever logged it, 0 where it did not say; `fields` the JSON of an object."""

    level: LogLevel
    message: str
    timestamp: PublisherTimeMs = 0
    logger: str = ""
    fields: JsonObject | msgspec.UnsetType = msgspec.UNSET
    traceback: str = ""


class LinePlace(NamedTuple):
    """Which line: the entry that it came in, and its number there. In order, as the lines are."""

    cursor: Cursor
    number: int

    @classmethod
    def parse(cls, text: str) -> "LinePlace":
        """Parse `<ms>-<seq>.<number>`; raise ValueError for anything else."""
        id, _, number = text.partition(".")
        if not (number.isascii() and number.isdigit() and len(number) <= 6):
            raise ValueError(
                f"{text[:60]!r} is no id of a log line: it looks like 1763890000123-0.5"
            )
        return cls(Cursor.parse(id), int(number))

    def __str__(self) -> str:
        return f"{self.cursor}.{self.number}"


class LineView(LogLine, frozen=True, kw_only=True):
    """One line of a log, with the id by which readers know it; `timestamp` is when it came, where nobody said.

    `dropped` is how many lines of its instance were lost before it; live it is the frame that tells.
    """

    id: LineId
    timestamp: PublisherTimeMs
    dropped: Annotated[int, msgspec.Meta(ge=0)] = 0


class LogEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some lines of one instance, in order. `dropped` is how many were lost before these, since there were too many."""

    service: ServiceName
    lines: list[LogLine]
    instance: InstanceName = ""
    dropped: Annotated[int, msgspec.Meta(ge=0)] = 0


class PublishedLine(msgspec.Struct, frozen=True):
    """The payload on `service:logs`. Members besides these become `fields` of the line.

    `level` is accepted in any case and by the names of any usual library. `parse_log_message` reads
    the payload as a dict, since it keeps the unknown members.
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
    """Which lines are wanted: of this level and above, with this text in message, logger, fields or traceback (any case)."""

    level: str = LEVELS[0]
    contains: str = ""

    def takes(self, line: LogLine) -> bool:
        if LEVELS.index(line.level) < LEVELS.index(self.level):
            return False
        wanted = self.contains.lower()
        if not wanted:
            return True
        texts = (line.message, line.logger, line.traceback, json_of(line.fields).decode())
        return any(wanted in text.lower() for text in texts)


_events = msgspec.json.Decoder(LogEvent)
_messages = msgspec.json.Decoder(dict[str, Any])


def parse_level(name: str) -> str:
    """Return the level that is meant by a name, in whatever case and by whatever library; raise InvalidEvent for none."""
    level = name.lower()
    level = _OTHER_NAMES.get(level, level)
    if level not in LEVELS:
        raise InvalidEvent(
            "wrong-type", f"a level is one of {', '.join(LEVELS)}, not {name[:40]!r}"
        )
    return level


def parse_log_message(payload: bytes, *, max_bytes: int = MAX_EVENT_BYTES) -> LogEvent | None:
    """Check one message on `service:logs`; return it as an event of one line, or None when it is in the feed already.

    Members besides the known ones become `fields`. Raises InvalidEvent with the reason for which it must be dropped.
    """
    check_size(payload, max_bytes)
    message = decode(_messages, payload)
    check_depth(message)
    if is_stamped(message.pop("id", None), of_line=True):
        return None
    service, instance = _text(message, "service"), _text(message, "instance", "")
    fields = message.pop("fields", None)
    timestamp = message.pop("timestamp", 0)
    if (
        isinstance(timestamp, bool)
        or not isinstance(timestamp, int | float)
        or not abs(timestamp) <= MAX_TIMESTAMP_MS
    ):
        raise InvalidEvent("wrong-type", "a timestamp is a number of ms since the epoch")
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
    """Read one feed entry of this kind; raise InvalidEvent with the reason when it is none."""
    check_size(
        data, max_bytes + 1_024
    )  # what all lines share, and their number, is not the publisher's
    event = decode(_events, data)
    check_service_name(event.service)
    check_instance_name(event.instance)
    for line in event.lines:
        if line.level not in LEVELS:
            raise InvalidEvent("wrong-type", f"a level is one of {', '.join(LEVELS)}")
        if line.fields is not msgspec.UNSET:
            check_raw_object(json_of(line.fields))
    return event


def view_line(line: LogLine, place: LinePlace, dropped: int = 0) -> LineView:
    """Return one line as readers get it, live and from history, where `dropped` lines were lost before it."""
    return LineView(
        level=line.level,
        message=line.message,
        timestamp=line.timestamp or place.cursor.ms,
        logger=line.logger,
        fields=line.fields,
        traceback=line.traceback,
        id=str(place),
        dropped=dropped,
    )


def cut_text(text: str, most: int, *, keep_end: bool = False, unseen: int = 0) -> str:
    """Return at most `most` characters of a text, saying how many are left out, the `unseen` that are not in it included."""
    if len(text) <= most and not unseen:
        return text
    said = f"({max(0, len(text) - most) + unseen} characters left out)"
    return f"{said} … {text[-most:]}" if keep_end else f"{text[:most]} … {said}"


def count_levels(lines: list[LogLine]) -> str:
    """Return how many lines there are of which level, as the scripts take it: `info=3 error=1`."""
    counts = {level: sum(line.level == level for line in lines) for level in LEVELS}
    return " ".join(f"{level}={count}" for level, count in counts.items() if count)


def _text(message: dict[str, Any], name: str, default: str | None = None) -> str:
    value = message.pop(name, default)
    if not isinstance(value, str):
        raise InvalidEvent(
            "wrong-type",
            f"`{name}` is a text" if value is not None else f"a log line has a `{name}`",
        )
    return value
