"""How many deliveries does a server make per CPU-second, with and without ASGI `send`?

The same application runs twice with one Valkey: under `pulseboard serve`, which writes frames to
the sockets itself, and under unmodified uvicorn, where each frame goes through `send`. N clients on
raw sockets, in a process of their own, open `/api/stream` and count the status events that arrive;
a service publishes at a constant rate. A delivery is one event that arrives at one client. The
processor time of the server is that of proc(5) during the deliveries. Clients, Valkey and publisher
share the cores, which slows both servers equally: compare the ratio, on an otherwise idle machine.
Exits with 1 if a delivery was lost.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import uvicorn

from benchmarks._environment import (
    cpu_s,
    free_port,
    print_head,
    print_table,
    run_program,
    run_server,
)
from pulseboard import Service
from pulseboard.process import spawn
from pulseboard.server.app import create_app
from pulseboard.server.runtime import Runtime
from pulseboard.server.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulseboard.bus.connection.address import RedisAddress

NAME = "balance-sync"
REQUEST = (
    b"GET /api/stream?kinds=status HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
)
STATUS = b"\nevent: status\n"
HEAD = (
    "deliveries per CPU-second",
    "pulseboard",
    "ASGI",
    "ratio",
    "pulseboard delivered",
    "ASGI delivered",
)
QUIET_S = 2.0
"""Clients that received no event for this time have received all; pings are no events."""


class FanOutResult(NamedTuple):
    """Deliveries and processor time of one server in one measurement."""

    delivered: int
    expected: int
    cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        return self.delivered / self.cpu_s


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1_000, help="clients (default: 1000)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run (default: 4)")
    parser.add_argument("--runs", type=int, default=3, help="runs per rate (default: 3)")
    parser.add_argument("--rates", default="20,200", help="events per second, separated by commas")
    parser.add_argument("--read", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_streams(options.read, options.connections)
        return 0
    if options.serve:
        serve_with_uvicorn(int(options.serve[0]), options.serve[1])
        return 0
    print_head(__doc__)
    rows, lost = [], 0
    with run_server() as server, asgi_server(server.address) as (asgi_port, asgi_pid):
        for rate in [float(rate) for rate in options.rates.split(",") for _ in range(options.runs)]:
            ours = measure(
                server.port, server.pid, server.address, options.connections, rate, options.seconds
            )
            asgi = measure(
                asgi_port, asgi_pid, server.address, options.connections, rate, options.seconds
            )
            lost += ours.expected - ours.delivered + asgi.expected - asgi.delivered
            rows.append(
                [
                    f"{options.connections} x {rate:g}/s",
                    f"{ours.per_cpu_s:,.0f}",
                    f"{asgi.per_cpu_s:,.0f}",
                    f"{ours.per_cpu_s / asgi.per_cpu_s:.2f}",
                    f"{ours.delivered:,}/{ours.expected:,}",
                    f"{asgi.delivered:,}/{asgi.expected:,}",
                ]
            )
    print_table(HEAD, rows)
    if lost:
        print(f"{lost} deliveries were lost")
    return 1 if lost else 0


@contextmanager
def asgi_server(address: RedisAddress) -> Iterator[tuple[int, int]]:
    """Run the application under uvicorn; yield port and process id."""
    port = free_port()
    with run_program(
        [sys.executable, "-m", "benchmarks.fan_out", "--serve", str(port), address.url], port
    ) as pid:
        yield port, pid


def serve_with_uvicorn(port: int, url: str) -> None:
    """Serve the application with uvicorn's own protocol class instead of Pulseboard's."""
    app = create_app(Runtime(Settings.load(port=port, redis_url=url)))
    uvicorn.run(
        app, host="127.0.0.1", port=port, http="httptools", log_level="warning", access_log=False
    )


def measure(
    port: int, pid: int, address: RedisAddress, connections: int, rate: float, seconds: float
) -> FanOutResult:
    """Connect the clients, publish for `seconds`, and count deliveries and processor time."""
    argv = [
        sys.executable,
        "-m",
        "benchmarks.fan_out",
        "--read",
        str(port),
        "--connections",
        str(connections),
    ]
    with (
        Service(NAME, redis_url=address.url, instance="bench", heartbeat_s=60) as service,
        spawn(argv, stdout=subprocess.PIPE) as clients,
    ):
        assert clients.stdout is not None
        assert clients.stdout.readline() == b"ready\n"
        before = cpu_s(pid)
        events = round(rate * seconds)
        due = time.monotonic()
        for n in range(events):
            service.update(
                done=n, isRunning=n % 2 == 0, queueLength=n % 31, step=f"step {n}", lastError=None
            )
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
        counted = json.loads(clients.stdout.readline())
        return FanOutResult(counted["delivered"], events * connections, cpu_s(pid) - before)


def read_streams(port: int, connections: int) -> None:
    """Open the streams, print "ready" when each has its board, and the count at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, connections + 100)), hard))
    waiting = selectors.DefaultSelector()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(REQUEST)
        received = b""
        while b"\nevent: board\n" not in received or not received.endswith(b"\n\n\r\n"):
            received += sock.recv(65_536)
        sock.setblocking(False)
        waiting.register(sock, selectors.EVENT_READ, [b""])
    print("ready", flush=True)
    delivered, last = 0, 0.0
    while not last or time.monotonic() - last < QUIET_S:
        for key, _ in waiting.select(0.1):
            ready, rest = key.fileobj, key.data
            assert isinstance(ready, socket.socket)
            data = rest[0] + ready.recv(262_144)
            if found := data.count(STATUS):
                delivered += found
                last = time.monotonic()
            rest[0] = (
                data[data.rindex(STATUS) + len(STATUS) :][-len(STATUS) + 1 :]
                if found
                else data[-len(STATUS) + 1 :]
            )
    print(json.dumps({"delivered": delivered}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
