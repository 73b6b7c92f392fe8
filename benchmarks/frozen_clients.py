"""What do clients that never read cost the server, the kernel, and the clients that read?

Frozen clients open the stream one after the other and never read, neither a large board nor the
published events. One active client reads; the time from a publish until it has the event is
measured. Turns without and with frozen clients alternate in one run.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks._environment import percentile, print_head, run_server

REQUEST = b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
FILL_S = 4.0
"""The kernel's buffers for frozen clients fill within this time. Before that, they are served like
active clients."""


class Load(NamedTuple):
    """The load of a turn."""

    rate: float
    """Events per second."""
    seconds: float
    size: int
    """Bytes of text in each event."""
    instances: int
    """Instances on the board."""
    apart_s: float
    """Seconds between the connections of two frozen clients."""


class TurnResult(NamedTuple):
    """Latencies of the active client (ms); memory of server and sockets at the end (MB)."""

    latencies: list[float]
    rss_mb: float
    kernel_mb: float


class ActiveClient(threading.Thread):
    """Reads the stream and records the latency of each event in ms."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.latencies: list[float] = []
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.sendall(REQUEST)

    def run(self) -> None:
        with self._sock, self._sock.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data: ") and (at := line.find(b'"sent":')) > 0:
                    sent = float(line[at + 7 : line.index(b",", at)])
                    self.latencies.append((time.time() - sent) * 1000)


def measure(frozen: int, load: Load) -> TurnResult:
    """Run one turn with a server of its own."""
    with (
        run_server() as server,
        ExitStack() as sockets,
        redis.Redis(port=server.address.port) as client,
    ):
        fill_board(client, load.instances, load.size)
        for _ in range(frozen):
            time.sleep(load.apart_s)
            sock = sockets.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            sock.sendall(REQUEST)
        active = ActiveClient(server.port)
        active.start()
        publish(client, load.rate, FILL_S, load.size)
        ignored = len(active.latencies)
        publish(client, load.rate, load.seconds, load.size)
        rss = next(
            line
            for line in Path(f"/proc/{server.pid}/status").read_text().splitlines()
            if "VmRSS" in line
        )
        pages = (
            Path("/proc/net/sockstat").read_text().partition("TCP:")[2].split("mem ")[1].split()[0]
        )
        return TurnResult(
            active.latencies[ignored:], int(rss.split()[1]) / 1024, int(pages) * 4 / 1024
        )


def fill_board(client: redis.Redis, instances: int, size: int) -> None:
    """Publish a status for each instance, and wait until all are on the board."""
    for n in range(instances):
        message = {
            "service": "fleet",
            "timestamp": 1,
            "status": {"text": "x" * size},
            "instance": f"{n}",
        }
        client.publish("service:fleet", json.dumps(message))
    while client.hlen("{pulseboard}:board") < instances:
        time.sleep(0.05)


def publish(client: redis.Redis, rate: float, seconds: float, size: int) -> None:
    """Publish external messages at a constant rate."""
    began = time.monotonic()
    for n in range(int(rate * seconds)):
        status = {"sent": time.time(), "text": "x" * size}
        client.publish(
            "service:report", json.dumps({"service": "report", "timestamp": 1, "status": status})
        )
        time.sleep(max(0.0, began + (n + 1) / rate - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frozen", type=int, default=1_000, help="clients that never read")
    parser.add_argument("--rate", type=float, default=500.0, help="events per second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--size", type=int, default=300, help="bytes of text in each event")
    parser.add_argument(
        "--instances", type=int, default=3_000, help="on the board, each with a text of --size"
    )
    parser.add_argument(
        "--apart", type=float, default=0.02, help="seconds between two frozen clients"
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of each kind")
    options = parser.parse_args()
    load = Load(options.rate, options.seconds, options.size, options.instances, options.apart)
    print_head(__doc__)
    print(
        f"{load.rate:g} events per second of about {load.size} bytes, "
        f"{options.turns} turns of {load.seconds:g} s"
    )
    print(f"  {'frozen':>8}{'p50 ms':>10}{'p99 ms':>10}{'server MB':>12}{'kernel MB':>12}")
    p99s: dict[int, list[float]] = {0: [], options.frozen: []}
    for _ in range(options.turns):
        for frozen, p99_of_turns in p99s.items():
            result = measure(frozen, load)
            ordered = sorted(result.latencies)
            p50, p99 = percentile(ordered, 50), percentile(ordered, 99)
            p99_of_turns.append(p99)
            latencies, memory = (p50, p99), (result.rss_mb, result.kernel_mb)
            cells = [f"{ms:>10.1f}" for ms in latencies] + [f"{mb:>12.0f}" for mb in memory]
            print(f"  {frozen:>8}{''.join(cells)}", flush=True)
    ratio = sorted(p99s[options.frozen])[options.turns // 2] / sorted(p99s[0])[options.turns // 2]
    print(f"  p99 with frozen clients, in the median turn: {ratio:.2f} times the p99 without")


if __name__ == "__main__":
    main()
