"""Plain publishes: each is in the feed once, or readers are told from when to when nobody heard. Pure.

Pub/sub has no replay, so what was on its way to a server that died is gone: that must be said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Keeping: TypeAlias = Literal["stays", "returns", "unsure"]
"""What becomes of Redis: it stays, as one server does; or it is away for a while, with all that it took when it is back; or it
may lose what it took, or its clock is wrong, so that spans by that clock say nothing."""


class Taken(NamedTuple):
    """Numbers that Redis took in one go. Times are ms by the clock of its host."""

    numbers: range
    began: float
    ended: float
    hearers: int
    """How many servers Redis sent each of them to, at least."""


class Span(NamedTuple):
    """From when to when (None: it goes on), by Redis' clock in ms, a reader was told that nobody heard."""

    since: int
    until: int | None


@dataclass
class PlainAccount:
    """What became of them."""

    twice: int = 0
    told: int = 0
    lost: int = 0
    notes: list[str] = field(default_factory=list)


def settle_plain(
    taken: Sequence[Taken],
    adoptions: Mapping[int, int],
    told: Collection[Collection[Span]],
    keeping: Keeping,
) -> PlainAccount:
    """Return the account of what was taken, given how often each number is in the feed and what each reader was told."""
    account = PlainAccount()
    sent = unheard = overheard = 0
    for batch in taken:
        sent += len(batch.numbers)
        account.twice += sum(adoptions.get(n, 0) > 1 for n in batch.numbers)
        missing = sum(n not in adoptions for n in batch.numbers)
        if not missing:
            continue
        if keeping == "unsure":
            unheard += missing
        elif keeping == "stays" and batch.hearers > 1:
            overheard += missing
        elif all(any(_within(batch, span) for span in spans) for spans in told):
            account.told += missing
        else:
            unheard += missing
    account.lost = overheard + (unheard if keeping != "unsure" else 0)
    for count, text in (
        (account.twice, "are in the feed more than once"),
        (overheard, "never reached the feed, though a server that heard them stayed"),
        (
            unheard,
            "were heard by no server"
            if keeping == "unsure"
            else "never reached the feed, and nobody was told",
        ),
        (account.told, "were heard by no server that stayed, and readers were told when"),
    ):
        if count:
            account.notes.append(f"{count} of {sent} plain publishes {text}")
    return account


def overlap(one: Span, other: Span) -> bool:
    """Say whether two spans have a moment in common."""
    first, second = sorted((one, other), key=lambda span: span.since)
    return first.until is None or second.since <= first.until


def _within(batch: Taken, span: Span) -> bool:
    return batch.ended >= span.since and (span.until is None or batch.began <= span.until)
