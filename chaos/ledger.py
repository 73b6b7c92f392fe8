"""The ledger: what a reader was owed, against what it got. Pure: no clock, no socket, no Redis.

A streak is one unbroken continuity of a reader, over however many connections. Within it every event of the feed is owed,
once and in order, up to the last id that any frame carried: an id says "you have seen everything up to here".
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from chaos.ids import unpack

TOLD_WITHIN_S = 5.0
"""Servers look every 2 s whether Redis still has what they read: a reader must be told by then, and some."""


def _ids() -> array[int]:
    return array("q")


@dataclass
class Streak:
    """What one reader got from a board on, until it was told that continuity was lost. Times are `time.monotonic()`."""

    start: int
    """The id of the board: what came after it is owed."""
    claim: int = 0
    """The last id that any frame carried."""
    ids: array[int] = field(default_factory=_ids)
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    """(how many ids were there before, when), one for each piece that came from the socket with events in it."""
    ended: str | None = None
    """`reset` or `skipped`: what told the reader. None: the streak was whole when the reader stopped."""
    ended_at: float = 0.0
    skipped: int | None = None
    """With `skipped`: how many events the server said it left out."""

    def add(self, id: int, now: float) -> None:
        """Note an event that came."""
        if not self.arrivals or self.arrivals[-1][1] != now:
            self.arrivals.append((len(self.ids), now))
        self.ids.append(id)
        self.claim = max(self.claim, id)

    def arrived_at(self, index: int) -> float:
        """Return when the id at this index came."""
        place = bisect_right(self.arrivals, index, key=lambda arrival: arrival[0])
        return self.arrivals[place - 1][1]


@dataclass
class Log:
    """All that one reader got."""

    streaks: list[Streak] = field(default_factory=list)
    orphans: int = 0
    """Events that came after a `reset` or `skipped` and before the board that must follow it."""


class Break(NamedTuple):
    """Redis lost data: these events are in the feed no more, and the feed went on with the event `resumes_at`."""

    vanished: frozenset[int]
    resumes_at: int


@dataclass
class Truth:
    """What the feed held, as an observer on the side of Redis read it; `ids` in order."""

    ids: Sequence[int]
    breaks: Sequence[Break] = ()

    def between(self, after: int, last: int) -> Sequence[int]:
        """Return the ids in (after, last]."""
        return self.ids[bisect_right(self.ids, after) : bisect_right(self.ids, last)]


@dataclass
class Account:
    """What became of the events that readers were owed."""

    delivered: int = 0
    duplicated: int = 0
    disordered: int = 0
    told: int = 0
    """Left out, and the reader was told so: by a `reset`, or by a `skipped` with the right count."""
    vanished: int = 0
    """Gone from Redis itself before this reader could get them."""
    unnoticed: int = 0
    resets: int = 0
    skips: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: Account) -> None:
        """Sum up."""
        self.delivered += other.delivered
        self.duplicated += other.duplicated
        self.disordered += other.disordered
        self.told += other.told
        self.vanished += other.vanished
        self.unnoticed += other.unnoticed
        self.resets += other.resets
        self.skips += other.skips
        self.notes += other.notes


def settle(log: Log, truth: Truth) -> Account:
    """Return the account of one reader."""
    account = Account(unnoticed=log.orphans)
    if log.orphans:
        account.notes.append(
            f"{log.orphans} events came after a reset or skipped and before its board"
        )
    if not log.streaks:
        account.unnoticed += 1
        account.notes.append("a reader never got a board")
    gone = frozenset[int]().union(*(each.vanished for each in truth.breaks))
    for streak in log.streaks:
        _settle_streak(streak, truth, gone, account)
    for before, after in pairwise(log.streaks):
        _settle_gap(before, after, truth, gone, account)
    return account


def _settle_streak(streak: Streak, truth: Truth, gone: frozenset[int], account: Account) -> None:
    got = set(streak.ids)
    account.delivered += len(got)
    account.duplicated += len(streak.ids) - len(got)
    account.disordered += sum(second < first for first, second in pairwise(streak.ids))
    account.resets += streak.ended == "reset"
    account.skips += streak.ended == "skipped"
    # A board of an empty feed is at 0: what is owed begins with what came first.
    start = streak.start or (min(got) - 1 if got else streak.claim)
    owed = set(truth.between(start, max(streak.claim, start)))
    missing = owed - got
    lost = missing - gone
    if lost:
        account.unnoticed += len(lost)
        account.notes.append(
            f"{len(lost)} events never came, the first is {unpack(min(lost))}, in {_describe(streak)}"
        )
    account.vanished += len(missing & gone)
    unknown = {id for id in got - owed if id > start}
    _settle_breaks(streak, truth, got, unknown, account)


def _settle_breaks(
    streak: Streak, truth: Truth, got: set[int], unknown: set[int], account: Account
) -> None:
    """A reader that saw what Redis then lost, and events after that, must be told that what it holds is not true."""
    for each in truth.breaks:
        untrue = (each.vanished & got) | {id for id in unknown if id < each.resumes_at}
        unknown = unknown - untrue
        if untrue and (when := _told_too_late(streak, each.resumes_at)):
            account.unnoticed += len(untrue)
            account.notes.append(
                f"Redis lost {len(untrue)} events that a reader had seen, and it was told {when}"
            )
    # Read by a server and by nobody else before a master died: lost as well, unless it is taken back.
    if unknown and (streak.ended is None or _told_too_late(streak, max(unknown) + 1)):
        account.unnoticed += len(unknown)
        account.notes.append(
            f"{len(unknown)} events came that are not in the feed, the first is {unpack(min(unknown))}"
        )


def _told_too_late(streak: Streak, resumed_at: int) -> str:
    """Say when this reader was told, if that was too late; empty when it was in time, or nothing came after the loss."""
    index = next((n for n, id in enumerate(streak.ids) if id >= resumed_at), None)
    if index is None:
        return ""
    if streak.ended is None:
        return "never"
    late_s = streak.ended_at - streak.arrived_at(index)
    return f"{late_s:.1f} s later" if late_s > TOLD_WITHIN_S else ""


def _settle_gap(
    before: Streak, after: Streak, truth: Truth, gone: frozenset[int], account: Account
) -> None:
    last = max(before.claim, before.start)
    omitted = set(truth.between(last, after.start)) if after.start else set()
    account.vanished += len(omitted & gone)
    omitted -= gone
    if before.skipped is not None and before.skipped != len(omitted):
        account.unnoticed += max(0, len(omitted) - before.skipped)
        account.notes.append(f"skipped said {before.skipped}, and it were {len(omitted)}")
    account.told += len(omitted)


def _describe(streak: Streak) -> str:
    whole = f"a streak of {len(streak.ids)} from {unpack(streak.start)} to {unpack(streak.claim)}"
    return f"{whole} that ended with a {streak.ended}" if streak.ended else whole
