"""The handler for `logging` that sends the log of the host application to the board.

structlog and loguru work through it as well.
"""

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from pulseboard.sdk.internal_errors import InternalErrors
from pulseboard.sdk.status_encoding import text_of

Write = Callable[[str, str, str, dict[str, Any], str], None]
"""Accepts level, message, logger, fields and traceback."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""The attributes of every record; any other attribute comes from `extra=`."""
_OWN_LOGGER = "pulseboard"

_formatter = logging.Formatter()


def name_level(number: int) -> str:
    """Return the level name of a number of `logging`; between two levels, that of the lower."""
    if number >= logging.CRITICAL:
        return "critical"
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


class ServiceLogHandler(logging.Handler):
    """Passes each record to a service, except Pulseboard's own records.

    It takes no lock, never blocks and never raises.
    """

    def __init__(
        self, write: Write, errors: InternalErrors, level: int | str = logging.NOTSET
    ) -> None:
        super().__init__(level)
        self._write = write
        self._errors = errors
        self._thread = threading.local()

    def createLock(self) -> None:  # noqa: N802 - the name is that of `logging`
        """Create no lock: a signal handler may log in the middle of `emit`, and would deadlock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Emit a record that passes the filters, without the steps around the missing lock."""
        if self.filters:
            return super().handle(record)
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with its traceback and the fields of `extra=`."""
        name, thread = record.name, self._thread
        if getattr(thread, "is_emitting", False) or (
            name.startswith(_OWN_LOGGER) and name.partition(".")[0] == _OWN_LOGGER
        ):
            return
        # A __str__ or __repr__ of the host application that logs would call this method again,
        # without end.
        thread.is_emitting = True
        try:
            self._write_record(record)
        except Exception as error:
            if not self._errors.swallow(error):
                raise
        finally:
            thread.is_emitting = False

    def _write_record(self, record: logging.LogRecord) -> None:
        attributes, event = record.__dict__, record.msg
        fields, traceback = _NO_FIELDS, ""
        if len(attributes) > _STANDARD_COUNT:
            fields = {name: attributes[name] for name in attributes.keys() - _STANDARD}
            # loguru puts bound values and keyword arguments into a dict named `extra`.
            if type(more := fields.get("extra")) is dict:
                del fields["extra"]
                fields |= more
        if type(event) is dict and "event" in event:
            message, fields, traceback = _read_structlog(event)
        else:
            message = _format_message(record)
            if record.exc_info:
                traceback = _format_error(record.exc_info, record.exc_text)
        if record.stack_info:
            traceback = f"{traceback}\n{record.stack_info}".strip()
        level = _LEVELS.get(record.levelno) or name_level(record.levelno)
        self._write(level, message, record.name, fields, traceback)


def _format_message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    # A mistake in the host application, for which `logging` itself only prints to stderr.
    except Exception as error:  # noqa: BLE001
        return f"{text_of(record.msg)} (its arguments do not fit: {text_of(error)})"


def _format_error(error: Any, formatted: str | None = None) -> str:
    """Return the traceback of an `exc_info`; "" if there is no exception.

    `formatted` is the text that a formatter has already made of it, if any.
    """
    if not error:
        return ""
    if formatted and not formatted.isspace():  # loguru leaves only a newline there
        return formatted
    if isinstance(error, BaseException):
        error = (type(error), error, error.__traceback__)
    elif not isinstance(error, tuple):
        error = sys.exc_info()
    return _formatter.formatException(error) if error[0] else ""


def _read_structlog(event: dict[str, Any]) -> tuple[str, dict[str, Any], str]:
    """Return message, fields and traceback of an event dict of structlog's ProcessorFormatter."""
    fields = {name: value for name, value in event.items() if name not in _STRUCTLOG}
    traceback = str(event.get("exception") or "") or _format_error(event.get("exc_info"))
    return str(event["event"]), fields, traceback


_NO_FIELDS: dict[str, Any] = {}
_LEVELS = {number: name_level(number) for number in (10, 20, 30, 40, 50)}
_STANDARD_COUNT = len(vars(logging.makeLogRecord({})))
_STRUCTLOG = frozenset(
    {"event", "exception", "exc_info", "stack_info", "level", "logger", "timestamp"}
)
"""Keys of a structlog event that have a place of their own in a log line, or are redundant."""
