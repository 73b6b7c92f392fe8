"""Stops every service of the process when it ends, and resets them in a forked child.

Invariant: the process ends in the same way as without the SDK, and at most 2 seconds later.
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
"""Of the 2 seconds that an end may take, the rest is for the threads to notice it."""

log = logging.getLogger("pulseboard.service")


class Stopping(Protocol):
    """Something that is about to end, such as a sender that sends the last status."""

    def join(self, timeout_s: float) -> None:
        """Wait for the end, for at most `timeout_s`."""


class HookedService(Protocol):
    """What this module needs of a service."""

    def begin_stop(self) -> Stopping | None:
        """Begin a graceful stop, and return the object to wait for; None if nothing runs."""

    def reset_after_fork(self) -> None:
        """Release everything that belongs to the parent: this process is a forked child."""


_services: "weakref.WeakValueDictionary[tuple[str, bool, int], HookedService]" = (
    weakref.WeakValueDictionary()
)
"""Every service, by its name, whether its instance was named, and its number among those."""
_numbering = threading.RLock()
_forked = False
"""Whether this process is a forked child."""
_finalizer_installed = False
"""Whether this process stops its services in a finalizer of multiprocessing."""
_main = threading.main_thread()
_forked_in_thread = False
"""Whether this process was forked by a thread other than the main thread."""


def register(service: HookedService, name: str, *, named: bool) -> int:
    """Hook a service into forks and the end of this process; return its number.

    The hooks do not keep the service alive.
    """
    with _numbering:
        # The lowest free number, not one more each time: a host application that makes a service
        # for each job would fill the board with stopped instances.
        number = next(number for number in count(1) if (name, named, number) not in _services)
        _services[name, named, number] = service
        return number


def stop_services(services: Iterable[HookedService]) -> None:
    """Stop these services at the same time, and wait for at most STOP_TIMEOUT_S."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    stopping = [each for service in services if (each := service.begin_stop()) is not None]
    for each in stopping:
        each.join(max(0.0, deadline - time.monotonic()))


def stop_all_services(**_: Any) -> None:
    """Stop every service. Accepts the arguments of Celery's signals, and ignores them."""
    stop_services(_list_services())


def was_forked_in_thread() -> bool:
    """Return whether a thread other than the main thread forked this child.

    Such a child runs no exit hooks, and ends with its last thread that is not a daemon.
    """
    return _forked_in_thread


def only_daemons_remain() -> bool:
    """Return whether only daemon threads remain in a child that was forked in a thread."""
    if not _forked_in_thread or threading.main_thread().is_alive():
        return False
    return all(thread.daemon for thread in threading.enumerate())


def install_exit_hooks(*, sigterm: bool) -> None:
    """Stop the services also where `atexit` does not run: at SIGTERM, in a pool's child."""
    _hook_into_multiprocessing()
    _hook_into_celery()
    # Only where the host application has no handler; and never for SIGINT, whose default handler in
    # Python raises KeyboardInterrupt and so runs the exit hooks.
    if sigterm and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # only the main thread can install a handler
            signal.signal(signal.SIGTERM, _end_by_sigterm)


def _end_by_sigterm(number: int, _: FrameType | None) -> None:
    # The default comes back first, so that a second signal ends this process at once, and the
    # process ends by the first one even if stopping fails.
    signal.signal(number, signal.SIG_DFL)
    try:
        stop_all_services()
    finally:
        os.kill(os.getpid(), number)
        # The kernel does not deliver an unhandled signal to the first process of a container
        # (pid_namespaces(7)), and the container runtime would wait until its time limit. So this
        # process ends with the code that it has under an init that passes signals on.
        os._exit(128 + number)


def _list_services() -> list[HookedService]:
    # valuerefs() copies in one step; iterating would fail while another thread makes a service.
    return [service for ref in _services.valuerefs() if (service := ref()) is not None]


def _reset_after_fork() -> None:
    global _numbering, _forked, _finalizer_installed, _main, _forked_in_thread  # noqa: PLW0603
    _numbering, _forked, _finalizer_installed = threading.RLock(), True, False
    # In the child, the thread that forked is the main thread. If it was not the parent's main
    # thread, the child was forked in a thread.
    _main, before = threading.main_thread(), _main
    _forked_in_thread = _forked_in_thread or _main is not before
    # Services that do not run are reset as well: one that is made before the fork and started after
    # it must not have the parent's pid in its name.
    for service in _list_services():
        service.reset_after_fork()


def _hook_into_multiprocessing() -> None:
    # A forked child of multiprocessing, or of Celery's edition of it, ends by os._exit() and so
    # skips atexit, but runs the finalizers of multiprocessing. They are cleared when such a child
    # begins, hence they must be installed in the child itself.
    global _finalizer_installed  # noqa: PLW0603
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is None or util is None or _finalizer_installed:
        return
    if _forked or process.parent_process() is not None:
        _finalizer_installed = True
        util.Finalize(None, stop_all_services, exitpriority=0)


def _hook_into_celery() -> None:
    # A child of Celery's pool ends by os._exit() and skips those finalizers as well; this signal is
    # sent last.
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(stop_all_services, weak=False)


os.register_at_fork(after_in_child=_reset_after_fork)
atexit.register(stop_all_services)
