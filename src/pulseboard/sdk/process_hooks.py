"""The process that services live in: how it forks and how it ends. Its exit and its SIGTERM say goodbye for all of them.

Invariant: a process ends as it would have without us, and at most 2 s later.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from itertools import count
from types import FrameType
from typing import Any, Protocol

STOP_TIMEOUT_S = 1.8
"""Of the 2 s that an end may take, what is left is for the threads to see it."""

log = logging.getLogger("pulseboard.service")


class Leaving(Protocol):
    """What is being waited for: somebody on the way out."""

    def join(self, timeout_s: float) -> None:
        """Wait for the end; give up after `timeout_s`."""


class Guest(Protocol):
    """What a process has living in it, one for each service."""

    def dismiss(self) -> Leaving | None:
        """Begin to stop, and return what is to be waited for."""

    def note_fork(self) -> None:
        """Let go of what is the parent's: this is a forked child."""


_guests: "weakref.WeakValueDictionary[tuple[str, bool, int], Guest]" = weakref.WeakValueDictionary()
"""Every service there is, by its name, whether its instance was named, and its number among those."""
_naming = threading.RLock()
_forked = False
_finalized = False
"""Whether this process is a forked child, and whether its finalizers say goodbye already."""
_main = threading.main_thread()
_began_in_thread = False
"""Whether this process began as a copy of a thread that was not the main one."""


def receive(guest: Guest, name: str, *, named: bool) -> int:
    """Let a guest take part in the forks and the end of this process, for as long as it lives; return its number."""
    with _naming:
        # The lowest number that is free, not one more each time: a host that makes a service for each of its jobs would
        # fill the board with instances that ended.
        number = next(number for number in count(1) if (name, named, number) not in _guests)
        _guests[name, named, number] = guest
        return number


def stop(guests: Iterable[Guest]) -> None:
    """Stop guests, all at once, and wait until they are gone, or for as long as an end may take."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for leaving in [leaving for guest in guests if (leaving := guest.dismiss()) is not None]:
        leaving.join(max(0.0, deadline - time.monotonic()))


def stop_all(**_: Any) -> None:
    """Stop every guest. Takes whatever a signal of Celery brings along."""
    stop(_all_guests())


def began_in_thread() -> bool:
    """Say whether this is a child that was forked in a thread: it runs no exit hooks, and ends with its last thread."""
    return _began_in_thread


def is_left_alone() -> bool:
    """Say whether what this process began with has ended, and only threads are left that should not keep it."""
    if not _began_in_thread or threading.main_thread().is_alive():
        return False
    return all(thread.daemon for thread in threading.enumerate())


def watch_the_end(*, sigterm: bool) -> None:
    """Say goodbye also where this process would end without its exit hooks: by SIGTERM, and as a child of a pool."""
    _hook_into_multiprocessing()
    _hook_into_celery()
    # Only where nobody else has the signal; and SIGINT never, since its handler is Python's own, whose exit is an exit.
    if sigterm and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # off the main thread nobody can
            signal.signal(signal.SIGTERM, _end_by_sigterm)


def _end_by_sigterm(number: int, _: FrameType | None) -> None:
    # Back first, so that a second signal ends this process at once, and whatever goes wrong here, the first one does too.
    signal.signal(number, signal.SIG_DFL)
    try:
        stop_all()
    finally:
        os.kill(os.getpid(), number)
        # Still here: the kernel spares the first process of a container whatever it does not handle (pid_namespaces(7)),
        # and who stops the container would wait in vain. So it ends as under an init that passes signals on.
        os._exit(128 + number)


def _all_guests() -> list[Guest]:
    # valuerefs() copies in one step; to iterate would fail while another thread makes a service.
    return [guest for ref in _guests.valuerefs() if (guest := ref()) is not None]


def _note_fork() -> None:
    global _naming, _forked, _finalized, _main, _began_in_thread  # noqa: PLW0603
    _naming, _forked, _finalized = threading.RLock(), True, False
    # The thread that forked is the child's main thread by now; what it is a copy of was the main thread's, or was not.
    _main, before = threading.main_thread(), _main
    _began_in_thread = _began_in_thread or _main is not before
    # Also those that do not run: one that is made before the fork and started after it must not bear the parent's pid.
    for guest in _all_guests():
        guest.note_fork()


def _hook_into_multiprocessing() -> None:
    # A forked child of multiprocessing, or of Celery's own edition of it, ends by os._exit(), past atexit, but runs the
    # finalizers of its own kind. They are cleared when such a child begins, hence to be set in the child itself.
    global _finalized  # noqa: PLW0603
    process, util = (
        sys.modules.get("multiprocessing.process"),
        sys.modules.get("multiprocessing.util"),
    )
    if process is None or util is None or _finalized:
        return
    if _forked or process.parent_process() is not None:
        _finalized = True
        util.Finalize(None, stop_all, exitpriority=0)


def _hook_into_celery() -> None:
    # A child of Celery's pool ends by os._exit() past those finalizers as well; this signal is the last that it hears of it.
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(stop_all, weak=False)


os.register_at_fork(after_in_child=_note_fork)
atexit.register(stop_all)
