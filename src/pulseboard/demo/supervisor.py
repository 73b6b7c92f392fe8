"""Starts the bank, the three services and whatever else is given, each its own process, and keeps them running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from pulseboard.supervision.child import Backoff, Child, ChildSpec, Console, python
from pulseboard.supervision.supervisor import keep_staff

SERVICES = ("balance-sync", "account-discovery", "account-enrichment")
_NAME = "demo"
_GRACE_S = 4.0


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
        specs = [
            _bank(listener, seed, bank_options),
            *_services(bank_url, database_url, seed, worker_options or {}),
        ]
        staff = [Child(spec, common, console, backoff or Backoff()) for spec in (*children, *specs)]
        console.say(
            _NAME,
            f"starting {', '.join(child.spec.name for child in staff)}; the bank is at {bank_url}",
        )
        services = [child for child in staff if child.spec.name in SERVICES]
        return await keep_staff(staff, console, stop, name=_NAME, grace_s=_GRACE_S, first=services)


def _bank(listener: socket.socket, seed: int, options: Sequence[str]) -> ChildSpec:
    # A bank that is started again must not begin its time anew: accounts would vanish.
    arguments = (
        "--fd",
        str(listener.fileno()),
        "--seed",
        str(seed),
        "--epoch",
        str(time.time()),
        *options,
    )
    return ChildSpec(
        "bank", python("-m", "pulseboard.demo.bank", *arguments), pass_fds=(listener.fileno(),)
    )


def _services(
    bank_url: str, database_url: str, seed: int, options: Mapping[str, Sequence[str]]
) -> Iterator[ChildSpec]:
    # By environment, because a database URL may hold a password, and command lines can be read by anyone.
    env = {
        "PULSEBOARD_DEMO_BANK_URL": bank_url,
        "PULSEBOARD_DEMO_DATABASE_URL": database_url,
        "PULSEBOARD_DEMO_SEED": str(seed),
    }
    for name in SERVICES:
        yield ChildSpec(
            name, python("-m", "pulseboard.demo.worker", name, *options.get(name, ())), env
        )
