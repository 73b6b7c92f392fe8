"""Calls a function when a signal stops the process, before the previous signal handler runs.

A server that waits for its streams to end (uvicorn #2829) gives an application no other sign of its
shutdown.

Invariant: our handler calls the previous handler, and installs it again on removal unless a later
handler is current.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def call_on_stop(on_stop: Callable[[], None]) -> Iterator[None]:
    """Call `on_stop` in the running event loop at SIGINT and SIGTERM.

    Does nothing outside the main thread. A signal without a Python handler is not changed: it
    ends the process at once, or is ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [
        (number, previous)
        for number in _STOP_SIGNALS
        if callable(previous := signal.getsignal(number))
    ]
    handlers = [_ChainedHandler(number, on_stop, previous) for number, previous in handled]
    try:
        yield
    finally:
        for handler in handlers:
            handler.remove()


class _ChainedHandler:
    """Our handler of one signal: it calls `on_stop`, and then the previous handler."""

    def __init__(
        self, number: signal.Signals, on_stop: Callable[[], None], previous: Handler
    ) -> None:
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._on_stop: Callable[[], None] | None = on_stop
        self._previous = previous
        signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # A handler of `loop.add_signal_handler` still runs: it uses the wakeup descriptor of the
        # loop, which stays as it is.
        if self._on_stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_stop)
        self._previous(number, frame)

    def remove(self) -> None:
        self._on_stop = None
        # A handler that was installed after ours may call ours, and will install it again when it
        # is removed. So only the current handler can be replaced.
        current: object = signal.getsignal(self._number)
        if current is self and threading.current_thread() is threading.main_thread():
            signal.signal(self._number, self._previous)
