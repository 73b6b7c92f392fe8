"""Compares the events that a client should have received with those it received.

The module is pure: no clock, no socket, no Redis. A segment is one uninterrupted part of a client's
stream, over any number of connections. Within a segment the client must receive every event of the
feed, once and in order, up to the last id that any frame carried: an id means "you have received
everything up to here".
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from chaos.ids import unpack

REPORT_WITHIN_S = 5.0
"""A client must learn of a loss within this time: servers check every 2 s whether Redis still has
the entries that they read."""


def _ids() -> array[int]:
    return array("q")


@dataclass
class Segment:
    """The events that one client received from a board until a reset or skipped event.

    Times are from `time.monotonic()`.
    """

    start: int
    """The id of the board. The client must receive all later events."""
    position: int = 0
    """The last id that any frame carried."""
    ids: array[int] = field(default_factory=_ids)
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    """(number of earlier ids, time) of each read from the socket that contained events."""
    ended: str | None = None
    """The event that ended the segment, `reset` or `skipped`. None: it was open at the end."""
    ended_at: float = 0.0
    skipped: int | None = None
    """The number of omitted events that a `skipped` event reported."""

    def add(self, id: int, now: float) -> None:
        """Record an event that arrived."""
        if not self.arrivals or self.arrivals[-1][1] != now:
            self.arrivals.append((len(self.ids), now))
        self.ids.append(id)
        self.position = max(self.position, id)

    def arrived_at(self, index: int) -> float:
        """Return when the id at this index arrived."""
        place = bisect_right(self.arrivals, index, key=lambda arrival: arrival[0])
        return self.arrivals[place - 1][1]


@dataclass
class ClientLog:
    """Everything that one client received."""

    segments: list[Segment] = field(default_factory=list)
    orphans: int = 0
    """Events that arrived after a `reset` or `skipped` and before the board that must follow it."""


class DataLoss(NamedTuple):
    """Redis lost these events; the next event that it added is `resumed_at`."""

    lost: frozenset[int]
    resumed_at: int


@dataclass
class FeedLog:
    """The content of the feed, as an observer read it from Redis; `ids` are in order."""

    ids: Sequence[int]
    losses: Sequence[DataLoss] = ()

    def between(self, after: int, last: int) -> Sequence[int]:
        """Return the ids in (after, last]."""
        return self.ids[bisect_right(self.ids, after) : bisect_right(self.ids, last)]


@dataclass
class DeliveryReport:
    """The counts of events by what happened to them."""

    delivered: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    reported: int = 0
    """Omitted, and reported to the client by a `reset` or by a `skipped` with the right count."""
    redis_lost: int = 0
    """Lost by Redis itself before the client could receive them."""
    unreported: int = 0
    """Lost without a report to the client."""
    resets: int = 0
    skips: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, other: DeliveryReport) -> None:
        """Add the counts of another report."""
        self.delivered += other.delivered
        self.duplicated += other.duplicated
        self.out_of_order += other.out_of_order
        self.reported += other.reported
        self.redis_lost += other.redis_lost
        self.unreported += other.unreported
        self.resets += other.resets
        self.skips += other.skips
        self.notes += other.notes


def check_deliveries(log: ClientLog, feed: FeedLog) -> DeliveryReport:
    """Return the report of one client."""
    report = DeliveryReport(unreported=log.orphans)
    if log.orphans:
        report.notes.append(
            f"{log.orphans} events arrived after a reset or skipped and before its board"
        )
    if not log.segments:
        report.unreported += 1
        report.notes.append("a client never received a board")
    lost = frozenset[int]().union(*(loss.lost for loss in feed.losses))
    for segment in log.segments:
        _check_segment(segment, feed, lost, report)
    for before, after in pairwise(log.segments):
        _check_between(before, after, feed, lost, report)
    return report


def _check_segment(
    segment: Segment, feed: FeedLog, lost: frozenset[int], report: DeliveryReport
) -> None:
    received = set(segment.ids)
    report.delivered += len(received)
    report.duplicated += len(segment.ids) - len(received)
    report.out_of_order += sum(second < first for first, second in pairwise(segment.ids))
    report.resets += segment.ended == "reset"
    report.skips += segment.ended == "skipped"
    # The board of an empty feed has id 0: the first event that arrived is the first expected one.
    start = segment.start or (min(received) - 1 if received else segment.position)
    expected = set(feed.between(start, max(segment.position, start)))
    missing = expected - received
    unreported = missing - lost
    if unreported:
        report.unreported += len(unreported)
        report.notes.append(
            f"{len(unreported)} events never arrived, the first is {unpack(min(unreported))}, "
            f"in {_describe(segment)}"
        )
    report.redis_lost += len(missing & lost)
    unknown = {id for id in received - expected if id > start}
    _check_losses(segment, feed, received, unknown, report)


def _check_losses(
    segment: Segment, feed: FeedLog, received: set[int], unknown: set[int], report: DeliveryReport
) -> None:
    """Check that the segment ended if the client received events that Redis lost afterwards.

    Such a client, once newer events follow, shows a state that does not exist any more.
    """
    for loss in feed.losses:
        invalid = (loss.lost & received) | {id for id in unknown if id < loss.resumed_at}
        unknown = unknown - invalid
        if invalid and (delay := _describe_late_end(segment, loss.resumed_at)):
            report.unreported += len(invalid)
            report.notes.append(
                f"Redis lost {len(invalid)} events that a client had received; "
                f"the reset came {delay}"
            )
    # Only a server read these events before a master died. They are lost too, unless a reset
    # followed.
    if unknown and (segment.ended is None or _describe_late_end(segment, max(unknown) + 1)):
        report.unreported += len(unknown)
        report.notes.append(
            f"{len(unknown)} events arrived that are not in the feed, "
            f"the first is {unpack(min(unknown))}"
        )


def _describe_late_end(segment: Segment, resumed_at: int) -> str:
    """Return the delay of the segment's end after a loss if it was too late, else "".

    The end is in time as well when no event after the loss arrived.
    """
    index = next((n for n, id in enumerate(segment.ids) if id >= resumed_at), None)
    if index is None:
        return ""
    if segment.ended is None:
        return "never"
    late_s = segment.ended_at - segment.arrived_at(index)
    return f"{late_s:.1f} s later" if late_s > REPORT_WITHIN_S else ""


def _check_between(
    before: Segment, after: Segment, feed: FeedLog, lost: frozenset[int], report: DeliveryReport
) -> None:
    last = max(before.position, before.start)
    omitted = set(feed.between(last, after.start)) if after.start else set()
    report.redis_lost += len(omitted & lost)
    omitted -= lost
    if before.skipped is not None and before.skipped != len(omitted):
        report.unreported += max(0, len(omitted) - before.skipped)
        report.notes.append(
            f"a skipped event reported {before.skipped} events instead of {len(omitted)}"
        )
    report.reported += len(omitted)


def _describe(segment: Segment) -> str:
    first, last = unpack(segment.start), unpack(segment.position)
    text = f"a segment of {len(segment.ids)} events from {first} to {last}"
    return f"{text} that ended with a {segment.ended}" if segment.ended else text
