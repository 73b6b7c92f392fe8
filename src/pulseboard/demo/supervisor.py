"""Starts the bank, the three services and whatever else is given, each its own process, and keeps them running.

Invariant: a child's crash is that child's alone; the supervisor's end, even by `kill -9`, is the end of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from pulseboard.demo.child import REFUSED, Backoff, Child, ChildSpec, Console, python

__all__ = ["Backoff", "ChildSpec", "run_demo"]

SERVICES = ("balance-sync", "account-discovery", "account-enrichment")
_NAME = "demo"
_GRACE_S = 4.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_demo(
    children: Sequence[ChildSpec] = (),
    *,
    env: Mapping[str, str] | None = None,
    seed: int = 1,
    database_url: str | None = None,
    bank_port: int = 0,
    bank_options: Sequence[str] = (),
    worker_options: Mapping[str, Sequence[str]] | None = None,
    backoff: Backoff | None = None,
    out: TextIO | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run the demo until SIGINT, SIGTERM, SIGHUP or `stop`; give the exit code.

    `children` are further programs to keep running, the server above all: `ChildSpec("server", argv, env)`. `env` is
    added to this process's environment for every child: put the Redis address there (`REDIS_URL`, or `REDIS_HOST` and
    `REDIS_PORT`). `database_url` is by default a SQLite file of this run, gone with it. `bank_port` 0 takes a free
    port. `bank_options` and `worker_options` (by service name) are added to the command lines of bank and services.
    Output of all goes to `out` (standard error), each line with its program's name.

    0: stopped as asked; all children have ended, by SIGTERM or after 4 s by SIGKILL, the services before the others, so
    that the board sees them say goodbye. 2: a child refused its options (exit code 2), which no restart would mend.
    Raises OSError when `bank_port` is taken. Call it from the main thread: signals, and the tie to the children, need it.
    """
    stop = stop or asyncio.Event()
    names = (*SERVICES, *(spec.name for spec in children))
    console = Console(out or sys.stderr, max(map(len, names)))
    with contextlib.ExitStack() as stack:
        # The socket is ours: the bank's address is known before it runs, and outlives its crashes.
        listener = stack.enter_context(socket.create_server(("127.0.0.1", bank_port), backlog=128))
        if database_url is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-demo-"))
            database_url = f"sqlite:///{Path(directory) / 'demo.db'}"
        common = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        bank_url = "http://{}:{}".format(*listener.getsockname())
        specs = [_bank(listener, seed, bank_options), *_services(bank_url, database_url, seed, worker_options or {})]
        staff = [Child(spec, common, console, backoff or Backoff()) for spec in (*children, *specs)]
        stack.enter_context(_signals_set(stop, staff))
        console.say(_NAME, f"starting {', '.join(child.spec.name for child in staff)}; the bank is at {bank_url}")
        return await _supervise(staff, console, stop)


def _bank(listener: socket.socket, seed: int, options: Sequence[str]) -> ChildSpec:
    # A bank that is started again must not begin its time anew: accounts would vanish.
    arguments = ("--fd", str(listener.fileno()), "--seed", str(seed), "--epoch", str(time.time()), *options)
    return ChildSpec("bank", python("-m", "pulseboard.demo.bank", *arguments), pass_fds=(listener.fileno(),))


def _services(bank_url: str, database_url: str, seed: int, options: Mapping[str, Sequence[str]]) -> Iterator[ChildSpec]:
    # By environment, because a database URL may hold a password, and command lines can be read by anyone.
    env = {
        "PULSEBOARD_DEMO_BANK_URL": bank_url,
        "PULSEBOARD_DEMO_DATABASE_URL": database_url,
        "PULSEBOARD_DEMO_SEED": str(seed),
    }
    for name in SERVICES:
        yield ChildSpec(name, python("-m", "pulseboard.demo.worker", name, *options.get(name, ())), env)


async def _supervise(staff: Sequence[Child], console: Console, stop: asyncio.Event) -> int:
    keeping = {asyncio.create_task(child.keep_running()): child for child in staff}
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((stopped, *keeping), return_when=asyncio.FIRST_COMPLETED)
        for name in (child.spec.name for child in staff if child.refused):
            console.say(_NAME, f"{name} refused to start, so all stop")
        console.say(_NAME, "stopping")
        first = [task for task, child in keeping.items() if child.spec.name in SERVICES]
        await _end(keeping, first)
        await _end(keeping, list(keeping))
    finally:
        stopped.cancel()
        for task, child in keeping.items():
            child.kill()
            task.cancel()
    for task in keeping:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return REFUSED if any(child.refused for child in staff) and not stop.is_set() else 0


async def _end(keeping: Mapping[asyncio.Task[None], Child], tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        keeping[task].terminate()
    _, left = await asyncio.wait(tasks, timeout=_GRACE_S)
    for task in left:
        keeping[task].kill()
    if left:
        await asyncio.wait(left, timeout=_GRACE_S)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event, staff: Sequence[Child]) -> Iterator[None]:
    """Let signals stop the demo; one that comes while it stops already kills what is left."""

    def note() -> None:
        if stop.is_set():
            for child in staff:
                child.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    # One that is ignored stays so: that is how nohup(1) asks for it.
    numbers = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in numbers:
        loop.add_signal_handler(number, note)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
