"""`pulseboard serve --workers N`: one process that holds the socket and keeps N serving it."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable

from pulseboard.cli.options import settings_environment
from pulseboard.server.settings import Settings
from pulseboard.supervision.child import Backoff, Child, ChildSpec, Console, python
from pulseboard.supervision.supervisor import keep_staff

GRACE_S = 2.0
"""A worker needs about one; all shall be gone within 3, and on a busy machine the end itself takes a part of that."""
_NAME = "serve"


def serve_by_workers(settings: Settings, sock: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until a signal; return the exit code. `on_ready` is called once the first worker answers requests."""
    return asyncio.run(_keep_workers(settings, sock, on_ready))


async def _keep_workers(
    settings: Settings, sock: socket.socket, on_ready: Callable[[], None]
) -> int:
    ready, says_ready = os.pipe()
    loop = asyncio.get_running_loop()
    try:
        os.set_blocking(ready, False)
        os.set_blocking(says_ready, False)
        loop.add_reader(ready, _Readiness(ready, on_ready).note)
        argv = python("-m", "pulseboard", "serve", "--quiet", "--workers", "1")
        argv += ["--fd", str(sock.fileno()), "--ready-fd", str(says_ready)]
        names = [f"worker {number}" for number in range(1, settings.workers + 1)]
        console = Console(sys.stderr, max(map(len, names)))
        env = {**os.environ, "PYTHONUNBUFFERED": "1", **settings_environment(settings)}
        fds = (sock.fileno(), says_ready)
        staff = [
            Child(ChildSpec(name, argv, pass_fds=fds), env, console, Backoff()) for name in names
        ]
        return await keep_staff(staff, console, asyncio.Event(), name=_NAME, grace_s=GRACE_S)
    finally:
        loop.remove_reader(ready)
        os.close(ready)
        os.close(says_ready)


class _Readiness:
    """Tells once that a worker is ready; each says so whenever it is started."""

    def __init__(self, fd: int, on_ready: Callable[[], None]) -> None:
        self._fd = fd
        self._on_ready = on_ready
        self._told = False

    def note(self) -> None:
        os.read(self._fd, 4_096)
        if not self._told:
            self._told = True
            self._on_ready()
