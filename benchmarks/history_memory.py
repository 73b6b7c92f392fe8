"""How much memory of Redis do full histories use?

50 services with 2 instances each publish statuses, log lines and metrics to a Valkey of its own
until every history and the feed have reached their default limits. Then `used_memory` is read. One
run has events of usual sizes, the other has large events.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis

from benchmarks._environment import free_port, print_head, print_table
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.retention.limits import MB, Limit, Limits
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.sdk.log_buffer import LineBatch
from pulseboard.wire.codec import encode
from pulseboard.wire.events.status import StatusEvent

TARGET_MB = 256
KEYS = Keys("bench")
WORDS = (
    "account",
    "balance",
    "synced",
    "user",
    "queue",
    "retry",
    "timeout",
    "fetched",
    "customer",
    "row",
    "skipped",
)


class EventSizes(NamedTuple):
    """The sizes of published events."""

    fields: int
    """Fields of a status."""
    text: int
    """Characters of a text in a status."""
    lines: int
    """Lines of a batch."""
    words: int
    """Words of a line."""
    metrics: int


USUAL = EventSizes(fields=12, text=20, lines=10, words=12, metrics=10)
LARGE = EventSizes(fields=100, text=200, lines=100, words=40, metrics=200)


class HistoryFiller:
    """Fills the histories of one service."""

    def __init__(
        self,
        publisher: Publisher,
        client: redis.Redis,
        name: str,
        sizes: EventSizes,
        random_: random.Random,
    ) -> None:
        self.name = name
        self._publisher = publisher
        self._client = client
        self._sizes = sizes
        self._random = random_
        self._number = 0

    def publish_some(self) -> bool:
        """Publish some events to each history that is not full; return False when all are full."""
        kinds = [
            kind
            for kind, (key, limit) in self._histories().items()
            if not self._is_full(key, limit)
        ]
        for instance in ("host-a:4711", "host-b:4712") * 10 if kinds else ():
            self._number += 1
            if "status" in kinds:
                self._publisher.publish(
                    [Outgoing(self.name, instance, self._status(instance)) for _ in range(20)]
                )
            if "log" in kinds:
                for part in range(4):
                    batch = LineBatch(
                        f"{self.name}:{self._number}:{part}", self._lines(), "info=1", 0
                    )
                    self._publisher.publish_lines(self.name, instance, batch)
            if "metric" in kinds:
                for _ in range(10):
                    self._publisher.publish_metrics(self.name, instance, self._metrics(instance))
        return bool(kinds)

    def _histories(self) -> dict[str, tuple[str, Limit]]:
        limits = Limits()
        return {
            "status": (KEYS.history(self.name), limits.status),
            "log": (KEYS.history(self.name, "log"), limits.log),
            "metric": (KEYS.history(self.name, "metric"), limits.metric),
        }

    def _is_full(self, key: str, limit: Limit) -> bool:
        """Whether a history has reached its limit in entries, or 90 % of its limit in bytes."""
        return bool(
            self._client.xlen(key) >= limit.entries
            or size_of(self._client, key) >= 0.9 * limit.size_bytes
        )

    def _status(self, instance: str) -> bytes:
        status = {
            f"field_{n}": self._text(self._sizes.text) if n % 3 else self._random.random()
            for n in range(self._sizes.fields)
        }
        return encode(
            StatusEvent(self.name, 1_765_584_000_000, msgspec.Raw(encode(status)), instance, 5.0)
        )

    def _lines(self) -> list[bytes]:
        message = {
            "level": "info",
            "message": "",
            "timestamp": 1_765_584_000_000,
            "logger": "service.work",
        }
        return [
            encode(
                message
                | {
                    "message": self._words(self._sizes.words),
                    "fields": {"user": self._random.randrange(10**6)},
                }
            )
            for _ in range(self._sizes.lines)
        ]

    def _metrics(self, instance: str) -> bytes:
        values = {
            f"requests_{n}": round(self._random.random() * 1_000, 3)
            for n in range(self._sizes.metrics)
        }
        event = {
            "service": self.name,
            "instance": instance,
            "timestamp": 1_765_584_000_000,
            "metrics": values,
        }
        return encode(event | {"kinds": dict.fromkeys(list(values)[::2], "counter")})

    def _words(self, count: int) -> str:
        return " ".join(self._random.choice(WORDS) for _ in range(count))

    def _text(self, size: int) -> str:
        return self._random.randbytes(size // 2).hex()


def size_of(client: redis.Redis, key: str) -> int:
    """Return the memory of a key in bytes (MEMORY USAGE)."""
    size: Any = client.memory_usage(key, samples=0)
    return int(size or 0)


def measure(services: int, sizes: EventSizes) -> tuple[list[object], float]:
    """Fill a Valkey; return a row of the table, and `used_memory` in MB."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder,
        EmbeddedValkey(Path(folder), port=free_port()) as valkey,
        redis.Redis(port=valkey.address.port) as client,
    ):
        before = used_memory_mb(client)
        publisher = Publisher(valkey.address, KEYS, timeout_s=30)
        random_ = random.Random(7)
        fillers = [
            HistoryFiller(publisher, client, f"service-{n}", sizes, random_)
            for n in range(services)
        ]
        active = list(fillers)
        began = time.monotonic()
        while active:
            active = [filler for filler in active if filler.publish_some()]
        names = [filler.name for filler in fillers]
        kinds = (
            sum(size_of(client, KEYS.history(name)) for name in names),
            sum(size_of(client, KEYS.history(name, "log")) for name in names),
            sum(size_of(client, KEYS.history(name, "metric")) for name in names),
            size_of(client, KEYS.feed),
        )
        total = used_memory_mb(client)
        publisher.close()
        row = [f"{size / MB:.1f}" for size in (*kinds, before * MB, total * MB)]
        return [*row, f"{time.monotonic() - began:.0f}"], total


def used_memory_mb(client: redis.Redis) -> float:
    info: Any = client.info("memory")
    return float(info["used_memory"]) / MB


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, default=50, help="services (default: 50)")
    options = parser.parse_args()
    print_head(__doc__)
    rows, largest_mb = [], 0.0
    for name, sizes in (("usual", USUAL), ("large", LARGE)):
        row, total = measure(options.services, sizes)
        rows.append([name, *row])
        largest_mb = max(largest_mb, total)
    print_table(["MB", "status", "logs", "metrics", "feed", "empty", "used_memory", "s"], rows)
    met = largest_mb <= TARGET_MB
    print(
        f"\nTarget for {options.services} services: used_memory <= {TARGET_MB} MB: "
        f"{'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
