"""How often does the board report a living service as lost, and how soon a dead one?

Simulates a week of 200 instances, event by event, on the hub's own board and state rule: jitter,
pauses of the instances, outages of Redis, and pauses of the monitor (the server that judges). The
simulation does not wait, so a week takes minutes.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from benchmarks._environment import print_head
from pulseboard.bus.clock import RedisClock
from pulseboard.bus.feed.entries import Batch, Entry, FeedUnavailable, Heartbeat, Reset
from pulseboard.bus.rejections import Rejections
from pulseboard.hub.board import Board
from pulseboard.hub.hub import Hub
from pulseboard.hub.options import HubOptions
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.lifecycle import Incident, LifecycleEvent
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import RECONNECT_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERVALS_S = (2.0, 5.0, 10.0, 30.0, 60.0)
JITTER = 0.05
"""Mean delay of a heartbeat, as a share of its interval, exponentially distributed: threads that
wait for the processor."""
PAUSE_EVERY = 200
"""One heartbeat of this number waits for its process: garbage collection, a swapped page."""
MAX_PAUSE = 1.3
"""Longest pause in heartbeat intervals, uniformly distributed."""
BATCH_SIZE = 500
READ_MS = 1_000
DAY_MS = 86_400_000
RECONNECTED_MS = 4_500
"""After the return of Redis each service sends a heartbeat within this time: the longest pause of
the SDK between two tries, and the try."""


@dataclass
class SimulationResult:
    """What the board reported about living and dead instances."""

    heartbeats: int = 0
    deaths: int = 0
    false_alarms: list[str] = field(default_factory=list)
    unreported: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    """Delays of the reports of undisturbed deaths, in heartbeat intervals of the dead instance."""
    disturbed: int = 0
    """Deaths near a disturbance of the monitor, which reports them once silence counts again."""
    disturbances: Counter[str] = field(default_factory=Counter)


class Simulation:
    """Instances, Redis and one monitor. Times are ms by the clock of Redis."""

    def __init__(self, instances: int, days: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.end = int(days * DAY_MS)
        self.result = SimulationResult()
        self.intervals_s = [INTERVALS_S[n % len(INTERVALS_S)] for n in range(instances)]
        self.hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
        board = [
            Entry(Cursor(1, n), StatusEvent("fleet", 0, msgspec.Raw(b"{}"), str(n), heartbeat_s))
            for n, heartbeat_s in enumerate(self.intervals_s)
        ]
        self.hub.apply(
            Reset("the server started", Cursor(1, len(board)), board, [], observed_until=1)
        )
        self.died: dict[int, int] = {}
        self.outages = self._draw_disturbances("Redis outages", every_h=6, max_s=120)
        self.blind = self._draw_disturbances("monitor disconnected", every_h=8, max_s=90)
        self.paused = self._draw_disturbances("monitor paused", every_h=2, max_s=90)
        self.disturbances = [*self.outages, *self.blind, *self.paused]
        self.deaths_planned = {
            n: self.random.randrange(self.end)
            for n in self.random.sample(range(instances), instances // 4)
        }

    def _draw_disturbances(
        self, name: str, *, every_h: float, max_s: float
    ) -> list[tuple[int, int]]:
        disturbances, at = [], 0.0
        while (at := at + self.random.expovariate(1 / (every_h * 3_600_000))) < self.end:
            until = at + self.random.uniform(500, max_s * 1000)
            disturbances.append((int(at), int(until)))
            at = until
            self.result.disturbances[name] += 1
        return disturbances

    def run(self) -> SimulationResult:
        """Simulate the whole period."""
        heartbeats = self._heartbeats()
        waiting: list[tuple[int, int]] = []
        upcoming = next(heartbeats)
        now = 0
        while now < self.end:
            now = self._next_read(now)
            while upcoming[0] <= now:
                waiting.append(upcoming)
                upcoming = next(heartbeats)
            while waiting:
                part, waiting = waiting[:BATCH_SIZE], waiting[BATCH_SIZE:]
                observed_until = part[-1][0] if waiting else now
                self.hub.apply(
                    Batch(
                        heartbeats=[Heartbeat("fleet", str(n), at) for at, n in part],
                        observed_until=observed_until,
                    )
                )
                self._declare_losses(observed_until)
            self.hub.apply(Batch(observed_until=now))
            self._declare_losses(now)
        for n, at in self.died.items():
            if self.end - at > 3 * self.intervals_s[n] * 1000:
                self.result.unreported.append(f"instance {n}, dead at {at}")
        return self.result

    def _next_read(self, now: int) -> int:
        """Return the time of the next read: a second later, or after a disturbance."""
        now += READ_MS
        for disturbances, disconnects in (
            (self.paused, False),
            (self.blind, True),
            (self.outages, True),
        ):
            while disturbances and disturbances[0][0] <= now:
                _, until = disturbances.pop(0)
                if disconnects:
                    self.hub.apply(FeedUnavailable("gone"))
                now = max(now, until + self.random.randrange(2_000))
                if disconnects:
                    self.hub.apply(Batch(observed_until=now))
        return now

    def _heartbeats(self) -> Iterator[tuple[int, int]]:
        """Yield (time at which Redis received it, instance) of every heartbeat, in order."""
        outages = list(self.outages)
        due = [
            (self.random.uniform(0, heartbeat_s * 1000), n)
            for n, heartbeat_s in enumerate(self.intervals_s)
        ]
        heapq.heapify(due)
        sent: list[tuple[float, int]] = []
        while True:
            at, n = heapq.heappop(due)
            interval_ms = self.intervals_s[n] * 1000
            while outages and outages[0][1] < at - 600_000:
                outages.pop(0)
            delay = self.random.expovariate(1 / (JITTER * interval_ms)) if JITTER else 0.0
            if self.random.randrange(PAUSE_EVERY) == 0:
                delay += self.random.uniform(0, MAX_PAUSE * interval_ms)
            # A longer pause makes an instance late by its own declared interval, so a report of it
            # would be no false alarm.
            received = at + min(delay, MAX_PAUSE * interval_ms)
            for begin, until in outages:
                if begin <= received < until:
                    received = until + self.random.uniform(0, RECONNECTED_MS)
            if n in self.deaths_planned and received >= self.deaths_planned[n]:
                self.died[n] = self.deaths_planned.pop(n)
                self.result.deaths += 1
                continue
            heapq.heappush(due, (max(at + interval_ms, received), n))
            heapq.heappush(sent, (received, n))
            # A heartbeat that is due later cannot be received before it is due.
            while sent and sent[0][0] <= due[0][0]:
                when, instance = heapq.heappop(sent)
                self.result.heartbeats += 1
                yield int(when), instance

    def _declare_losses(self, observed_until: int) -> None:
        """Apply the state rule to all instances, and declare losses as the servers do in Redis."""
        for loss in self.hub.losses():
            n = int(loss.event.instance)
            incident = Incident(
                f"{observed_until}-{n}", "fleet", str(n), loss.seen, observed_until, loss.cause
            )
            lost = LifecycleEvent("fleet", str(n), observed_until, "lost", incident)
            self.hub.apply(
                Batch([Entry(Cursor(observed_until, n), lost)], observed_until=observed_until)
            )
            if n not in self.died or self.died[n] > observed_until:
                self.result.false_alarms.append(
                    f"instance {n} at {observed_until}, last seen {loss.seen}"
                )
                continue
            died, interval_ms = self.died.pop(n), self.intervals_s[n] * 1000
            if any(
                begin < observed_until and until + RECONNECT_MS > died - interval_ms
                for begin, until in self.disturbances
            ):
                self.result.disturbed += 1
            else:
                self.result.delays.append((observed_until - died) / interval_ms)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=float, default=7.0, help="simulated days (default: 7)")
    parser.add_argument("--instances", type=int, default=200, help="instances (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers")
    options = parser.parse_args()
    print_head(__doc__)
    began = time.monotonic()
    result = Simulation(options.instances, options.days, options.seed).run()
    print(
        f"{options.instances} instances for {options.days:g} days, seed {options.seed}, "
        f"in {time.monotonic() - began:.0f} s"
    )
    for name, count in {
        "heartbeats": result.heartbeats,
        **result.disturbances,
        "deaths": result.deaths,
        "deaths near a disturbance": result.disturbed,
        "false alarms": len(result.false_alarms),
        "unreported deaths": len(result.unreported),
    }.items():
        print(f"  {name:<26}{count:>12,}")
    slowest = max(result.delays, default=0.0)
    print(f"  {'slowest report of a death':<26}{slowest:>12.2f} heartbeat intervals")
    for problem in (result.false_alarms + result.unreported)[:10]:
        print(f"  ! {problem}")
    return 1 if result.false_alarms or result.unreported or slowest > 3 else 0


if __name__ == "__main__":
    sys.exit(main())
