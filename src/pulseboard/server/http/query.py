"""What a request asks for, read from its path and query: each mistake is one problem with a stable code."""

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pulseboard.bus.history.reader import TimeRange
from pulseboard.server.http.problems import Problem
from pulseboard.wire.codec import MAX_TIMESTAMP_MS
from pulseboard.wire.errors import BusUnavailable, InvalidEvent, InvalidName
from pulseboard.wire.events.log import LEVELS, LogFilter, parse_level
from pulseboard.wire.events.metric import check_metric_name
from pulseboard.wire.names import check_service_name

T = TypeVar("T")

_MS = re.compile(r"\d{1,16}", re.ASCII)


def check_parameters(
    given: Sequence[str], known: Collection[str], *, lists: Collection[str] = ()
) -> None:
    """Raise a Problem for a parameter that nobody looks at, or for one that is given twice and is no list.

    A filter with a slip in its name would filter nothing, and say nothing.
    """
    for name in given:
        if name not in known:
            takes = f"only {', '.join(f'`{each}`' for each in known)}" if known else "none"
            detail = f"There is no parameter {name[:40]!a} here: it takes {takes}."
            raise Problem(400, "bad-parameter", detail, parameter=name[:40])
        if name not in lists and given.count(name) > 1:
            raise Problem(
                400, "bad-parameter", f"`{name}` is given more than once.", parameter=name
            )


def parse_service(name: str) -> str:
    """Return a service's name; raise a Problem for what can be none."""
    try:
        return check_service_name(name)
    except InvalidName as error:
        raise Problem(400, "bad-name", f"{error}.") from error


def parse_metric(name: str) -> str:
    """Return a metric's name; raise a Problem for what can be none."""
    try:
        return check_metric_name(name)
    except InvalidName as error:
        raise Problem(400, "bad-metric", f"{error}.") from error


def parse_moment(name: str, text: str) -> int:
    """Return a time in ms since the epoch, given like that or by ISO 8601; raise a Problem for anything else.

    A time without an offset is UTC.
    """
    try:
        ms = int(text) if _MS.fullmatch(text) else _from_iso(text)
    except ValueError:
        ms = -1
    if not 0 <= ms <= MAX_TIMESTAMP_MS:
        raise Problem(
            400,
            "bad-time",
            f"`{name}` is a time: ms since the epoch, or like 2026-11-25T03:00:00Z (with + as %2B); not {text[:40]!r}.",
        )
    return ms


def parse_span(start: str | None, end: str | None) -> TimeRange:
    """Return the span between `from` and `to`; raise a Problem for times that are none, or an end before the start."""
    start_ms = None if start is None else parse_moment("from", start)
    end_ms = None if end is None else parse_moment("to", end)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise Problem(400, "bad-time", "`to` is before `from`.")
    return TimeRange(start_ms, end_ms)


def parse_place(text: str | None, parse: Callable[[str], T]) -> T | None:
    """Return the id that is given as `before`, None where there is none; raise a Problem for what is no id."""
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise Problem(400, "bad-cursor", f"{error}.") from error


def parse_lines(level: str | None, contains: str | None) -> LogFilter:
    """Return which lines of logs are asked for; raise a Problem for a level that is none."""
    try:
        return LogFilter(parse_level(level) if level else LEVELS[0], contains or "")
    except InvalidEvent as error:
        raise Problem(400, "bad-level", f"{error}.") from error


@contextmanager
def bus_errors_as_problems() -> Iterator[None]:
    """Raise a Problem for a question that Redis cannot be asked."""
    try:
        yield
    except BusUnavailable as error:
        raise Problem(
            503,
            "redis-unavailable",
            f"Redis cannot be reached: {error}",
            headers=[(b"retry-after", b"2")],
        ) from error


def _from_iso(text: str) -> int:
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)
