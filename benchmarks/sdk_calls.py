"""What does a call of the SDK cost the host?

A service with one field (and, in another row, with twenty) calls update() in a tight loop and, as hosts do, with a pause
between two calls; Redis is up, frozen (SIGSTOP) and down. Each call is timed by itself. Redis is a Valkey of its own.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._rig import free_port, percentile, print_head, print_table
from pulseboard import Service
from pulseboard.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET_US = 3.0
REDIS = ("up", "frozen", "down")
WIDE = {f"field{n}": n for n in range(20)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--paused-calls", type=int, default=2_000)
    options = parser.parse_args()
    print_head(__doc__)
    rows: list[list[object]] = []
    medians: list[float] = []
    lost = 0
    for redis in REDIS:
        for name, fields, calls, pause_s in (
            ("update(n=1)", {}, options.calls, 0.0),
            ("update(n=1), a pause of 1 ms", {}, options.paused_calls, 0.001),
            ("update(n=1) beside 19 fields", WIDE, options.calls, 0.0),
        ):
            with serving(redis) as service:
                service.replace(fields)
                took = sorted(measure(service, calls, pause_s))
                stats = service.stats()
                lost += stats.offered != stats.sent + stats.dropped + stats.waiting
                figures = [f"{percentile(took, percent):.1f}" for percent in (50, 90, 99, 99.9)]
                rows.append([f"Redis {redis}, {name}", *figures])
                if name == "update(n=1)":
                    medians.append(percentile(took, 50))
    print_table(["us a call", "p50", "p90", "p99", "p99.9"], rows)
    met = max(medians) <= TARGET_US
    print(f"\nTarget for update(n=1): p50 <= {TARGET_US:g} us: {'met' if met else 'MISSED'}")
    if lost:
        print("the counts of a service did not add up")
    return 1 if lost else 0


@contextmanager
def serving(redis: str) -> Iterator[Service]:
    """Run a service whose Redis is up, frozen, or down."""
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


def measure(service: Service, calls: int, pause_s: float) -> list[float]:
    """Return what each call took, in us."""
    clock = time.perf_counter_ns
    update: Any = service.update
    took = []
    gc.collect()
    for _ in range(calls):
        if pause_s:
            time.sleep(pause_s)
        started = clock()
        update(n=1)
        took.append((clock() - started) / 1_000)
    return took


if __name__ == "__main__":
    sys.exit(main())
