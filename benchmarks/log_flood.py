"""What does a flood of log lines cost the host, and is every line accounted for?

A program logs 20,000 lines a second for 30 s through `logging` and the handler of a service, with Redis up, frozen (SIGSTOP) and
down; each call is timed by itself, and between them, one for ten, the same call with a NullHandler. When the flood is over Redis
is there again, and what it holds is counted: the lines, and those that the batches say were dropped.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec
import redis

from benchmarks._rig import free_port, percentile, print_head, print_table
from pulseboard import Service
from pulseboard.bus.keys import Keys
from pulseboard.bus.retention.limits import DAY_S, MB, Limit, Limits
from pulseboard.embedded.valkey import EmbeddedValkey

TARGET_US = 10.0
MEMORY_TARGET_MB = 30
REDIS = ("up", "frozen", "down")
KEYS = Keys()
TICK_S = 0.001
WARM_UP_S = 3.0
NULL_EVERY = 10
PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=20_000, help="lines a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--host", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host:
        be_host(options.host, options.rate, options.seconds)
        return 0
    print_head(__doc__)
    rows, met = [], True
    for state in REDIS:
        told = flood(state, options.rate, options.seconds)
        counts = told["lines"]
        exact = counts["offered"] == counts["sent"] + counts["dropped"] == told["logged"] and (
            counts["sent"],
            counts["dropped"],
        ) == (told["held"], told["told_dropped"])
        grown = told["rss_peak"] - told["rss_before"]
        met &= exact and told["p50"] - told["null_p50"] <= TARGET_US and grown <= MEMORY_TARGET_MB
        rows.append(
            [
                f"Redis {state}",
                f"{told['rate']:.0f}",
                *(f"{told[name]:.1f}" for name in ("null_p50", "null_p99", "p50", "p99")),
                *(
                    f"{told[name]:.1f}"
                    for name in ("rss_before", "rss_peak", "rss_after", "null_cpu", "cpu")
                ),
                *(counts[name] for name in ("offered", "sent", "dropped")),
                "yes" if exact else "NO",
            ]
        )
    print_table(
        [
            *(
                "",
                "lines/s",
                "null p50",
                "null p99",
                "p50 us",
                "p99 us",
                "MB before",
                "peak",
                "after",
            ),
            *("null cpu %", "cpu %", "offered", "sent", "dropped", "exact"),
        ],
        rows,
    )
    print(
        f"\nTarget: p50 at most {TARGET_US:g} us more than a NullHandler's, at most {MEMORY_TARGET_MB} MB more than before, "
        f"every line accounted for: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


def flood(state: str, rate: int, seconds: float) -> dict[str, Any]:
    """Run the program on a Valkey of its own; return what it tells, and what Redis holds at the end."""
    with tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder:
        valkey = EmbeddedValkey(Path(folder), port=free_port())
        if state != "down":
            valkey.__enter__()
            allow_all(valkey)
        argv = [sys.executable, "-m", "benchmarks.log_flood", "--host", valkey.address.url]
        argv += ["--rate", str(rate), "--seconds", str(seconds)]
        host = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert host.stdout is not None
            assert host.stdin is not None
            host.stdout.readline()  # it is connected, or has found that it cannot be
            if state == "frozen":
                os.kill(valkey.pid or 0, signal.SIGSTOP)
            host.stdin.write("go\n")
            host.stdin.flush()
            host.stdout.readline()
            if state == "frozen":
                os.kill(valkey.pid or 0, signal.SIGCONT)
            elif state == "down":
                valkey.__enter__()
                allow_all(valkey)
            told: dict[str, Any] = json.loads(host.stdout.readline())
            host.stdin.close()
            host.wait(PATIENCE_S)
            return told | count_held(valkey)
        finally:
            host.kill()
            valkey.__exit__(None, None, None)


def allow_all(valkey: EmbeddedValkey) -> None:
    """Have Redis keep every line, so that they can be counted."""
    endless = Limit(10_000_000, 4_000 * MB, DAY_S)
    with redis.Redis(port=valkey.address.port) as raw:
        raw.set(KEYS.limits, msgspec.json.encode(Limits(log=endless)))


def count_held(valkey: EmbeddedValkey) -> dict[str, int]:
    held = dropped = 0
    with redis.Redis(port=valkey.address.port) as raw:
        rows: Any = raw.xrange(KEYS.history("flood", "log"))
        for _, fields in rows:
            batch = msgspec.json.decode(fields[b"data"])
            held += len(batch["lines"])
            dropped += batch.get("dropped", 0)
    return {"held": held, "told_dropped": dropped}


def be_host(url: str, rate: int, seconds: float) -> None:
    """Be the program that logs."""
    logger = logging.getLogger("host.work")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    null_logger = logging.getLogger("host.null")
    null_logger.setLevel(logging.INFO)
    null_logger.propagate = False
    null_logger.addHandler(logging.NullHandler())
    took, null_took = (
        array("I", bytes(4 * int(rate * seconds / part))) for part in (1, NULL_EVERY)
    )
    warm_up = array("I", bytes(4 * int(rate * WARM_UP_S)))
    null_cpu = log_lines(
        logger, warm_up, null_logger, array("I", warm_up[: len(warm_up) // NULL_EVERY]), rate
    )[1]
    service = Service("flood", redis_url=url, heartbeat_s=1).start()
    logger.addHandler(service.log_handler())
    deadline = time.monotonic() + PATIENCE_S
    while (
        not (service.stats().connected or service.stats().failures) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    before = rss_mb()
    lasted, cpu, peak = log_lines(logger, took, null_logger, null_took, rate)
    print("flooded", flush=True)
    while service.stats().lines.waiting and time.monotonic() < deadline + seconds + PATIENCE_S:
        time.sleep(0.05)
    # What was dropped since the last batch is told by the next one.
    logger.info("the end")
    while service.stats().lines.waiting and time.monotonic() < deadline + seconds + PATIENCE_S:
        time.sleep(0.05)
    after = rss_mb()
    service.stop()
    counts = service.stats().lines
    ordered, null_ordered = sorted(took), sorted(null_took)
    told = {
        "logged": len(took) + 1,
        "rate": len(took) / lasted,
        "cpu": cpu,
        "null_cpu": null_cpu,
        "rss_before": before,
        "rss_peak": peak,
        "rss_after": after,
        "lines": {"offered": counts.offered, "sent": counts.sent, "dropped": counts.overflowed},
    }
    for name, values in (("", ordered), ("null_", null_ordered)):
        told |= {f"{name}p{percent}": percentile(values, percent) / 1_000 for percent in (50, 99)}
    print(json.dumps(told), flush=True)


def log_lines(
    logger: logging.Logger,
    took: array[int],
    null_logger: logging.Logger,
    null_took: array[int],
    rate: int,
) -> tuple[float, float, float]:
    """Log in an even rhythm; return for how long (s), the share of a core that the process took (%), and its most memory (MB)."""
    clock = time.perf_counter_ns
    peak, each_tick = rss_mb(), max(1, int(rate * TICK_S))
    began, cpu = time.monotonic(), time.process_time()
    for n in range(len(took)):
        started = clock()
        logger.info("synced account %d of user %s in %.3f s", n, "u-17", 0.125)
        took[n] = clock() - started
        if n % NULL_EVERY == 0:
            started = clock()
            null_logger.info("synced account %d of user %s in %.3f s", n, "u-17", 0.125)
            null_took[n // NULL_EVERY] = clock() - started
        if n % each_tick == 0:
            if n % rate == 0:
                peak = max(peak, rss_mb())
            time.sleep(max(0.0, began + n / rate - time.monotonic()))
    lasted = time.monotonic() - began
    return lasted, 100 * (time.process_time() - cpu) / lasted, max(peak, rss_mb())


def rss_mb() -> float:
    return (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        * os.sysconf("SC_PAGE_SIZE")
        / MB
    )


if __name__ == "__main__":
    sys.exit(main())
