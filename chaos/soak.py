"""Does the server, or a service, use more memory, descriptors or tasks the longer it runs?

Runs the demo, clients that come and go (close, abort, freeze) and a service that publishes; samples
the resources of the processes, and prints a Markdown table.

Before the measurement, the server's ring of past frames is filled, because it grows by design until
it is full. After a warm-up of a fifth of the time (at most 5 minutes) a straight line is fitted to
each figure. Exits with 1 when a figure grew, by that line and over the measured time, by more than
the limit: 4 MB or 5 % of memory (the larger of both), or 5 descriptors, tasks or threads.
Descriptors and tasks of open streams are not counted.
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

from benchmarks._environment import free_port, print_head

from chaos.churn import ClientChurn
from chaos.deployment import (
    DeploymentFailed,
    PublisherProcess,
    PublisherSettings,
    clean_environment,
)
from chaos.http import get
from chaos.proc import descendants, read_usage
from chaos.redis_servers import SingleValkey
from chaos.trend import Trend, fit
from chaos.waiting import wait_until
from pulseboard.process import spawn

START_S = 60.0
RING_EVENTS, FILL_RATE = 9_000, 600.0
"""A little more than the capacity of the ring."""
SERVICE_RATE, PAD = 60.0, 300
"""The events that fill the ring and the later events must have the same size. Otherwise the heap
changes while the latter replace the former."""
WARM_UP_SHARE, MAX_WARM_UP_S = 0.2, 300.0
MIN_SAMPLES = 20
INTERRUPTED = 130


class UsageSample(NamedTuple):
    """The figures at one moment."""

    at: float
    values: dict[str, float]


class Figure(NamedTuple):
    """One line of the table, and the limit of its growth."""

    name: str
    allowed: float
    allowed_share: float = 0.0

    def allowed_growth(self, trend: Trend) -> float:
        return max(self.allowed, self.allowed_share * trend.start)


FIGURES = (
    Figure("server: resident memory, MB", 4, 0.05),
    Figure("server: descriptors but clients'", 5),
    Figure("server: tasks but clients'", 5),
    Figure("server: threads", 5),
    Figure("service: resident memory, MB", 4, 0.05),
    Figure("service: descriptors", 5),
    Figure("service: threads", 5),
)
CLIENTS = Figure("server: clients", float("inf"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="duration (default: 30)")
    parser.add_argument("--clients", type=int, default=40, help="clients at a time (default: 40)")
    options = parser.parse_args()
    print_head(__doc__)
    try:
        samples = asyncio.run(soak(options.minutes * 60, options.clients))
    except DeploymentFailed as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("soak: interrupted", file=sys.stderr)
        return INTERRUPTED
    return report(samples, options.minutes)


async def soak(seconds: float, clients: int) -> list[UsageSample]:
    """Run the demo for `seconds`, and return the samples."""
    samples: list[UsageSample] = []
    async with running_demo() as (url, port, server, folder):
        await fill_ring(url, folder)
        settings = PublisherSettings(("soak",), SERVICE_RATE, pad=PAD)
        service = PublisherProcess(url, folder, "service", settings)
        with contextlib.ExitStack() as stack:
            stack.callback(service.kill)
            await service.open()
            async with ClientChurn(port, clients) as churn:
                began = time.monotonic()
                every_s = min(5.0, seconds / 60)
                while (now := time.monotonic() - began) < seconds:
                    samples.append(UsageSample(now, await read_sample(port, server, service.pid)))
                    if (failure := churn.failure()) is not None:
                        raise DeploymentFailed(f"a client failed: {failure!r}")
                    if len(samples) % 12 == 0:
                        print(
                            f"{now:6.0f} s  {churn.visits:,} visits  {format_sample(samples[-1])}",
                            flush=True,
                        )
                    await asyncio.sleep(every_s)
                print(f"{churn.visits:,} visits\n", flush=True)
    return samples


@contextlib.asynccontextmanager
async def running_demo() -> AsyncIterator[tuple[str, int, int, Path]]:
    """Run `pulseboard demo` with a Valkey; yield Redis URL, port, server's pid and folder."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-soak-")))
        valkey = await stack.enter_async_context(SingleValkey(folder))
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "pulseboard",
            "demo",
            "--port",
            str(port),
            "--redis-url",
            valkey.url,
        ]
        log = stack.enter_context((folder / "demo.log").open("wb"))
        demo = spawn(argv, env=clean_environment(), cwd=folder, stdout=log, stderr=log)
        stack.callback(stop, demo)
        if not await wait_until(lambda: is_ready(port), START_S):
            text = (folder / "demo.log").read_text(errors="replace")
            raise DeploymentFailed(f"the demo did not start:\n{text[-2_000:]}")
        server = next(pid for pid, line in descendants(demo.pid) if " pulseboard serve " in line)
        yield valkey.url, port, server, folder


def stop(demo: subprocess.Popen[bytes]) -> None:
    """Stop the demo by SIGTERM, so that it ends its children; kill it after 15 s."""
    demo.send_signal(signal.SIGTERM)
    try:
        demo.wait(15)
    except subprocess.TimeoutExpired:
        demo.kill()
        demo.wait()


async def fill_ring(url: str, folder: Path) -> None:
    """Fill the server's ring with events like those of the measurement."""
    settings = PublisherSettings(("soak",), FILL_RATE, pad=PAD)
    filler = PublisherProcess(url, folder, "filler", settings)
    try:
        await filler.open()
        print(f"       filling the ring for {RING_EVENTS / FILL_RATE:.0f} s", flush=True)
        await asyncio.sleep(RING_EVENTS / FILL_RATE)
    finally:
        await filler.close()


async def is_ready(port: int) -> bool:
    return (await get(port, "/readyz")).status == 200


async def read_sample(port: int, server: int, service: int) -> dict[str, float]:
    """Return the figures of both processes at this moment."""
    health = json.loads((await get(port, "/healthz")).body)
    of_server, of_service = read_usage(server), read_usage(service)
    clients, tasks = health["clients"], health["tasks"]
    values = (
        of_server.rss_mb,
        of_server.descriptors - clients,
        tasks - clients,
        of_server.threads,
        of_service.rss_mb,
        of_service.descriptors,
        of_service.threads,
    )
    names = (figure.name for figure in FIGURES)
    return dict(zip(names, values, strict=True)) | {CLIENTS.name: clients}


def format_sample(sample: UsageSample) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in sample.values.items())


def report(samples: Sequence[UsageSample], minutes: float) -> int:
    """Print the table and the verdicts; return the exit code."""
    warm_up_s = min(MAX_WARM_UP_S, samples[-1].at * WARM_UP_SHARE)
    measured = [sample for sample in samples if sample.at >= warm_up_s]
    if len(measured) < MIN_SAMPLES:
        print(f"soak: {len(measured)} samples are too few; set a larger --minutes", file=sys.stderr)
        return 1
    print(
        f"{minutes:g} minutes, of which {warm_up_s / 60:.1f} are warm-up; {len(measured)} samples\n"
    )
    columns = ("start", "lower quartile", "median", "upper quartile", "end", "per hour", "grew")
    print(f"| figure | {' | '.join(columns)} | allowed | |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|")
    grew = list(print_rows(measured))
    return 1 if any(grew) else 0


def print_rows(samples: Sequence[UsageSample]) -> Iterator[bool]:
    """Print one line for each figure; yield whether it grew beyond its limit."""
    for figure in (*FIGURES, CLIENTS):
        trend = fit([(sample.at, sample.values[figure.name]) for sample in samples])
        grew = trend.growth > figure.allowed_growth(trend)
        numbers = (trend.start, *trend.quartiles, trend.end)
        cells = [f"{number:.1f}" for number in numbers] + [
            f"{trend.per_hour:+.1f}",
            f"{trend.growth:+.1f}",
        ]
        allowed = "" if figure is CLIENTS else f"{figure.allowed_growth(trend):.1f}"
        print(f"| {figure.name} | {' | '.join(cells)} | {allowed} | {'GREW' if grew else 'flat'} |")
        yield grew


if __name__ == "__main__":
    sys.exit(main())
