"""Starts the bank, the services and further programs as processes; restarts crashed ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from pulseboard.supervision.child import Backoff, Child, ChildSpec, Console, python
from pulseboard.supervision.supervisor import run_supervised

SERVICES = ("balance-sync", "account-discovery", "account-enrichment")
_NAME = "demo"
_GRACE_S = 4.0


@dataclass(frozen=True)
class DemoSettings:
    """Settings of the programs of a demo."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of every child: put the Redis address here (`REDIS_URL`, or
    `REDIS_HOST` and `REDIS_PORT`)."""
    seed: int = 1
    database_url: str | None = None
    """None: a temporary SQLite file, deleted at the end."""
    bank_port: int = 0
    """0 selects a free port."""
    bank_options: Sequence[str] = ()
    """Added to the command line of the bank."""
    worker_options: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Added to the command lines of the services, by service name."""
    backoff: Backoff = field(default_factory=Backoff)


async def run_demo(
    children: Sequence[ChildSpec] = (),
    settings: DemoSettings | None = None,
    *,
    out: TextIO | None = None,
    stop: asyncio.Event | None = None,
) -> int:
    """Run the demo until SIGINT, SIGTERM, SIGHUP or `stop`; return the exit code.

    `children` are further programs to keep running, usually the server:
    `ChildSpec("server", argv, env)`. The output of all programs goes to `out` (default: standard
    error); each line begins with the name of its program.

    Exit code 0: the demo was stopped, and all children have ended, by SIGTERM or after 4 s by
    SIGKILL. The services end before the others, so that the board shows their graceful stop. Exit
    code 2: a child rejected its options (exit code 2), which a restart would not fix.

    Raises OSError when `bank_port` is in use. Call it from the main thread: signal handlers and the
    parent-death signal of the children need it.
    """
    settings = settings or DemoSettings()
    stop = stop or asyncio.Event()
    names = (*SERVICES, *(spec.name for spec in children))
    console = Console(out or sys.stderr, max(map(len, names)))
    with contextlib.ExitStack() as stack:
        # The supervisor owns the socket: the address of the bank is known before the bank runs,
        # and stays the same after a crash.
        listener = stack.enter_context(
            socket.create_server(("127.0.0.1", settings.bank_port), backlog=128)
        )
        database_url = settings.database_url
        if database_url is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-demo-"))
            database_url = f"sqlite:///{Path(directory) / 'demo.db'}"
        common = {**os.environ, "PYTHONUNBUFFERED": "1", **settings.env}
        bank_url = "http://{}:{}".format(*listener.getsockname())
        specs = [
            *children,
            _bank(listener, settings),
            *_services(bank_url, database_url, settings),
        ]
        supervised = [Child(spec, common, console, settings.backoff) for spec in specs]
        console.print(
            _NAME,
            f"starting {', '.join(spec.name for spec in specs)}; the bank is at {bank_url}",
        )
        services = [child for child in supervised if child.spec.name in SERVICES]
        return await run_supervised(
            supervised, console, stop, name=_NAME, grace_s=_GRACE_S, first=services
        )


def _bank(listener: socket.socket, settings: DemoSettings) -> ChildSpec:
    # A restarted bank must not restart its clock: accounts that were open would not exist any more.
    arguments = (
        "--fd",
        str(listener.fileno()),
        "--seed",
        str(settings.seed),
        "--epoch",
        str(time.time()),
        *settings.bank_options,
    )
    return ChildSpec(
        "bank", python("-m", "pulseboard.demo.bank", *arguments), pass_fds=(listener.fileno(),)
    )


def _services(bank_url: str, database_url: str, settings: DemoSettings) -> Iterator[ChildSpec]:
    # By environment: a database URL may contain a password, and every local user can read command
    # lines.
    env = {
        "PULSEBOARD_DEMO_BANK_URL": bank_url,
        "PULSEBOARD_DEMO_DATABASE_URL": database_url,
        "PULSEBOARD_DEMO_SEED": str(settings.seed),
    }
    for name in SERVICES:
        options = settings.worker_options.get(name, ())
        yield ChildSpec(name, python("-m", "pulseboard.demo.worker", name, *options), env)
