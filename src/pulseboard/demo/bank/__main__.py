"""`python -m pulseboard.demo.bank`: serve the simulated bank until told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from pulseboard.demo.bank.app import clock_from, create_app
from pulseboard.demo.bank.ledger import Ledger, LedgerPlan
from pulseboard.demo.bank.weather import Forecast, Weather
from pulseboard.demo.command import refuse, run_command

_ENV = "PULSEBOARD_DEMO_BANK_"
_GRACE_S = 1


def _option(name: str, about: str) -> object:
    return typer.Option(f"--{name}", envvar=_ENV + name.upper().replace("-", "_"), help=about)


def main(
    *,
    host: Annotated[str, _option("host", "Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _option("port", "Port to listen on; 0 takes a free one.")] = 8210,
    fd: Annotated[
        int | None, _option("fd", "Serve on this inherited listening socket instead.")
    ] = None,
    ready_file: Annotated[
        Path | None, _option("ready-file", "Write the URL here when ready.")
    ] = None,
    seed: Annotated[
        int, typer.Option(envvar="PULSEBOARD_DEMO_SEED", help="The same seed, the same bank.")
    ] = 1,
    epoch: Annotated[
        float | None, _option("epoch", "Unix time of step 0; default: the start.")
    ] = None,
    step_s: Annotated[float, _option("step-s", "Seconds per step of the bank's time.")] = 1.0,
    customers: Annotated[int, _option("customers", "Customers at step 0.")] = 48,
    accounts: Annotated[int, _option("accounts", "Accounts at step 0.")] = 120,
    opening_every: Annotated[
        int, _option("opening-every", "Steps between two account openings.")
    ] = 3,
    max_accounts: Annotated[
        int, _option("max-accounts", "No more accounts than these are ever opened.")
    ] = 1000,
    page_size: Annotated[
        int, _option("page-size", "Entries per page unless asked otherwise.")
    ] = 50,
    latency_ms: Annotated[int, _option("latency-ms", "Least time of an answer.")] = 15,
    latency_spread_ms: Annotated[int, _option("latency-spread-ms", "Longer by up to this.")] = 60,
    throttle_rate: Annotated[
        float, _option("throttle-rate", "Share of requests answered 429.")
    ] = 0.04,
    error_rate: Annotated[float, _option("error-rate", "Share of requests answered 5xx.")] = 0.08,
    retry_after_s: Annotated[int, _option("retry-after-s", "Retry-After of those 429.")] = 1,
    client_limit: Annotated[
        float | None, _option("client-limit", "Requests per second and client.")
    ] = None,
) -> None:
    """Serve the simulated core bank."""
    try:
        plan = LedgerPlan(seed, customers, accounts, opening_every, max_accounts)
        forecast = Forecast(
            latency_ms, latency_spread_ms, throttle_rate, error_rate, retry_after_s, client_limit
        )
        if not step_s > 0:
            raise ValueError("step_s must be above 0")
        ledger = Ledger(plan, clock_from(time.time() if epoch is None else epoch, step_s))
        listener = _listen(host, port) if fd is None else socket.socket(fileno=fd)
        # Accepted connections inherit it. asyncio sets it only where it sees that a socket is TCP, which those of
        # `create_server` do not say, and a head and a body written apart then cost 40 ms of delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = _format_url(listener)
        app = create_app(
            ledger,
            Weather(forecast, seed),
            page_size=page_size,
            on_ready=lambda: _tell_ready(url, ready_file),
        )
    except ValueError as error:
        refuse("bank", error)
    except OSError as error:
        refuse("bank", f"cannot listen on {host}:{port}: {error.strerror}")
    # uvicorn raises the signal again when it has shut down; by then this handler is back, and the exit code is 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S
    )
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), backlog=128)
    listener.setblocking(False)
    return listener


def _format_url(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _tell_ready(url: str, ready_file: Path | None) -> None:
    # The socket listens already, so whoever reads this can connect.
    if ready_file is not None:
        partial = ready_file.with_suffix(".partial")
        partial.write_text(url)
        partial.replace(ready_file)
    print(f"bank ready at {url}", flush=True)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run_command(app, "bank")
