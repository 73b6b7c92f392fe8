"""What do readers that never read cost the server, the kernel, and those who read?

A crowd opens the stream, one a little after the other, and takes nothing of it, neither of a large board nor of the events
that are published; one reader reads, and the time from a publish until it has the event is taken. By turns without the crowd and
with it, in one run.
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

from benchmarks._rig import percentile, print_head, rig

REQUEST = b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
SETTLE_S = 4.0
"""Until what the kernel buffers for a frozen reader is full, it is a reader like any other."""


class Figures(NamedTuple):
    """Of one turn: latencies of who reads (ms), and what the server and the kernel's sockets held at its end (MB)."""

    latencies: list[float]
    rss_mb: float
    kernel_mb: float


class Reader(threading.Thread):
    """Reads the stream, and takes the time that each event took."""

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


def measure(
    frozen: int, rate: float, seconds: float, size: int, instances: int, apart_s: float
) -> Figures:
    """Run one turn on a server of its own."""
    with rig() as serving, ExitStack() as crowd, redis.Redis(port=serving.address.port) as client:
        fill(client, instances, size)
        for _ in range(frozen):
            time.sleep(apart_s)
            sock = crowd.enter_context(socket.create_connection(("127.0.0.1", serving.port)))
            sock.sendall(REQUEST)
        reader = Reader(serving.port)
        reader.start()
        publish(client, rate, SETTLE_S, size)
        settled = len(reader.latencies)
        publish(client, rate, seconds, size)
        rss = next(
            line
            for line in Path(f"/proc/{serving.pid}/status").read_text().splitlines()
            if "VmRSS" in line
        )
        pages = (
            Path("/proc/net/sockstat").read_text().partition("TCP:")[2].split("mem ")[1].split()[0]
        )
        return Figures(
            reader.latencies[settled:], int(rss.split()[1]) / 1024, int(pages) * 4 / 1024
        )


def fill(client: redis.Redis, instances: int, size: int) -> None:
    """Put so many instances on the board, and wait until they are there."""
    for n in range(instances):
        message = {
            "service": "crowd",
            "timestamp": 1,
            "status": {"text": "x" * size},
            "instance": f"{n}",
        }
        client.publish("service:crowd", json.dumps(message))
    while client.hlen("{pulseboard}:board") < instances:
        time.sleep(0.05)


def publish(client: redis.Redis, rate: float, seconds: float, size: int) -> None:
    """Publish in an even rhythm."""
    began = time.monotonic()
    for n in range(int(rate * seconds)):
        status = {"sent": time.time(), "text": "x" * size}
        client.publish(
            "service:report", json.dumps({"service": "report", "timestamp": 1, "status": status})
        )
        time.sleep(max(0.0, began + (n + 1) / rate - time.monotonic()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frozen", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--size", type=int, default=300, help="bytes of text in each event")
    parser.add_argument(
        "--instances", type=int, default=3_000, help="on the board, with a text of that size each"
    )
    parser.add_argument(
        "--apart", type=float, default=0.02, help="seconds between two of the crowd"
    )
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    print_head(__doc__)
    print(
        f"{options.rate:g} events a second of about {options.size} bytes, {options.turns} turns of {options.seconds:g} s"
    )
    print(f"  {'frozen':>8}{'p50 ms':>10}{'p99 ms':>10}{'server MB':>12}{'kernel MB':>12}")
    p99s: dict[int, list[float]] = {0: [], options.frozen: []}
    for _ in range(options.turns):
        for frozen, p99_of_turns in p99s.items():
            figures = measure(
                frozen,
                options.rate,
                options.seconds,
                options.size,
                options.instances,
                options.apart,
            )
            ordered = sorted(figures.latencies)
            p50, p99 = percentile(ordered, 50), percentile(ordered, 99)
            p99_of_turns.append(p99)
            print(
                f"  {frozen:>8}{p50:>10.1f}{p99:>10.1f}{figures.rss_mb:>12.0f}{figures.kernel_mb:>12.0f}",
                flush=True,
            )
    ratio = sorted(p99s[options.frozen])[options.turns // 2] / sorted(p99s[0])[options.turns // 2]
    print(f"  p99 with them, in the median turn: {ratio:.2f} times that without")


if __name__ == "__main__":
    main()
