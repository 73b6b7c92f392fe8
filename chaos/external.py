"""Checks that each external message is in the feed once, or its loss is reported.

The module is pure. Pub/sub has no replay, so a message on its way to a server that dies is lost,
and a server must report that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

RedisOutcome: TypeAlias = Literal["stays", "returns", "unsure"]
"""The effect of a fault on Redis.

`stays`: Redis and at least one server run on. `returns`: Redis is away for a while and returns with
all data. `unsure`: Redis may lose data, or its clock is wrong, so that gaps by that clock mean
nothing.
"""


class AcceptedBatch(NamedTuple):
    """Numbers of messages that Redis accepted together; times are ms by its host's clock."""

    numbers: range
    began_ms: float
    ended_ms: float
    subscribers: int
    """The minimum number of servers to which Redis sent each message."""


class ReportedGap(NamedTuple):
    """A coverage gap that a client received, in ms by the clock of Redis; None: still open."""

    since: int
    until: int | None


@dataclass
class ExternalReport:
    """Counts of external messages: duplicated, lost with a report, lost without a report."""

    duplicated: int = 0
    reported: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)


def check_external(
    accepted: Sequence[AcceptedBatch],
    ingested: Mapping[int, int],
    gaps: Collection[Collection[ReportedGap]],
    redis: RedisOutcome,
) -> ExternalReport:
    """Return the report of the accepted messages.

    `ingested` has the number of entries in the feed by message; `gaps` has the gaps of each client.
    """
    report = ExternalReport()
    sent = not_received = received_and_lost = 0
    for batch in accepted:
        sent += len(batch.numbers)
        report.duplicated += sum(ingested.get(n, 0) > 1 for n in batch.numbers)
        missing = sum(n not in ingested for n in batch.numbers)
        if not missing:
            continue
        if redis == "unsure":
            not_received += missing
        elif redis == "stays" and batch.subscribers > 1:
            received_and_lost += missing
        elif all(any(_is_within(batch, gap) for gap in of_client) for of_client in gaps):
            report.reported += missing
        else:
            not_received += missing
    report.lost = received_and_lost + (not_received if redis != "unsure" else 0)
    for count, text in (
        (report.duplicated, "are in the feed more than once"),
        (received_and_lost, "never reached the feed, although a server that received them ran on"),
        (
            not_received,
            "were received by no server"
            if redis == "unsure"
            else "never reached the feed, and no coverage gap was reported",
        ),
        (report.reported, "were received by no server that ran on, and clients got the gap"),
    ):
        if count:
            report.notes.append(f"{count} of {sent} external messages {text}")
    return report


def overlap(one: ReportedGap, other: ReportedGap) -> bool:
    """Whether two gaps have a moment in common."""
    first, second = sorted((one, other), key=lambda gap: gap.since)
    return first.until is None or second.since <= first.until


def _is_within(batch: AcceptedBatch, gap: ReportedGap) -> bool:
    return batch.ended_ms >= gap.since and (gap.until is None or batch.began_ms <= gap.until)
