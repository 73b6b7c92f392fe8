"""A program that publishes at a constant rate, through the SDK or as any Redis client.

Each event has a number that is unique among events of its kind. With `--external` the program
prints `<first> <last> <subscribers> <began> <ended>` for each batch that Redis accepted while at
least one server was subscribed. `first` and `last` are numbers of events, and each message went to
at least `subscribers` servers. `began` and `ended` are times by the monotonic clock, which is the
same for all processes of the machine even if this process has a wrong wall clock. For events of the
SDK the program prints nothing: the feed records them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.sentinel import Sentinel

from pulseboard import Service

TICK_S = 0.01
NUMBERS_PER_MS = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="URL of Redis")
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--services", required=True, help="names, separated by commas")
    parser.add_argument("--external", action="store_true", help="publish without the SDK")
    parser.add_argument(
        "--pad", type=int, default=0, metavar="BYTES", help="bytes of padding in each event"
    )
    options = parser.parse_args()
    names = options.services.split(",")
    # Numbers begin at the current time, so they exceed those of a publisher that was killed before:
    # no publisher sends more than NUMBERS_PER_MS events per ms.
    first = time.time_ns() // 1_000_000 * NUMBERS_PER_MS
    send = (
        create_external_sender(options.url, names)
        if options.external
        else create_sdk_sender(options.url, names, "x" * options.pad)
    )
    run_at_rate(options.rate, first, send)


def run_at_rate(rate: float, first: int, send: Callable[[range], None]) -> None:
    """Call `send` with the numbers that are due, forever.

    After a delay of more than 10 ticks, the events that were due in it are left out.
    """
    n, due, then = first, 0.0, time.monotonic()
    while True:
        time.sleep(TICK_S)
        now = time.monotonic()
        due += min(now - then, 10 * TICK_S) * rate
        then = now
        send(range(n, n + int(due)))
        n += int(due)
        due %= 1


def create_sdk_sender(url: str, names: list[str], pad: str) -> Callable[[range], None]:
    """Return a function that publishes events through the SDK."""
    services = [Service(name, redis_url=url, heartbeat_s=1).start() for name in names]

    def send(numbers: range) -> None:
        for n in numbers:
            services[n % len(services)].update(
                n=n, isRunning=n % 2 == 0, queueLength=n % 31, phase="working", pad=pad
            )

    return send


def connect(url: str) -> redis.Redis:
    """Return an ordinary client of redis-py; with a Sentinel URL, one that finds the master."""
    if not url.startswith("redis+sentinel://"):
        return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    hosts, _, master = url.removeprefix("redis+sentinel://").partition("/")
    addresses = [
        (host, int(port)) for host, _, port in (part.partition(":") for part in hosts.split(","))
    ]
    sentinel: Any = Sentinel  # redis-py gives it no types
    client: redis.Redis = sentinel(addresses, socket_timeout=2).master_for(master, socket_timeout=2)
    return client


def create_external_sender(url: str, names: list[str]) -> Callable[[range], None]:
    """Return a function that publishes external messages and skips a batch that fails."""
    client = connect(url)

    def send(numbers: range) -> None:
        if not numbers:
            return
        pipeline = client.pipeline(transaction=False)
        for n in numbers:
            event = {
                "service": names[0],
                "timestamp": time.time_ns() // 1_000_000,
                "status": {"n": n, "phase": "external"},
            }
            pipeline.publish(f"service:{names[0]}", json.dumps(event, separators=(",", ":")))
        began = time.monotonic()
        try:
            subscribers = min(pipeline.execute())
        except (redis.RedisError, OSError):
            time.sleep(0.05)
            return
        if subscribers:
            print(numbers[0], numbers[-1], subscribers, began, time.monotonic(), flush=True)

    return send


if __name__ == "__main__":
    main()
