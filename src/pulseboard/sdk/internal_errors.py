"""The guard around every call of a host: a bug of ours is swallowed, counted and told once; under pytest it is raised.

What a signal handler of the host raises in the middle of a call, such as a soft time limit, is the host's and passes.
"""

import contextlib
import logging
import os
import signal
from traceback import walk_tb
from types import TracebackType

log = logging.getLogger("pulseboard.service")


class InternalErrors:
    """Wraps calls of one service: `with guard: …`. May be entered by any thread, and again while it is entered."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.errors = 0
        """How many bugs were swallowed."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        return isinstance(error, Exception) and self.swallow(error)

    def swallow(self, error: Exception) -> bool:
        """Count the error, tell the first, and return True; return False when it is to be raised."""
        if is_hosts_own(error):
            return False
        self.errors += 1
        # The host's tests are where a bug shall be seen.
        if "PYTEST_VERSION" in os.environ:
            return False
        if self.errors == 1:
            # The bug may be one of a handler that the host gave to the log.
            with contextlib.suppress(Exception):
                log.error(
                    "service %s: a bug in pulseboard, and it goes on (told once)",
                    self._service,
                    exc_info=error,
                )
        return True


def is_hosts_own(error: BaseException) -> bool:
    """Say whether a signal handler raised this error, in the middle of whatever the main thread was doing."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {
        code for handler in handlers if (code := getattr(handler, "__code__", None)) is not None
    }
    return any(frame.f_code in codes for frame, _ in walk_tb(error.__traceback__))
