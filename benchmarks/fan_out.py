"""How many deliveries does one second of the server's processor time buy, on our transport path and on plain ASGI?

The same application twice on one Valkey: under `pulseboard serve`, which writes frames to the sockets itself, and under plain
uvicorn, where each frame goes through `send`. N readers on raw sockets, in a process of their own, open `/api/stream` and
count the status events that arrive; a service publishes at a steady pace. A delivery is one event at one reader. The server's
processor time is what the kernel says for the time in which it delivered. Readers, Valkey and publisher share the cores, which
slows both alike: the ratio is what counts, where nothing else runs. Exits with 1 if a delivery was lost.
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

from benchmarks._rig import cpu_s, free_port, print_head, print_table, rig, running
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
QUIET_S = 2.0
"""Readers to whom nothing came for so long have all that will come; pings are no events."""


class Result(NamedTuple):
    """What one server did in one setting."""

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
    parser.add_argument("--connections", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rates", default="20,200", help="events per second, separated by commas")
    parser.add_argument("--read", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read, options.connections)
        return 0
    if options.serve:
        serve_plainly(int(options.serve[0]), options.serve[1])
        return 0
    print_head(__doc__)
    rows, lost = [], 0
    with rig() as server, plain_server(server.address) as (plain_port, plain_pid):
        for rate in [float(rate) for rate in options.rates.split(",") for _ in range(options.runs)]:
            ours = measure(
                server.port, server.pid, server.address, options.connections, rate, options.seconds
            )
            plain = measure(
                plain_port, plain_pid, server.address, options.connections, rate, options.seconds
            )
            lost += ours.expected - ours.delivered + plain.expected - plain.delivered
            rows.append(
                [
                    f"{options.connections} x {rate:g}/s",
                    f"{ours.per_cpu_s:,.0f}",
                    f"{plain.per_cpu_s:,.0f}",
                    f"{ours.per_cpu_s / plain.per_cpu_s:.2f}",
                    f"{ours.delivered:,}/{ours.expected:,}",
                    f"{plain.delivered:,}/{plain.expected:,}",
                ]
            )
    print_table(
        ["deliveries per CPU-second", "transport", "ASGI", "ratio", "transport got", "ASGI got"],
        rows,
    )
    if lost:
        print(f"{lost} deliveries were lost")
    return 1 if lost else 0


@contextmanager
def plain_server(address: RedisAddress) -> Iterator[tuple[int, int]]:
    port = free_port()
    with running(
        [sys.executable, "-m", "benchmarks.fan_out", "--serve", str(port), address.url], port
    ) as pid:
        yield port, pid


def serve_plainly(port: int, url: str) -> None:
    """Serve the application as any ASGI server does, uvicorn's own protocol and nothing of ours."""
    app = create_app(Runtime(Settings.load(port=port, redis_url=url)))
    uvicorn.run(
        app, host="127.0.0.1", port=port, http="httptools", log_level="warning", access_log=False
    )


def measure(
    port: int, pid: int, address: RedisAddress, connections: int, rate: float, seconds: float
) -> Result:
    """Let readers join, publish for a while, and see what arrived and what it cost."""
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
        spawn(argv, stdout=subprocess.PIPE) as readers,
    ):
        assert readers.stdout is not None
        assert readers.stdout.readline() == b"ready\n"
        before = cpu_s(pid)
        events = round(rate * seconds)
        due = time.monotonic()
        for n in range(events):
            service.update(
                done=n, isRunning=n % 2 == 0, queueLength=n % 31, step=f"step {n}", lastError=None
            )
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
        counted = json.loads(readers.stdout.readline())
        return Result(counted["delivered"], events * connections, cpu_s(pid) - before)


def read(port: int, connections: int) -> None:
    """Open the streams, say "ready" when each has its board, and say what came once nothing more does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, connections + 100)), hard))
    waiting = selectors.DefaultSelector()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.sendall(REQUEST)
        greeting = b""
        while b"\nevent: board\n" not in greeting or not greeting.endswith(b"\n\n\r\n"):
            greeting += sock.recv(65_536)
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
