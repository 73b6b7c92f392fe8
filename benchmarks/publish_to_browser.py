"""How long does it take from `update()` in a service until a browser shows the value?

Starts a Valkey, `pulseboard serve` and a Chromium with the real page. This process is the service:
it calls `Service.update()` at a constant rate, the SDK's thread publishes, and a MutationObserver
in the page records when the value on the card changes. "In the page": the value is in the DOM.
"Next frame": the browser has begun the frame that paints the value, which waits for the refresh of
the screen (16.7 ms). The offset between the clocks of page and process comes from the fastest of
200 round trips; half of its duration is the maximum error. Exits with 1 if an update was not shown.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from playwright.sync_api import expect

from benchmarks._environment import browsing, percentile, print_head, print_table, run_server
from pulseboard import Service

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from pulseboard.bus.connection.address import RedisAddress

TARGET_P50_MS, TARGET_P99_MS = 15.0, 60.0
NAME = "balance-sync"
VALUE = f"[data-service='{NAME}'] [data-field=step] [data-value]"

WATCH = """selector => {
  window.shown = [];
  window.framed = [];
  const now = () => performance.timeOrigin + performance.now();
  const value = document.querySelector(selector);
  new MutationObserver(() => {
    const step = value.textContent;
    window.shown.push([step, now()]);
    requestAnimationFrame(() => window.framed.push([step, now()]));
  }).observe(value, { characterData: true, childList: true, subtree: true });
}"""


class ClockOffset(NamedTuple):
    """The difference between this process's clock and the page's, and its maximum error."""

    offset_ms: float
    error_ms: float


class RunResult(NamedTuple):
    """The latencies of one run in ms, the number of updates, and the maximum clock error."""

    in_page: list[float]
    in_frame: list[float]
    sent: int
    error_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=500, help="of each run (default: 500)")
    parser.add_argument("--per-second", type=float, default=50.0, help="rate (default: 50)")
    parser.add_argument("--runs", type=int, default=3, help="number of runs (default: 3)")
    options = parser.parse_args()
    print_head(__doc__)
    print(f"{options.updates} updates at {options.per_second:g}/s, {options.runs} runs")
    rows: list[list[object]] = []
    lost, met = 0, True
    with (
        run_server("--expect", NAME) as server,
        browsing(f"http://127.0.0.1:{server.port}/services") as page,
    ):
        for number in range(1, options.runs + 1):
            run = measure(page, server.address, options.updates, options.per_second)
            lost += run.sent - len(run.in_page)
            for where, values in (("in the page", run.in_page), ("next frame", run.in_frame)):
                figures = (
                    [percentile(sorted(values), percent) for percent in (50, 90, 99, 100)]
                    if values
                    else []
                )
                rows.append(
                    [
                        f"run {number}, {where}",
                        *(f"{ms:.1f}" for ms in figures),
                        f"{len(values)}/{run.sent}",
                    ]
                )
            met &= percentile(sorted(run.in_page), 50) < TARGET_P50_MS
            met &= percentile(sorted(run.in_page), 99) < TARGET_P99_MS
            print(f"run {number}: maximum clock error {run.error_ms:.2f} ms")
    print()
    print_table(["update() to browser, ms", "p50", "p90", "p99", "max", "shown"], rows)
    print(
        f"\nTarget in the page: p50 < {TARGET_P50_MS:g}, p99 < {TARGET_P99_MS:g}: "
        f"{'met' if met else 'MISSED'}"
    )
    if lost:
        print(f"{lost} updates were never shown")
    return 1 if lost else 0


def measure(page: Page, address: RedisAddress, updates: int, per_second: float) -> RunResult:
    """Publish updates, and return how long each took to the page."""
    with Service(NAME, redis_url=address.url, instance="bench") as service:
        service.replace(status(0, "begin"))
        expect(page.locator(VALUE)).to_have_text("begin")
        page.evaluate(WATCH, VALUE)
        before = compare_clocks(page)
        sent: dict[str, float] = {}
        gc.collect()
        due = time.monotonic()
        for n in range(updates):
            due += 1 / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            step = f"step {n}"
            fields = status(n, step)
            sent[step] = time.time() * 1000
            service.update(**fields)
        time.sleep(1)  # much longer than the last update takes
        after = compare_clocks(page)
        clock = min(before, after, key=lambda clock: clock.error_ms)
        drift_ms = abs(after.offset_ms - before.offset_ms)
        shown, framed = (
            first_times(page.evaluate(f"window.{name}")) for name in ("shown", "framed")
        )
    return RunResult(
        [at + clock.offset_ms - sent[step] for step, at in shown.items() if step in sent],
        [at + clock.offset_ms - sent[step] for step, at in framed.items() if step in sent],
        updates,
        clock.error_ms + drift_ms,
    )


def status(n: int, step: str) -> dict[str, Any]:
    """Return a status with the size and rate of change of a real service's."""
    return {
        "isRunning": n % 20 != 0,
        "step": step,
        "queueHigh": n % 7,
        "queueNormal": n % 31,
        "done": n,
        "failed": n // 50,
        "avgDurationMs": 180 + n % 40,
        "lastRunAt": time.time_ns() // 1_000_000,
        "lastError": None if n % 100 else "the bank responded with 503",
    }


def first_times(observations: list[tuple[str, float]]) -> dict[str, float]:
    """Return the first time of each step."""
    times: dict[str, float] = {}
    for step, at in observations:
        times.setdefault(step, at)
    return times


def compare_clocks(page: Page) -> ClockOffset:
    """Return the clock offset by the fastest of 200 round trips."""
    best = ClockOffset(0.0, float("inf"))
    for _ in range(200):
        began = time.time() * 1000
        page_time: float = page.evaluate("performance.timeOrigin + performance.now()")
        ended = time.time() * 1000
        half = (ended - began) / 2
        if half < best.error_ms:
            best = ClockOffset(began + half - page_time, half)
    return best


if __name__ == "__main__":
    sys.exit(main())
