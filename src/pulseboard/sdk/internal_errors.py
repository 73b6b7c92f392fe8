"""The guard around every SDK call: a bug of Pulseboard never reaches the host application.

The guard swallows the bug, counts it, and logs the first one. Under pytest it raises the bug
instead. An exception that a signal handler of the host application raises in the middle of a call,
such as a soft time limit, belongs to the host application and passes through.
"""

import contextlib
import logging
import os
import signal
from traceback import walk_tb
from types import TracebackType

log = logging.getLogger("pulseboard.service")


class InternalErrors:
    """Guards the calls of one service: `with internal_errors: ...`. Reentrant and thread-safe."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.count = 0
        """How many bugs were swallowed."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self.swallow(error)

    def for_forked_child(self) -> "InternalErrors":
        """Return a guard with a count of its own."""
        return InternalErrors(self._service)

    def swallow(self, error: Exception) -> bool:
        """Count a bug and log the first one; return False if `error` must be raised."""
        if is_from_signal_handler(error):
            return False
        self.count += 1
        # The tests of the host application are where a bug should be visible.
        if "PYTEST_VERSION" in os.environ:
            return False
        if self.count == 1:
            # The bug may be in a log handler of the host application: logging it would raise again.
            with contextlib.suppress(Exception):
                log.error(
                    "service %s: a bug in pulseboard was caught and your program is not affected;"
                    " please report this traceback (logged once)",
                    self._service,
                    exc_info=error,
                )
        return True


def is_from_signal_handler(error: BaseException) -> bool:
    """Return whether a signal handler raised this error while the main thread ran other code."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {
        code for handler in handlers if (code := getattr(handler, "__code__", None)) is not None
    }
    return any(frame.f_code in codes for frame, _ in walk_tb(error.__traceback__))
