"""The handler for `logging`: what the host logs goes to the board as well; structlog and loguru go through it, too."""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.status_encoding import text_of

Write = Callable[[str, str, str, dict[str, Any], str], None]
"""Takes level, message, logger, fields, traceback."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else came by `extra=`."""
_OURS = "pulseboard"

_formatter = logging.Formatter()


def name_level(number: int) -> str:
    """Return the level of the wire that is meant by a number of `logging`; one between two is the lower."""
    if number >= logging.CRITICAL:
        return "critical"
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


class ServiceLogHandler(logging.Handler):
    """Hands each record to a service, but none of Pulseboard's own. It takes no lock, never blocks and never raises."""

    def __init__(
        self, write: Write, guard: InternalErrors, level: int | str = logging.NOTSET
    ) -> None:
        super().__init__(level)
        self._write = write
        self._guard = guard
        self._busy = threading.local()

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """Have none: writing is one step, and a signal handler may log in the middle of it."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit what no filter holds back, without the steps around a lock that there is not."""
        if self.filters:
            return super().handle(record)
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on, with its traceback and what came by `extra=`."""
        name, busy = record.name, self._busy
        if getattr(busy, "now", False) or (
            name.startswith(_OURS) and name.partition(".")[0] == _OURS
        ):
            return
        # A __str__ or a __repr__ of the host's that logs would come back here.
        busy.now = True
        try:
            self._hand_on(record)
        except Exception as error:
            if not self._guard.swallow(error):
                raise
        finally:
            busy.now = False

    def _hand_on(self, record: logging.LogRecord) -> None:
        members, event = record.__dict__, record.msg
        fields, traceback = _NONE, ""
        if len(members) > _USUAL:
            fields = {name: members[name] for name in members.keys() - _STANDARD}
            # loguru says there what was bound or given by name.
            if type(more := fields.get("extra")) is dict:
                del fields["extra"]
                fields |= more
        if type(event) is dict and "event" in event:
            message, fields, traceback = _read_structlog(event)
        else:
            message = _say(record)
            if record.exc_info:
                traceback = _show_error(record.exc_info, record.exc_text)
        if record.stack_info:
            traceback = f"{traceback}\n{record.stack_info}".strip()
        level = _LEVELS.get(record.levelno) or name_level(record.levelno)
        self._write(level, message, record.name, fields, traceback)


def _say(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    # The host's mistake, of which `logging` itself makes no more than a line on stderr.
    except Exception as error:  # noqa: BLE001
        return f"{text_of(record.msg)} (its arguments do not fit: {text_of(error)})"


def _show_error(error: Any, shown: str | None = None) -> str:
    """Return the traceback of what `exc_info` may be, or what a formatter has made of it already; "" where there is none."""
    if not error:
        return ""
    if shown and not shown.isspace():  # loguru leaves a line's end there
        return shown
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return _formatter.formatException(error) if error[0] else ""


def _read_structlog(event: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Return message, fields and traceback of the event that structlog hands to its ProcessorFormatter."""
    fields = {name: value for name, value in event.items() if name not in _STRUCTLOG}
    return (
        str(event["event"]),
        fields,
        str(event.get("exception") or "") or _show_error(event.get("exc_info")),
    )


_NONE: dict[str, Any] = {}
_LEVELS = {number: name_level(number) for number in (10, 20, 30, 40, 50)}
_USUAL = len(vars(logging.makeLogRecord({})))
_STRUCTLOG = frozenset(
    {"event", "exception", "exc_info", "stack_info", "level", "logger", "timestamp"}
)
"""What stands in a place of its own in a line, or is known already."""
