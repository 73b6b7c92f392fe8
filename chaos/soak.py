"""Does the server, or a service, hold more after an hour than after a minute? Runs the demo, with visitors that come and go
politely, rudely and frozen, and a service that publishes; samples what the processes hold, and prints a Markdown table.

Before the clock runs, the server's ring of past messages is filled, since it grows by design until it is full. After a warm-up
of a fifth of the time (5 minutes at most) a straight line is fitted to each figure. Exits with 1 when one grew, by that line
and over the measured time, by more than is allowed: 4 MB and 5 % of memory, or 5 descriptors, tasks or threads. Descriptors
and tasks are counted without those of open streams.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks._rig import free_port, print_head

from chaos.http import get
from chaos.proc import descendants, footprint
from chaos.rig import Publisher, RigFailed, environment
from chaos.store import Valkey
from chaos.trend import Trend, fit
from chaos.visitors import Visitors
from chaos.waiting import wait_until
from pulseboard.process import spawn

START_S = 60.0
RING_EVENTS, FILL_RATE = 9_000, 600.0
"""A little more than the ring holds."""
SERVICE_RATE, PAD = 60.0, 300
"""What fills the ring and what comes later must be of a size, or the heap moves as one takes the place of the other."""
WARM_UP, WARM_UP_MAX_S = 0.2, 300.0
SHORTEST_SAMPLES = 20
INTERRUPTED = 130


class Sample(NamedTuple):
    """The figures at one moment."""

    at: float
    values: dict[str, float]


class Figure(NamedTuple):
    """One line of the table, and by how much it may grow."""

    name: str
    allowed: float
    allowed_share: float = 0.0

    def may_grow(self, trend: Trend) -> float:
        return max(self.allowed, self.allowed_share * trend.start)


FIGURES = (
    Figure("server: resident memory, MB", 4, 0.05),
    Figure("server: descriptors but readers'", 5),
    Figure("server: tasks but readers'", 5),
    Figure("server: threads", 5),
    Figure("service: resident memory, MB", 4, 0.05),
    Figure("service: descriptors", 5),
    Figure("service: threads", 5),
)
SHOWN = Figure("server: readers", float("inf"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--visitors", type=int, default=40, help="how many are there at a time")
    options = parser.parse_args()
    print_head(__doc__)
    try:
        samples = asyncio.run(soak(options.minutes * 60, options.visitors))
    except RigFailed as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("soak: interrupted", file=sys.stderr)
        return INTERRUPTED
    return report(samples, options.minutes)


async def soak(seconds: float, visitors: int) -> list[Sample]:
    """Let it run for so long, and return the samples."""
    samples: list[Sample] = []
    async with running_demo() as (url, port, server, folder):
        await fill_ring(url, port, folder)
        service = Publisher(url, folder, "service", ["soak"], SERVICE_RATE, plain=False, pad=PAD)
        with contextlib.ExitStack() as stack:
            stack.callback(service.kill)
            await service.open()
            async with Visitors(port, visitors) as crowd:
                began = time.monotonic()
                every_s = min(5.0, seconds / 60)
                while (now := time.monotonic() - began) < seconds:
                    samples.append(Sample(now, await take_sample(port, server, service.pid)))
                    if (failure := crowd.failure()) is not None:
                        raise RigFailed(f"a visitor failed: {failure!r}")
                    if len(samples) % 12 == 0:
                        print(
                            f"{now:6.0f} s  {crowd.visits:,} visits  {shown(samples[-1])}",
                            flush=True,
                        )
                    await asyncio.sleep(every_s)
                print(f"{crowd.visits:,} visits\n", flush=True)
    return samples


@contextlib.asynccontextmanager
async def running_demo() -> AsyncIterator[tuple[str, int, int, Path]]:
    """Run `pulseboard demo` on a Valkey; yield its Redis URL, its port, the server's process id, and a folder."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-soak-")))
        store = await stack.enter_async_context(Valkey(folder))
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "pulseboard",
            "demo",
            "--port",
            str(port),
            "--redis-url",
            store.url,
        ]
        log = stack.enter_context((folder / "demo.log").open("wb"))
        demo = spawn(argv, env=environment(), cwd=folder, stdout=log, stderr=log)
        stack.callback(end, demo)
        if not await wait_until(lambda: is_ready(port), START_S):
            raise RigFailed(
                f"the demo did not start:\n{(folder / 'demo.log').read_text(errors='replace')[-2_000:]}"
            )
        server = next(pid for pid, line in descendants(demo.pid) if " pulseboard serve " in line)
        yield store.url, port, server, folder


def end(demo: subprocess.Popen[bytes]) -> None:
    """End the demo in order, so that it ends its children."""
    demo.send_signal(signal.SIGTERM)
    try:
        demo.wait(15)
    except subprocess.TimeoutExpired:
        demo.kill()
        demo.wait()


async def fill_ring(url: str, port: int, folder: Path) -> None:
    """Fill what grows by design, with the feed's own messages."""
    filler = Publisher(url, folder, "filler", ["soak"], FILL_RATE, plain=False, pad=PAD)
    try:
        await filler.open()
        print(f"       filling the ring for {RING_EVENTS / FILL_RATE:.0f} s", flush=True)
        await asyncio.sleep(RING_EVENTS / FILL_RATE)
    finally:
        await filler.close()


async def is_ready(port: int) -> bool:
    return (await get(port, "/readyz")).status == 200


async def take_sample(port: int, server: int, service: int) -> dict[str, float]:
    """Return what both processes hold at this moment."""
    health = json.loads((await get(port, "/healthz")).body)
    its, services = footprint(server), footprint(service)
    readers, tasks = health["clients"], health["tasks"]
    values = (its.rss_mb, its.descriptors - readers, tasks - readers, its.threads)
    more = (services.rss_mb, services.descriptors, services.threads)
    return dict(zip((figure.name for figure in FIGURES), (*values, *more), strict=True)) | {
        SHOWN.name: readers
    }


def shown(sample: Sample) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in sample.values.items())


def report(samples: Sequence[Sample], minutes: float) -> int:
    """Print the table and the verdict; return the exit code."""
    warm_s = min(WARM_UP_MAX_S, samples[-1].at * WARM_UP)
    warm = [sample for sample in samples if sample.at >= warm_s]
    if len(warm) < SHORTEST_SAMPLES:
        print(f"soak: {len(warm)} samples say nothing; give it more minutes", file=sys.stderr)
        return 1
    print(f"{minutes:g} minutes, of which {warm_s / 60:.1f} to warm up; {len(warm)} samples\n")
    print(
        "| figure | start | lower quartile | median | upper quartile | end | per hour | grew | allowed | |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    grew = list(rows(warm))
    return 1 if any(grew) else 0


def rows(samples: Sequence[Sample]) -> Iterator[bool]:
    """Print one line for each figure; yield whether it grew."""
    for figure in (*FIGURES, SHOWN):
        trend = fit([(sample.at, sample.values[figure.name]) for sample in samples])
        grew = trend.growth > figure.may_grow(trend)
        numbers = (trend.start, *trend.quartiles, trend.end)
        cells = [f"{number:.1f}" for number in numbers] + [
            f"{trend.per_hour:+.1f}",
            f"{trend.growth:+.1f}",
        ]
        allowed = "" if figure is SHOWN else f"{figure.may_grow(trend):.1f}"
        print(f"| {figure.name} | {' | '.join(cells)} | {allowed} | {'GREW' if grew else 'flat'} |")
        yield grew


if __name__ == "__main__":
    sys.exit(main())
