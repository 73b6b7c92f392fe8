"""`pulseboard serve --workers N`: a parent process owns the socket and runs N workers."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable

from pulseboard.cli.options import settings_environment
from pulseboard.server.settings import Settings
from pulseboard.supervision.child import Backoff, Child, ChildSpec, Console, python
from pulseboard.supervision.supervisor import run_supervised

GRACE_S = 2.0
"""Time after which the parent kills a worker that has not stopped.

A worker needs about 1 s to stop. The parent and all workers must end within 3 s, also on a busy
machine.
"""
_NAME = "serve"


def serve_by_workers(settings: Settings, sock: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until a signal stops the process; return the exit code.

    Calls `on_ready` when the first worker can answer requests.
    """
    return asyncio.run(_keep_workers(settings, sock, on_ready))


async def _keep_workers(
    settings: Settings, sock: socket.socket, on_ready: Callable[[], None]
) -> int:
    ready_reader, ready_writer = os.pipe()
    loop = asyncio.get_running_loop()
    try:
        os.set_blocking(ready_reader, False)
        os.set_blocking(ready_writer, False)
        loop.add_reader(ready_reader, _Readiness(ready_reader, on_ready).notify)
        argv = python("-m", "pulseboard", "serve", "--quiet", "--workers", "1")
        argv += ["--fd", str(sock.fileno()), "--ready-fd", str(ready_writer)]
        names = [f"worker {number}" for number in range(1, settings.workers + 1)]
        console = Console(sys.stderr, max(map(len, names)))
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **settings_environment(settings)}
        fds = (sock.fileno(), ready_writer)
        workers = [
            Child(ChildSpec(name, argv, pass_fds=fds), env, console, Backoff()) for name in names
        ]
        return await run_supervised(workers, console, asyncio.Event(), name=_NAME, grace_s=GRACE_S)
    finally:
        loop.remove_reader(ready_reader)
        os.close(ready_reader)
        os.close(ready_writer)


class _Readiness:
    """Calls `on_ready` once, for the first worker that is ready.

    Each worker writes to the pipe at each of its starts, also after a crash.
    """

    def __init__(self, fd: int, on_ready: Callable[[], None]) -> None:
        self._fd = fd
        self._on_ready = on_ready
        self._notified = False

    def notify(self) -> None:
        os.read(self._fd, 4_096)
        if not self._notified:
            self._notified = True
            self._on_ready()
