"""Parsing of the text in a request's path and query.

Each mistake is a Problem with a stable code.
"""

import datetime as dt
import re
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from pulseboard.bus.history.reader import TimeRange
from pulseboard.server.http.problems import Problem
from pulseboard.wire.codec import MAX_TIMESTAMP_MS
from pulseboard.wire.errors import InvalidEvent, InvalidName
from pulseboard.wire.events.log import LEVELS, LogFilter, parse_level
from pulseboard.wire.events.metric import check_metric_name
from pulseboard.wire.names import check_service_name

T = TypeVar("T")

_MS = re.compile(r"\d{1,16}", re.ASCII)


def check_parameters(
    given: Sequence[str], known: Collection[str], *, lists: Collection[str] = ()
) -> None:
    """Raise a Problem for an unknown parameter, or a repeated one that is not in `lists`.

    A misspelled filter that is ignored would return everything, and the client would not
    notice.
    """
    for name in given:
        if name not in known:
            shown = ", ".join(f"`{each}`" for each in known)
            detail = f"There is no parameter {name[:40]!a} here. " + (
                f"The parameters are {shown}." if known else "There are no parameters."
            )
            raise Problem(400, "bad-parameter", detail, parameter=name[:40])
        if name not in lists and given.count(name) > 1:
            detail = f"`{name}` is given more than once."
            raise Problem(400, "bad-parameter", detail, parameter=name)


def parse_service(name: str) -> str:
    """Return the name of a service; raise a Problem for a name that no service can have."""
    try:
        return check_service_name(name)
    except InvalidName as error:
        raise Problem(400, "bad-name", f"{error}.") from error


def parse_services(text: str | None) -> list[str] | None:
    """Return the service names in a list with commas; None for an absent or empty list.

    Raises a Problem for a name that no service can have.
    """
    if not text:
        return None
    return [parse_service(name) for name in text.split(",") if name]


def parse_metric(name: str) -> str:
    """Return the name of a metric; raise a Problem for a name that no metric can have."""
    try:
        return check_metric_name(name)
    except InvalidName as error:
        raise Problem(400, "bad-metric", f"{error}.") from error


def parse_moment(name: str, text: str) -> int:
    """Return a time in ms since the epoch.

    `text` is such a number, or ISO 8601 (UTC without an offset).

    Raises a Problem with the `name` of the parameter for anything else.
    """
    try:
        ms = int(text) if _MS.fullmatch(text) else _parse_iso(text)
    except ValueError:
        ms = -1
    if not 0 <= ms <= MAX_TIMESTAMP_MS:
        raise Problem(
            400,
            "bad-time",
            f"`{name}` must be a time in ms since the epoch or in ISO 8601, like "
            f"2026-11-25T03:00:00Z (write + as %2B), not {text[:40]!r}.",
        )
    return ms


def parse_time_range(start: str | None, end: str | None) -> TimeRange:
    """Return the range between `from` and `to`.

    Raises a Problem for invalid times, and for an end before the start.
    """
    start_ms = None if start is None else parse_moment("from", start)
    end_ms = None if end is None else parse_moment("to", end)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise Problem(400, "bad-time", "`to` is before `from`.")
    return TimeRange(start_ms, end_ms)


def parse_before(text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return the id in the parameter `before`, None if it is absent.

    Raises a Problem for an invalid id.
    """
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise Problem(400, "bad-cursor", f"{error}.") from error


def parse_log_filter(level: str | None, contains: str | None) -> LogFilter:
    """Return the filter for log lines; raise a Problem for an unknown level."""
    try:
        return LogFilter(parse_level(level) if level else LEVELS[0], contains or "")
    except InvalidEvent as error:
        raise Problem(400, "bad-level", f"{error}.") from error


def _parse_iso(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)
