"""`python -m pulseboard.demo.bank`: serve the simulated bank until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
import uvicorn

from pulseboard.demo.bank.app import create_app, step_clock
from pulseboard.demo.bank.faults import FaultInjector, FaultSettings
from pulseboard.demo.bank.ledger import Ledger, LedgerPlan
from pulseboard.demo.program import OptionGroup, create_command, exit_with_error, run_command

_ENV = "PULSEBOARD_DEMO_BANK_"
_GRACE_S = 1


class ListenSettings(msgspec.Struct, frozen=True):
    """Address, clock and page size of the bank; raises ValueError when a value is invalid."""

    host: Annotated[str, msgspec.Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(description="Port to listen on; 0 selects a free port.")] = (
        8210
    )
    fd: Annotated[
        int | None, msgspec.Meta(description="Serve on this inherited listening socket instead.")
    ] = None
    ready_file: Annotated[
        Path | None, msgspec.Meta(description="Write the URL to this file when ready.")
    ] = None
    epoch: Annotated[
        float | None, msgspec.Meta(description="Unix time of step 0; default: the start.")
    ] = None
    step_s: Annotated[float, msgspec.Meta(description="Seconds per step of the bank.")] = 1.0
    page_size: Annotated[
        int, msgspec.Meta(description="Entries per page unless the request says otherwise.")
    ] = 50

    def __post_init__(self) -> None:
        if not self.step_s > 0:
            raise ValueError("step_s must be above 0")


def serve(listen: ListenSettings, plan: LedgerPlan, faults: FaultSettings) -> None:
    """Serve the bank until SIGINT or SIGTERM; end the program when the options do not work."""
    try:
        epoch = time.time() if listen.epoch is None else listen.epoch
        listener = _listen(listen)
        # Accepted connections inherit TCP_NODELAY. asyncio sets it only on sockets that say that
        # they are TCP, and those of `create_server` do not: without it, a head and a body that are
        # written separately cost 40 ms of delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = _format_url(listener)
        app = create_app(
            Ledger(plan, step_clock(epoch, listen.step_s)),
            FaultInjector(faults, plan.seed),
            page_size=listen.page_size,
            on_ready=lambda: _announce_ready(url, listen.ready_file),
        )
    except ValueError as error:
        exit_with_error("bank", error)
    except OSError as error:
        exit_with_error("bank", f"cannot listen on {listen.host}:{listen.port}: {error.strerror}")
    # uvicorn raises the signal again after its shutdown. By then it has restored this handler,
    # which ignores the signal, so that the exit code is 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _listen(settings: ListenSettings) -> socket.socket:
    if settings.fd is not None:
        return socket.socket(fileno=settings.fd)
    listener = socket.create_server((settings.host, settings.port), backlog=128)
    listener.setblocking(False)
    return listener


def _format_url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce_ready(url: str, ready_file: Path | None) -> None:
    # The socket accepts connections already, so a reader of the file can connect at once.
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(url)
        partial.replace(ready_file)
    print(f"bank ready at {url}", flush=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    main = create_command(
        "bank",
        serve,
        OptionGroup(ListenSettings(), _ENV),
        OptionGroup(LedgerPlan(), _ENV, {"seed": "PULSEBOARD_DEMO_SEED"}),
        OptionGroup(FaultSettings(throttle_rate=0.04, error_rate=0.08), _ENV),
    )
    app.command(help="Serve the simulated core bank.")(main)
    run_command(app, "bank")
