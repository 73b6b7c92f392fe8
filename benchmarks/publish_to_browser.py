"""How long from a service's `update()` until a browser shows it?

A Valkey, `pulseboard serve` and a Chromium, each a process of its own, and our real page. This process is the service: it
calls `Service.update()` at a steady pace, its SDK thread publishes, and the page notes with a MutationObserver when the value
on the card is the new one. "In the page": the value stands in the DOM. "Next frame": the browser has begun the frame that
paints it, which waits for the screen's own rhythm (16.7 ms). The page's clock is brought to this process' clock by the quickest
of 200 questions, halves of which bound the error. Exits with 1 if any update was not shown.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from playwright.sync_api import expect

from benchmarks._rig import browsing, percentile, print_head, print_table, rig
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


class Clock(NamedTuple):
    """What to add to the page's time to get ours, and how wrong that can be."""

    offset_ms: float
    error_ms: float


class Run(NamedTuple):
    """What one run measured: latencies in ms by where it was seen, and how many updates were sent."""

    in_page: list[float]
    in_frame: list[float]
    sent: int
    error_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--per-second", type=float, default=50.0)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print_head(__doc__)
    print(f"{options.updates} updates at {options.per_second:g}/s, {options.runs} runs")
    rows: list[list[object]] = []
    lost, met = 0, True
    with (
        rig("--expect", NAME) as server,
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
            print(f"run {number}: clocks agree to {run.error_ms:.2f} ms")
    print()
    print_table(["update() to browser, ms", "p50", "p90", "p99", "max", "seen"], rows)
    print(
        f"\nTarget in the page: p50 < {TARGET_P50_MS:g}, p99 < {TARGET_P99_MS:g}: {'met' if met else 'MISSED'}"
    )
    if lost:
        print(f"{lost} updates were never shown")
    return 1 if lost else 0


def measure(page: Page, address: RedisAddress, updates: int, per_second: float) -> Run:
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
        time.sleep(1)  # the last has long come by then, or never will
        after = compare_clocks(page)
        clock = min(before, after, key=lambda clock: clock.error_ms)
        drift_ms = abs(after.offset_ms - before.offset_ms)
        shown, framed = (
            first_times(page.evaluate(f"window.{name}")) for name in ("shown", "framed")
        )
    return Run(
        [at + clock.offset_ms - sent[step] for step, at in shown.items() if step in sent],
        [at + clock.offset_ms - sent[step] for step, at in framed.items() if step in sent],
        updates,
        clock.error_ms + drift_ms,
    )


def status(n: int, step: str) -> dict[str, Any]:
    """Return a status of the size and liveliness that a real service has."""
    return {
        "isRunning": n % 20 != 0,
        "step": step,
        "queueHigh": n % 7,
        "queueNormal": n % 31,
        "done": n,
        "failed": n // 50,
        "avgDurationMs": 180 + n % 40,
        "lastRunAt": time.time_ns() // 1_000_000,
        "lastError": None if n % 100 else "the bank answered 503",
    }


def first_times(seen: list[tuple[str, float]]) -> dict[str, float]:
    times: dict[str, float] = {}
    for step, at in seen:
        times.setdefault(step, at)
    return times


def compare_clocks(page: Page) -> Clock:
    best = Clock(0.0, float("inf"))
    for _ in range(200):
        asked = time.time() * 1000
        theirs: float = page.evaluate("performance.timeOrigin + performance.now()")
        answered = time.time() * 1000
        half = (answered - asked) / 2
        if half < best.error_ms:
            best = Clock(asked + half - theirs, half)
    return best


if __name__ == "__main__":
    sys.exit(main())
