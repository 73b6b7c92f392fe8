"""The signals that end the process, heard before whoever else handles them: a server that waits for its streams to end
(uvicorn #2829) gets no other sign of its end that an application could see.

Invariant: every handler that was there is still called, and is back in its place afterwards.
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
    loop = asyncio.get_running_loop()
    replaced = []
    for number in _STOP_SIGNALS:
        previous = signal.getsignal(number)
        if callable(previous):
            ours = _chain(loop, on_stop, previous)
            signal.signal(number, ours)
            replaced.append((number, ours, previous))
    try:
        yield
    finally:
        _restore(replaced)


def _chain(loop: asyncio.AbstractEventLoop, on_stop: Callable[[], None], previous: Handler) -> Handler:
    # What a loop's own add_signal_handler calls is told by its wakeup descriptor, which stays as it is.
    def handle(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(on_stop)
        previous(number, frame)

    return handle


def _restore(replaced: list[tuple[signal.Signals, Handler, Handler]]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return
    for number, ours, previous in replaced:
        # Whoever set another since calls ours, if anything, and will put it back.
        if signal.getsignal(number) is ours:
            signal.signal(number, previous)
