"""`python -m pulseboard.demo.worker <service>`: run one of the services as a process.

Every setting of a service is an option and an environment variable, created from the settings
struct. Invariant: after SIGTERM the process finishes work that is nearly done, publishes a last
status and exits with code 0 within 3 s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec
import typer

from pulseboard.demo import account_discovery, account_enrichment, balance_sync
from pulseboard.demo.bank_client import BankClient, RetryPolicy
from pulseboard.demo.commands import RESTART_S, Control, ControllableService
from pulseboard.demo.program import OptionGroup, create_command, exit_with_error, run_command
from pulseboard.demo.status import RunStats, Status, StatusSink
from pulseboard.demo.store import Database, StoreError

if TYPE_CHECKING:
    from pulseboard import Service

_GRACE_S = 0.4
"""How long active work may take to finish after a signal; the graceful stop follows."""
_EXIT_LIMIT_S = 2.1
"""The process exits by then, even if a call hangs. The rest of the 3 s is for a loaded machine."""
_HEARTBEAT_S = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Worker(ControllableService, Protocol):
    """The common interface of the three services."""

    stats: RunStats

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`."""


WorkerFactory: TypeAlias = Callable[[BankClient, Database, StatusSink], Worker]


class WorkerSettings(msgspec.Struct, frozen=True):
    """The settings that all workers share; raises ValueError when one is invalid."""

    bank_url: str = "http://127.0.0.1:8210"
    database_url: str = "sqlite:///pulseboard-demo.db"
    seed: int | None = None
    """Makes the jitter of retries repeatable."""
    print_status: bool = False
    """Print each status as a line of JSON instead of publishing it to Redis."""

    def __post_init__(self) -> None:
        if not self.bank_url.startswith(("http://", "https://")):
            raise ValueError(f"the bank URL must begin with http:// or https://: {self.bank_url}")


class PrintingSink:
    """A sink that prints each status, to try a service without Redis."""

    def replace(self, status: Status, /) -> None:
        """Print the status as a line of JSON."""
        print(msgspec.json.encode(status).decode(), flush=True)


async def run_worker(
    name: str, create: WorkerFactory, settings: WorkerSettings, stop: asyncio.Event
) -> None:
    """Run a service until `stop`; raises ValueError and StoreError when it cannot start."""
    async with (
        await Database.open(settings.database_url) as database,
        BankClient(settings.bank_url, name=name, retry_policy=RetryPolicy()) as bank,
    ):
        with _open_sink(name, settings) as sink:
            worker = create(bank, database, sink)
            control = Control(worker, stop)
            if not isinstance(sink, PrintingSink):
                control.register(sink)
                worker.stats.on_run = sink.histogram("run_seconds").record
                worker.stats.on_failure = sink.counter("failures").add
            running = asyncio.create_task(worker.run(stop))
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait((running,), timeout=_GRACE_S)
                running.cancel()
                await asyncio.gather(running, return_exceptions=stop.is_set())
            finally:
                stopped.cancel()
                worker.publish()
            if control.restarting and not isinstance(sink, PrintingSink):
                sink.stop(back_in_s=RESTART_S)


@contextmanager
def _open_sink(name: str, settings: WorkerSettings) -> Iterator[PrintingSink | Service]:
    if settings.print_status:
        yield PrintingSink()
        return
    # Imported here, because printing needs no Redis client.
    from pulseboard import Service  # noqa: PLC0415
    from pulseboard.bus.connection.address import RedisAddress  # noqa: PLC0415

    # The SDK would log an invalid address and continue without a board. A program rejects it.
    RedisAddress.from_env()
    with Service(name, heartbeat_s=_HEARTBEAT_S) as service:
        root, handler = logging.getLogger(), service.log_handler("INFO")
        root.addHandler(handler)
        try:
            yield service
        finally:
            root.removeHandler(handler)


def _start(name: str, create: WorkerFactory, settings: WorkerSettings) -> None:
    async def main() -> None:
        stop = asyncio.Event()

        def handle_signal() -> None:
            if not stop.is_set():
                stop.set()
                # A thread, because a graceful stop blocks the event loop, and then the exit of the
                # interpreter, while Redis hangs.
                limit = threading.Timer(_EXIT_LIMIT_S, os._exit, (0,))
                limit.daemon = True
                limit.start()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, handle_signal)
        await run_worker(name, create, settings, stop)

    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)  # the board shows all other lines
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=[handler])
    for verbose in ("httpx", "httpcore", "aiosqlite"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    random.seed(settings.seed)
    try:
        asyncio.run(main())
    except StoreError as error:
        exit_with_error(name, error, 1)
    except ValueError as error:
        exit_with_error(name, error)


def _add_command(name: str, service: type[Any], defaults: msgspec.Struct) -> None:
    def run(settings: WorkerSettings, own_settings: msgspec.Struct) -> None:
        def create(bank: BankClient, database: Database, sink: StatusSink) -> Worker:
            worker: Worker = service(bank, database, sink, own_settings)
            return worker

        _start(name, create, settings)

    own_prefix = f"PULSEBOARD_DEMO_{name.upper().replace('-', '_')}_"
    command = create_command(
        name,
        run,
        OptionGroup(WorkerSettings(), "PULSEBOARD_DEMO_"),
        OptionGroup(defaults, own_prefix),
    )
    app.command(name, help=(service.__doc__ or "").split(";")[0] + ".")(command)


_add_command(balance_sync.NAME, balance_sync.BalanceSyncService, balance_sync.BalanceSyncSettings())
_add_command(
    account_discovery.NAME,
    account_discovery.AccountDiscoveryService,
    account_discovery.AccountDiscoverySettings(),
)
_add_command(
    account_enrichment.NAME,
    account_enrichment.AccountEnrichmentService,
    account_enrichment.AccountEnrichmentSettings(),
)

if __name__ == "__main__":
    run_command(app, "worker")
