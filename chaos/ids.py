"""Feed ids as integers, in the order of the feed: a run compares hundreds of thousands."""

from __future__ import annotations

_SEQ_BITS = 20
"""No machine adds more than 2**20 events in one millisecond."""


def pack(text: bytes) -> int:
    """Return the integer of an id `<ms>-<seq>`."""
    ms, _, seq = text.partition(b"-")
    return int(ms) << _SEQ_BITS | int(seq)


def unpack(id: int) -> str:
    """Return the id `<ms>-<seq>` of an integer."""
    return f"{ms_of(id)}-{id & ((1 << _SEQ_BITS) - 1)}"


def ms_of(id: int) -> int:
    """Return when Redis added the event, in ms by the clock of Redis."""
    return id >> _SEQ_BITS
