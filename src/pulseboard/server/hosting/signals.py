"""The signals that end the process, heard before whoever else handles them: a server that waits for its streams to end
(uvicorn #2829) gets no other sign of its end that an application could see.

Invariant: every handler that was there is still called, and is back in its place when all of ours are gone from before it.
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
    """Have `on_stop` called in the running event loop at SIGINT and SIGTERM; off the main thread this does nothing.

    A signal that nobody handles in Python is left as it is: it ends the process at once, or never.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [
        (number, previous)
        for number in _STOP_SIGNALS
        if callable(previous := signal.getsignal(number))
    ]
    links = [_Link(number, on_stop, previous) for number, previous in handled]
    try:
        yield
    finally:
        for link in links:
            link.remove()


class _Link:
    """Our handler of one signal: it tells us, and then whoever stood there before."""

    def __init__(
        self, number: signal.Signals, on_stop: Callable[[], None], previous: Handler
    ) -> None:
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._on_stop: Callable[[], None] | None = on_stop
        self._previous = previous
        signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        # What a loop's add_signal_handler was given is called through the loop's wakeup descriptor, which is as it was.
        if self._on_stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_stop)
        self._previous(number, frame)

    def remove(self) -> None:
        self._on_stop = None
        # Whoever stands there since may call us for what was there before, and puts us back when it goes.
        standing: object = signal.getsignal(self._number)
        if standing is self and threading.current_thread() is threading.main_thread():
            signal.signal(self._number, self._previous)
