"""How often does the board call a living service lost, and how soon a dead one?

A week of 200 instances is simulated, event by event, on the hub's own board and rule: jitter, pauses of the instances, outages of
Redis, and a monitor that is itself paused. Nothing waits, so a week takes minutes.
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

from benchmarks._rig import print_head
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

RHYTHMS_S = (2.0, 5.0, 10.0, 30.0, 60.0)
JITTER = 0.05
"""Mean of a beat's delay, as a part of its rhythm, exponentially distributed: threads that wait for their turn."""
PAUSE_EVERY = 200
PAUSE_MOST = 1.3
"""One beat in so many waits for its process: garbage collection, a swapped page. Up to so many rhythms, evenly distributed."""
COUNT = 500
READ_MS = 1_000
DAY_MS = 86_400_000
RECONNECTED_MS = 4_500
"""Within this after Redis' return each service is heard again: the SDK's longest pause between tries, and the try."""


@dataclass
class Outcome:
    """What the board said of the living and of the dead."""

    heartbeats: int = 0
    deaths: int = 0
    false_alarms: list[str] = field(default_factory=list)
    unnoticed: list[str] = field(default_factory=list)
    in_beats: list[float] = field(default_factory=list)
    """How long after a death it was told, in rhythms of the dead, where nothing kept the monitor from hearing."""
    disturbed: int = 0
    """Deaths around which something did: they are told once silence counts again."""
    spells: Counter[str] = field(default_factory=Counter)


class World:
    """Instances, Redis and one monitor. Times are ms by Redis' clock."""

    def __init__(self, instances: int, days: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.end = int(days * DAY_MS)
        self.outcome = Outcome()
        self.rhythms = [RHYTHMS_S[n % len(RHYTHMS_S)] for n in range(instances)]
        self.hub = Hub(Board(), RedisClock(), Rejections(), HubOptions())
        board = [
            Entry(Cursor(1, n), StatusEvent("fleet", 0, msgspec.Raw(b"{}"), str(n), heartbeat_s))
            for n, heartbeat_s in enumerate(self.rhythms)
        ]
        self.hub.take(
            Reset("the server started", Cursor(1, len(board)), board, [], observed_until=1)
        )
        self.died: dict[int, int] = {}
        self.outages = self._spells("Redis away", every_h=6, most_s=120)
        self.blind = self._spells("the monitor's link away", every_h=8, most_s=90)
        self.paused = self._spells("the monitor paused", every_h=2, most_s=90)
        self.spells = [*self.outages, *self.blind, *self.paused]
        self.doomed = {
            n: self.random.randrange(self.end)
            for n in self.random.sample(range(instances), instances // 4)
        }

    def _spells(self, name: str, *, every_h: float, most_s: float) -> list[tuple[int, int]]:
        spells, at = [], 0.0
        while (at := at + self.random.expovariate(1 / (every_h * 3_600_000))) < self.end:
            until = at + self.random.uniform(500, most_s * 1000)
            spells.append((int(at), int(until)))
            at = until
            self.outcome.spells[name] += 1
        return spells

    def run(self) -> Outcome:
        """Let all the time pass."""
        heartbeats = self._beats()
        waiting: list[tuple[int, int]] = []
        nxt = next(heartbeats)
        now = 0
        while now < self.end:
            now = self._next_read(now)
            while nxt[0] <= now:
                waiting.append(nxt)
                nxt = next(heartbeats)
            while waiting:
                part, waiting = waiting[:COUNT], waiting[COUNT:]
                observed_until = part[-1][0] if waiting else now
                self.hub.take(
                    Batch(
                        heartbeats=[Heartbeat("fleet", str(n), at) for at, n in part],
                        observed_until=observed_until,
                    )
                )
                self._look(observed_until)
            self.hub.take(Batch(observed_until=now))
            self._look(now)
        for n, at in self.died.items():
            if self.end - at > 3 * self.rhythms[n] * 1000:
                self.outcome.unnoticed.append(f"instance {n}, dead at {at}")
        return self.outcome

    def _next_read(self, now: int) -> int:
        """Return when the monitor reads next: a second later, or when what kept it from reading is over."""
        now += READ_MS
        for spells, breaks in ((self.paused, False), (self.blind, True), (self.outages, True)):
            while spells and spells[0][0] <= now:
                _, until = spells.pop(0)
                if breaks:
                    self.hub.take(FeedUnavailable("gone"))
                now = max(now, until + self.random.randrange(2_000))
                if breaks:
                    self.hub.take(Batch(observed_until=now))
        return now

    def _beats(self) -> Iterator[tuple[int, int]]:
        """Yield (when Redis took it, who) for every beat, in order."""
        outages = list(self.outages)
        due = [
            (self.random.uniform(0, heartbeat_s * 1000), n)
            for n, heartbeat_s in enumerate(self.rhythms)
        ]
        heapq.heapify(due)
        sent: list[tuple[float, int]] = []
        while True:
            at, n = heapq.heappop(due)
            beat_ms = self.rhythms[n] * 1000
            while outages and outages[0][1] < at - 600_000:
                outages.pop(0)
            delay = self.random.expovariate(1 / (JITTER * beat_ms)) if JITTER else 0.0
            if self.random.randrange(PAUSE_EVERY) == 0:
                delay += self.random.uniform(0, PAUSE_MOST * beat_ms)
            # Longer than this a process is as good as dead by its own declaration; it is not what is asked here.
            taken = at + min(delay, PAUSE_MOST * beat_ms)
            for begin, until in outages:
                if begin <= taken < until:
                    taken = until + self.random.uniform(0, RECONNECTED_MS)
            if n in self.doomed and taken >= self.doomed[n]:
                self.died[n] = self.doomed.pop(n)
                self.outcome.deaths += 1
                continue
            heapq.heappush(due, (max(at + beat_ms, taken), n))
            heapq.heappush(sent, (taken, n))
            # What is due later cannot be taken earlier than it is due.
            while sent and sent[0][0] <= due[0][0]:
                when, who = heapq.heappop(sent)
                self.outcome.heartbeats += 1
                yield int(when), who

    def _look(self, observed_until: int) -> None:
        """Judge everybody; declare the lost, as the servers have Redis do it."""
        for loss in self.hub.losses():
            n = int(loss.event.instance)
            incident = Incident(
                f"{observed_until}-{n}", "fleet", str(n), loss.seen, observed_until, loss.cause
            )
            lost = LifecycleEvent("fleet", str(n), observed_until, "lost", incident)
            self.hub.take(
                Batch([Entry(Cursor(observed_until, n), lost)], observed_until=observed_until)
            )
            if n not in self.died or self.died[n] > observed_until:
                self.outcome.false_alarms.append(
                    f"instance {n} at {observed_until}, last seen {loss.seen}"
                )
                continue
            died, beat_ms = self.died.pop(n), self.rhythms[n] * 1000
            if any(
                begin < observed_until and until + RECONNECT_MS > died - beat_ms
                for begin, until in self.spells
            ):
                self.outcome.disturbed += 1
            else:
                self.outcome.in_beats.append((observed_until - died) / beat_ms)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print_head(__doc__)
    began = time.monotonic()
    world = World(options.instances, options.days, options.seed)
    outcome = world.run()
    print(
        f"{options.instances} instances for {options.days:g} days in {time.monotonic() - began:.0f} s, seed {options.seed}"
    )
    for name, count in {
        "heartbeats": outcome.heartbeats,
        **outcome.spells,
        "deaths": outcome.deaths,
        "of them while nobody heard": outcome.disturbed,
        "false alarms": len(outcome.false_alarms),
        "deaths not told": len(outcome.unnoticed),
    }.items():
        print(f"  {name:<26}{count:>12,}")
    slowest = max(outcome.in_beats, default=0.0)
    print(f"  {'a death is told within':<26}{slowest:>12.2f} beats of it")
    for problem in (outcome.false_alarms + outcome.unnoticed)[:10]:
        print(f"  ! {problem}")
    return 1 if outcome.false_alarms or outcome.unnoticed or slowest > 3 else 0


if __name__ == "__main__":
    sys.exit(main())
