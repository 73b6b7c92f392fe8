"""`python -m pulseboard.demo.worker <service>`: run one of the three services as a process of its own.

Every setting of a service is an option and an environment variable, made from the one definition in its settings.
Invariant: told to stop, the process finishes what is nearly done, publishes a last status and exits 0 within 3 s.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import signal
import threading
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import typer

from pulseboard.demo import account_discovery, account_enrichment, balance_sync
from pulseboard.demo.bank_client import BankClient, Patience
from pulseboard.demo.command import refuse, run_command
from pulseboard.demo.control import RESTART_S, Control, Controlled
from pulseboard.demo.status import Status, StatusSink, Tally
from pulseboard.demo.store import Database, StoreError

if TYPE_CHECKING:
    from pulseboard import Service

_GRACE_S = 0.4
"""How long work in flight may take to finish after a signal; the goodbye comes then."""
_LIMIT_S = 2.1
"""The process ends by then, whatever still hangs: of the 3 s, a machine under load needs the rest."""
_BEAT_S = 5

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Worker(Controlled, Protocol):
    """What the three services have in common."""

    tally: Tally

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`."""


class Surroundings(msgspec.Struct, frozen=True):
    """What every worker needs to know; raises ValueError for what cannot be."""

    bank_url: str = "http://127.0.0.1:8210"
    database_url: str = "sqlite:///pulseboard-demo.db"
    seed: int | None = None
    """Makes the jitter of retries repeat itself."""
    print_status: bool = False
    """Print each status as a line of JSON instead of publishing it to Redis."""

    def __post_init__(self) -> None:
        if not self.bank_url.startswith(("http://", "https://")):
            raise ValueError(f"the bank's URL begins with http:// or https://: {self.bank_url}")


class PrintedStatus:
    """A sink that prints: to see a service at work without Redis."""

    def replace(self, status: Status, /) -> None:
        """Print the status as a line of JSON."""
        print(msgspec.json.encode(status).decode(), flush=True)


async def run_worker(
    name: str,
    make: Callable[[BankClient, Database, StatusSink], Worker],
    surroundings: Surroundings,
    stop: asyncio.Event,
) -> None:
    """Run a service until `stop`; raises ValueError and StoreError when it cannot start."""
    patience = Patience()
    async with (
        await Database.open(surroundings.database_url) as database,
        BankClient(surroundings.bank_url, name=name, patience=patience) as bank,
    ):
        with _open_sink(name, surroundings) as sink:
            service = make(bank, database, sink)
            control = Control(service, stop)
            if not isinstance(sink, PrintedStatus):
                control.offer(sink)
                service.tally.on_run = sink.histogram("run_seconds").record
                service.tally.on_failure = sink.counter("failures").add
            work = asyncio.create_task(service.run(stop))
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait((work,), timeout=_GRACE_S)
                work.cancel()
                await asyncio.gather(work, return_exceptions=stop.is_set())
            finally:
                stopped.cancel()
                service.publish()
            if control.restarting and not isinstance(sink, PrintedStatus):
                sink.stop(back_in_s=RESTART_S)


@contextmanager
def _open_sink(name: str, surroundings: Surroundings) -> Iterator[PrintedStatus | Service]:
    if surroundings.print_status:
        yield PrintedStatus()
        return
    # Imported here, because printing needs no Redis client.
    from pulseboard import Service  # noqa: PLC0415
    from pulseboard.bus.connection.address import RedisAddress  # noqa: PLC0415

    RedisAddress.from_env()  # a service would log a wrong address and go on without the board; a command refuses it
    with Service(name, heartbeat_s=_BEAT_S) as service:
        root, handler = logging.getLogger(), service.log_handler("INFO")
        root.addHandler(handler)
        try:
            yield service
        finally:
            root.removeHandler(handler)


def _start(
    name: str,
    make: Callable[[BankClient, Database, StatusSink], Worker],
    surroundings: Surroundings,
) -> None:
    async def main() -> None:
        stop = asyncio.Event()

        def end() -> None:
            if not stop.is_set():
                stop.set()
                # A thread, because saying goodbye to a Redis that hangs holds up the loop, and then the interpreter.
                limit = threading.Timer(_LIMIT_S, os._exit, (0,))
                limit.daemon = True
                limit.start()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, end)
        await run_worker(name, make, surroundings, stop)

    shown = logging.StreamHandler()
    shown.setLevel(logging.ERROR)  # the rest is on the board
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=[shown])
    for chatty in ("httpx", "httpcore", "aiosqlite"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    random.seed(surroundings.seed)
    try:
        asyncio.run(main())
    except StoreError as error:
        refuse(name, error, 1)
    except ValueError as error:
        refuse(name, error)


def _add_command(name: str, service: type[Any], settings: type[msgspec.Struct]) -> None:
    def command(**given: object) -> None:
        try:
            surroundings, chosen = (
                msgspec.convert(given, Surroundings),
                msgspec.convert(given, settings),
            )
        except ValueError as error:
            refuse(name, error)
        _start(
            name, lambda bank, database, sink: service(bank, database, sink, chosen), surroundings
        )

    own_prefix = f"PULSEBOARD_DEMO_{name.upper().replace('-', '_')}_"
    parameters = [
        *_parameters(Surroundings, "PULSEBOARD_DEMO_"),
        *_parameters(settings, own_prefix),
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    app.command(name, help=(service.__doc__ or "").split(";")[0] + ".")(command)


def _parameters(settings: type[msgspec.Struct], prefix: str) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(settings)
    for field in msgspec.structs.fields(settings):
        option = typer.Option(
            f"--{field.name.replace('_', '-')}", envvar=prefix + field.name.upper()
        )
        annotation: Any = Annotated[hints[field.name], option]
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
        )


_add_command(balance_sync.NAME, balance_sync.BalanceSyncService, balance_sync.BalanceSyncSettings)
_add_command(
    account_discovery.NAME,
    account_discovery.AccountDiscoveryService,
    account_discovery.AccountDiscoverySettings,
)
_add_command(
    account_enrichment.NAME,
    account_enrichment.AccountEnrichmentService,
    account_enrichment.AccountEnrichmentSettings,
)

if __name__ == "__main__":
    run_command(app, "worker")
