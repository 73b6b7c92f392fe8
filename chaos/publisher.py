"""A program that publishes at a steady rate until it is ended: by the SDK, or plainly as any Redis client would.

Each event has a number that no other event of its kind has. The plain one prints `<first> <last> <hearers> <began> <ended>` for
each batch that Redis took and that at least one server was subscribed for: to how many servers each went at least, and when by
the monotonic clock, which is that of the machine however wrong ours is. What the SDK sent is what stands in the feed.
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
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True, help="events per second")
    parser.add_argument("--services", required=True, help="names, separated by commas")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument(
        "--pad", type=int, default=0, metavar="BYTES", help="how much larger to make each event"
    )
    options = parser.parse_args()
    names = options.services.split(",")
    # Numbers go on from where a predecessor that was killed can have been at most.
    first = time.time_ns() // 1_000_000 * NUMBERS_PER_MS
    send = (
        publish_plainly(options.url, names)
        if options.plain
        else publish(options.url, names, "x" * options.pad)
    )
    pace(options.rate, first, send)


def pace(rate: float, first: int, send: Callable[[range], None]) -> None:
    """Call `send` with the numbers that are due, for ever; what could not be sent in time is not made up for."""
    n, due, then = first, 0.0, time.monotonic()
    while True:
        time.sleep(TICK_S)
        now = time.monotonic()
        due += min(now - then, 10 * TICK_S) * rate
        then = now
        send(range(n, n + int(due)))
        n += int(due)
        due %= 1


def publish(url: str, names: list[str], pad: str) -> Callable[[range], None]:
    """Return what hands events to the SDK."""
    services = [Service(name, redis_url=url, heartbeat_s=1).start() for name in names]

    def send(numbers: range) -> None:
        for n in numbers:
            services[n % len(services)].update(
                n=n, isRunning=n % 2 == 0, queueLength=n % 31, phase="working", pad=pad
            )

    return send


def connect(url: str) -> redis.Redis:
    """Return a client as any program has one; where sentinels decide, one that asks them."""
    if not url.startswith("redis+sentinel://"):
        return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    hosts, _, master = url.removeprefix("redis+sentinel://").partition("/")
    places = [
        (host, int(port)) for host, _, port in (place.partition(":") for place in hosts.split(","))
    ]
    sentinel: Any = Sentinel  # redis-py gives it no types
    client: redis.Redis = sentinel(places, socket_timeout=2).master_for(master, socket_timeout=2)
    return client


def publish_plainly(url: str, names: list[str]) -> Callable[[range], None]:
    """Return what publishes events plainly, and waits while Redis is away."""
    client = connect(url)

    def send(numbers: range) -> None:
        if not numbers:
            return
        pipeline = client.pipeline(transaction=False)
        for n in numbers:
            event = {
                "service": names[0],
                "timestamp": time.time_ns() // 1_000_000,
                "status": {"n": n, "phase": "plain"},
            }
            pipeline.publish(f"service:{names[0]}", json.dumps(event, separators=(",", ":")))
        began = time.monotonic()
        try:
            hearers = min(pipeline.execute())
        except (redis.RedisError, OSError):
            time.sleep(0.05)
            return
        if hearers:
            print(numbers[0], numbers[-1], hearers, began, time.monotonic(), flush=True)

    return send


if __name__ == "__main__":
    main()
