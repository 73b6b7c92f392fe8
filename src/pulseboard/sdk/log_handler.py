"""The handler for `logging`: what the host logs goes to the board as well; structlog and loguru go through it, too."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pulseboard.sdk.guard import Guard

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

    def __init__(self, write: Write, guard: Guard, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self._write = write
        self._guard = guard
        self._busy = threading.local()

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """Have none: writing is one step, and a signal handler may log in the middle of it."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on, with its traceback and what came by `extra=`."""
        if record.name == _OURS or record.name.startswith(f"{_OURS}.") or getattr(self._busy, "now", False):
            return
        # A __str__ or a __repr__ of the host's that logs would come back here.
        self._busy.now = True
        try:
            with self._guard:
                self._hand_on(record)
        finally:
            self._busy.now = False

    def _hand_on(self, record: logging.LogRecord) -> None:
        members = record.__dict__
        fields = {name: members[name] for name in members.keys() - _STANDARD} if len(members) > _USUAL else {}
        traceback = ""
        if record.exc_info:
            traceback = record.exc_text or _formatter.formatException(record.exc_info)
        if record.stack_info:
            traceback = f"{traceback}\n{record.stack_info}".strip()
        try:
            message = record.getMessage()
        # The host's mistake, of which `logging` itself makes no more than a line on stderr.
        except Exception as error:  # noqa: BLE001
            message = f"{record.msg!s} (its arguments do not fit: {error})"
        self._write(name_level(record.levelno), message, record.name, fields, traceback)


_USUAL = len(vars(logging.makeLogRecord({})))
