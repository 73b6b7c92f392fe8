"""What does a call of the SDK cost the host application?

A service whose status has one field (in another row: twenty) calls update() in a tight loop and, as
host applications do, with a pause between calls. It also logs a line, adds to a counter, sets a
gauge, records a value in a histogram, and times a block. Redis, a Valkey of its own, is up, frozen
(SIGSTOP) and down. Each call is timed separately; the time includes the clock and the lambda around
the call. One row times a call of the standard library for comparison, because machines differ, and
so does one machine from hour to hour.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from benchmarks._environment import free_port, percentile, print_head, print_table
from pulseboard import Service
from pulseboard.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REDIS = ("up", "frozen", "down")
WIDE = {f"field{n}": n for n in range(20)}
TARGETS_US = {
    "update(n=1)": 3.0,
    "counter.add()": 1.0,
    "counter.add(5)": 1.0,
    'log("info", "synced", user=7)': 10.0,
}


class Case(NamedTuple):
    """A call, the other fields of the status, and the pause before each call."""

    name: str
    prepare: Callable[[Service], Callable[[], object]]
    fields: Mapping[str, int] = MappingProxyType({})
    pause_s: float = 0.0


def update(service: Service) -> Callable[[], object]:
    # Not partial(), which copies its keywords at each call: a host application has no such cost.
    return lambda: service.update(n=1)


def log(service: Service) -> Callable[[], object]:
    return lambda: service.log("info", "synced", user=7)


def time_empty_block(service: Service) -> Callable[[], object]:
    timer = service.timer("bench.timer")

    def block() -> None:
        with timer:
            pass

    return block


def encode(_: Service) -> Callable[[], object]:
    return lambda: json.dumps({"n": 1})


CASES = (
    Case('json.dumps({"n": 1}), for comparison', encode),
    Case("update(n=1)", update),
    Case("update(n=1), a pause of 1 ms", update, pause_s=0.001),
    Case("update(n=1), status of 20 fields", update, WIDE),
    Case('log("info", "synced", user=7)', log),
    Case("counter.add()", lambda service: service.counter("bench.counter").add),
    Case(
        "counter.add(), a pause of 1 ms",
        lambda service: service.counter("bench.counter").add,
        pause_s=0.001,
    ),
    Case("counter.add(5)", lambda service: partial(service.counter("bench.counter").add, 5)),
    Case("gauge.set(1.5)", lambda service: partial(service.gauge("bench.gauge").set, 1.5)),
    Case(
        "histogram.record(1.5)",
        lambda service: partial(service.histogram("bench.histogram").record, 1.5),
    ),
    Case("with timer: pass", time_empty_block),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=50_000, help="per row (default: 50000)")
    parser.add_argument(
        "--paused-calls", type=int, default=2_000, help="per row with a pause (default: 2000)"
    )
    options = parser.parse_args()
    print_head(__doc__)
    rows: list[list[object]] = []
    medians: dict[str, float] = {}
    lost = 0
    for redis in REDIS:
        for case in CASES:
            with serving(redis) as service:
                service.replace(dict(case.fields))
                calls = options.paused_calls if case.pause_s else options.calls
                durations = sorted(measure(case.prepare(service), calls, case.pause_s))
                stats = service.stats()
                lost += stats.offered != stats.sent + stats.dropped + stats.waiting
                figures = [
                    f"{percentile(durations, percent):.2f}" for percent in (50, 90, 99, 99.9)
                ]
                rows.append([f"Redis {redis}, {case.name}", *figures])
                medians[case.name] = max(medians.get(case.name, 0), percentile(durations, 50))
    print_table(["us per call", "p50", "p90", "p99", "p99.9"], rows)
    print()
    for name, target_us in TARGETS_US.items():
        verdict = "met" if medians[name] <= target_us else "MISSED"
        print(f"Target for {name}: p50 <= {target_us:g} us: {verdict}")
    if lost:
        print(f"in {lost} rows: offered events are not sent + dropped + waiting")
    return 1 if lost else 0


@contextmanager
def serving(redis: str) -> Iterator[Service]:
    """Run a service whose Redis is up, frozen or down."""
    with (
        tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder,
        EmbeddedValkey(Path(folder), port=free_port()) as valkey,
    ):
        pid = valkey.pid
        assert pid is not None
        url = valkey.address.url if redis != "down" else f"redis://127.0.0.1:{free_port()}"
        service = Service("bench", redis_url=url).start()
        while not (service.stats().failures if redis == "down" else service.stats().connected):
            time.sleep(0.01)
        if redis == "frozen":
            os.kill(pid, signal.SIGSTOP)
        try:
            yield service
        finally:
            if redis == "frozen":
                os.kill(pid, signal.SIGCONT)
            service.stop()


def measure(call: Callable[[], object], calls: int, pause_s: float) -> list[float]:
    """Return the duration of each call in us."""
    clock = time.perf_counter_ns
    durations = []
    gc.collect()
    for _ in range(calls):
        if pause_s:
            time.sleep(pause_s)
        started = clock()
        call()
        durations.append((clock() - started) / 1_000)
    return durations


if __name__ == "__main__":
    sys.exit(main())
