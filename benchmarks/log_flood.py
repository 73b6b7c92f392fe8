"""What does a flood of log lines cost the host application, and is any line lost?

A program logs 20,000 lines per second for 30 s through `logging` and the handler of a service, with
Redis up, frozen (SIGSTOP) and down. Each call is timed separately; after every tenth call, the same
call with a NullHandler is timed. After the flood Redis is up again, and the program counts the
lines in Redis and the dropped lines that the batches report.
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

from benchmarks._environment import free_port, percentile, print_head, print_table
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
LIMIT_S = 60.0
FIGURES = (
    *("null_p50", "null_p99", "p50", "p99"),
    *("rss_before", "rss_peak", "rss_after", "null_cpu", "cpu"),
)
HEAD = (
    *("", "lines/s", "null p50 us", "null p99 us", "p50 us", "p99 us"),
    *("MB before", "MB peak", "MB after", "null cpu %", "cpu %"),
    *("offered", "sent", "dropped", "exact"),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=20_000, help="lines per second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each flood (default: 30)")
    parser.add_argument("--log-to", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.log_to:
        run_host_application(options.log_to, options.rate, options.seconds)
        return 0
    print_head(__doc__)
    rows, met = [], True
    for state in REDIS:
        result = flood(state, options.rate, options.seconds)
        exact = is_exact(result)
        extra_us = result["p50"] - result["null_p50"]
        grown_mb = result["rss_peak"] - result["rss_before"]
        met &= exact and extra_us <= TARGET_US and grown_mb <= MEMORY_TARGET_MB
        rows.append(
            [
                f"Redis {state}",
                f"{result['rate']:.0f}",
                *(f"{result[name]:.1f}" for name in FIGURES),
                *(result["lines"][name] for name in ("offered", "sent", "dropped")),
                "yes" if exact else "NO",
            ]
        )
    print_table(HEAD, rows)
    print(
        f"\nTarget: p50 at most {TARGET_US:g} us more than with a NullHandler, "
        f"memory at most {MEMORY_TARGET_MB} MB more than before, "
        f"every line accounted for: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


def is_exact(result: dict[str, Any]) -> bool:
    """Whether every offered line is sent and in Redis, or dropped and reported as dropped."""
    counts = result["lines"]
    offered, sent, dropped = counts["offered"], counts["sent"], counts["dropped"]
    return bool(
        offered == sent + dropped == result["logged"]
        and (sent, dropped) == (result["stored"], result["reported_dropped"])
    )


def flood(state: str, rate: int, seconds: float) -> dict[str, Any]:
    """Run the host application with a Valkey; return its figures and the counts from Redis."""
    with tempfile.TemporaryDirectory(prefix="pulseboard-bench-") as folder:
        valkey = EmbeddedValkey(Path(folder), port=free_port())
        if state != "down":
            valkey.__enter__()
            raise_log_limit(valkey)
        argv = [sys.executable, "-m", "benchmarks.log_flood", "--log-to", valkey.address.url]
        argv += ["--rate", str(rate), "--seconds", str(seconds)]
        host = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert host.stdout is not None
            assert host.stdin is not None
            host.stdout.readline()  # "ready": the SDK is connected, or a connection has failed
            if state == "frozen":
                os.kill(valkey.pid or 0, signal.SIGSTOP)
            host.stdin.write("start\n")
            host.stdin.flush()
            host.stdout.readline()  # "flooded"
            if state == "frozen":
                os.kill(valkey.pid or 0, signal.SIGCONT)
            elif state == "down":
                valkey.__enter__()
                raise_log_limit(valkey)
            result: dict[str, Any] = json.loads(host.stdout.readline())
            host.stdin.close()
            host.wait(LIMIT_S)
            return result | count_stored(valkey)
        finally:
            host.kill()
            valkey.__exit__(None, None, None)


def raise_log_limit(valkey: EmbeddedValkey) -> None:
    """Raise the limit of the log history, so that Redis keeps every line."""
    unlimited = Limit(10_000_000, 4_000 * MB, DAY_S)
    with redis.Redis(port=valkey.address.port) as client:
        client.set(KEYS.limits, msgspec.json.encode(Limits(log=unlimited)))


def count_stored(valkey: EmbeddedValkey) -> dict[str, int]:
    """Return the number of lines in Redis, and of dropped lines that batches report."""
    stored = dropped = 0
    with redis.Redis(port=valkey.address.port) as client:
        rows: Any = client.xrange(KEYS.history("flood", "log"))
        for _, fields in rows:
            batch = msgspec.json.decode(fields[b"data"])
            stored += len(batch["lines"])
            dropped += batch.get("dropped", 0)
    return {"stored": stored, "reported_dropped": dropped}


def run_host_application(url: str, rate: int, seconds: float) -> None:
    """Log at `rate` when standard input says so; print the figures as JSON."""
    logger, null_logger = create_logger("app.work"), create_logger("app.null")
    durations, null_durations = (
        array("I", bytes(4 * int(rate * seconds / part))) for part in (1, NULL_EVERY)
    )
    warm_up = array("I", bytes(4 * int(rate * WARM_UP_S)))
    null_cpu = log_lines(
        logger, warm_up, null_logger, array("I", warm_up[: len(warm_up) // NULL_EVERY]), rate
    )[1]
    service = Service("flood", redis_url=url, heartbeat_s=1).start()
    logger.addHandler(service.log_handler())
    deadline = time.monotonic() + LIMIT_S
    while (
        not (service.stats().connected or service.stats().failures) and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    print("ready", flush=True)
    sys.stdin.readline()
    before = rss_mb()
    elapsed_s, cpu, peak = log_lines(logger, durations, null_logger, null_durations, rate)
    print("flooded", flush=True)
    while service.stats().lines.waiting and time.monotonic() < deadline + seconds + LIMIT_S:
        time.sleep(0.05)
    # The next batch reports the lines that were dropped since the last one.
    logger.info("the end")
    while service.stats().lines.waiting and time.monotonic() < deadline + seconds + LIMIT_S:
        time.sleep(0.05)
    after = rss_mb()
    service.stop()
    counts = service.stats().lines
    ordered, null_ordered = sorted(durations), sorted(null_durations)
    result = {
        "logged": len(durations) + 1,
        "rate": len(durations) / elapsed_s,
        "cpu": cpu,
        "null_cpu": null_cpu,
        "rss_before": before,
        "rss_peak": peak,
        "rss_after": after,
        "lines": {"offered": counts.offered, "sent": counts.sent, "dropped": counts.overflowed},
    }
    for name, values in (("", ordered), ("null_", null_ordered)):
        result |= {f"{name}p{percent}": percentile(values, percent) / 1_000 for percent in (50, 99)}
    print(json.dumps(result), flush=True)


def create_logger(name: str) -> logging.Logger:
    """Return a logger with a NullHandler that does not propagate."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


def log_lines(
    logger: logging.Logger,
    durations: array[int],
    null_logger: logging.Logger,
    null_durations: array[int],
    rate: int,
) -> tuple[float, float, float]:
    """Log at a constant rate, and record the duration of each call in ns.

    Returns the elapsed time (s), the use of one core (%), and the peak memory (MB).
    """
    clock = time.perf_counter_ns
    peak, each_tick = rss_mb(), max(1, int(rate * TICK_S))
    began, cpu = time.monotonic(), time.process_time()
    for n in range(len(durations)):
        started = clock()
        logger.info("synced account %d of user %s in %.3f s", n, "u-17", 0.125)
        durations[n] = clock() - started
        if n % NULL_EVERY == 0:
            started = clock()
            null_logger.info("synced account %d of user %s in %.3f s", n, "u-17", 0.125)
            null_durations[n // NULL_EVERY] = clock() - started
        if n % each_tick == 0:
            if n % rate == 0:
                peak = max(peak, rss_mb())
            time.sleep(max(0.0, began + n / rate - time.monotonic()))
    elapsed_s = time.monotonic() - began
    return elapsed_s, 100 * (time.process_time() - cpu) / elapsed_s, max(peak, rss_mb())


def rss_mb() -> float:
    return (
        int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        * os.sysconf("SC_PAGE_SIZE")
        / MB
    )


if __name__ == "__main__":
    sys.exit(main())
