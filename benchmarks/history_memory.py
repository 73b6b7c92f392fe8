"""How much memory do full histories take?

50 services of 2 instances each publish status, log lines and metrics into a Valkey of its own until every history and the feed
are full by the default limits; then Redis is asked what it holds (`used_memory`). Once with events of the usual sizes,
and once with large ones.
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

from benchmarks._rig import free_port, print_head, print_table
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


class Sizes(NamedTuple):
    """Of what is published: fields of a status, characters of a text in it, lines of a batch, words of a line, metrics."""

    fields: int
    text: int
    lines: int
    words: int
    metrics: int


USUAL = Sizes(fields=12, text=20, lines=10, words=12, metrics=10)
LARGE = Sizes(fields=100, text=200, lines=100, words=40, metrics=200)


class Writer:
    """One service that says all it can."""

    def __init__(
        self, publisher: Publisher, raw: redis.Redis, name: str, sizes: Sizes, dice: random.Random
    ) -> None:
        self._publisher, self._raw, self.name, self._sizes, self._dice = (
            publisher,
            raw,
            name,
            sizes,
            dice,
        )
        self._number = 0

    def turn(self) -> bool:
        """Publish a few events of each kind and each instance whose history is not full; return whether there was any."""
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
        """Whether a history has reached its limit, in entries or nearly in bytes."""
        return bool(
            self._raw.xlen(key) >= limit.entries
            or size_of(self._raw, key) >= 0.9 * limit.size_bytes
        )

    def _status(self, instance: str) -> bytes:
        status = {
            f"field_{n}": self._text(self._sizes.text) if n % 3 else self._dice.random()
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
                    "message": self._say(self._sizes.words),
                    "fields": {"user": self._dice.randrange(10**6)},
                }
            )
            for _ in range(self._sizes.lines)
        ]

    def _metrics(self, instance: str) -> bytes:
        values = {
            f"requests_{n}": round(self._dice.random() * 1_000, 3)
            for n in range(self._sizes.metrics)
        }
        event = {
            "service": self.name,
            "instance": instance,
            "timestamp": 1_765_584_000_000,
            "metrics": values,
        }
        return encode(event | {"kinds": dict.fromkeys(list(values)[::2], "counter")})

    def _say(self, words: int) -> str:
        return " ".join(self._dice.choice(WORDS) for _ in range(words))

    def _text(self, size: int) -> str:
        return self._dice.randbytes(size // 2).hex()


def size_of(raw: redis.Redis, key: str) -> int:
    size: Any = raw.memory_usage(key, samples=0)
    return int(size or 0)


def measure(services: int, sizes: Sizes) -> tuple[list[object], float]:
    """Fill a Valkey; return what it holds in MB, by kind and in all."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder,
        EmbeddedValkey(Path(folder), port=free_port()) as valkey,
        redis.Redis(port=valkey.address.port) as raw,
    ):
        before = used(raw)
        publisher = Publisher(valkey.address, KEYS, timeout_s=30)
        dice = random.Random(7)
        writers = [Writer(publisher, raw, f"service-{n}", sizes, dice) for n in range(services)]
        filling = list(writers)
        began = time.monotonic()
        while filling:
            filling = [writer for writer in filling if writer.turn()]
        names = [writer.name for writer in writers]
        kinds = (
            sum(size_of(raw, KEYS.history(name)) for name in names),
            sum(size_of(raw, KEYS.history(name, "log")) for name in names),
            sum(size_of(raw, KEYS.history(name, "metric")) for name in names),
            size_of(raw, KEYS.feed),
        )
        total = used(raw)
        publisher.close()
        row = [f"{size / MB:.1f}" for size in (*kinds, before * MB, total * MB)]
        return [*row, f"{time.monotonic() - began:.0f}"], total


def used(raw: redis.Redis) -> float:
    info: Any = raw.info("memory")
    return float(info["used_memory"]) / MB


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, default=50)
    options = parser.parse_args()
    print_head(__doc__)
    rows, most = [], 0.0
    for name, sizes in (("usual", USUAL), ("large", LARGE)):
        row, total = measure(options.services, sizes)
        rows.append([name, *row])
        most = max(most, total)
    print_table(["MB", "status", "logs", "metrics", "feed", "empty", "used_memory", "s"], rows)
    met = most <= TARGET_MB
    print(
        f"\nTarget for {options.services} services: used_memory <= {TARGET_MB} MB: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
