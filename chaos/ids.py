"""Feed ids as single integers, in the order of the feed: hundreds of thousands of them are kept and compared."""

from __future__ import annotations

_SEQ_BITS = 20
"""More events than that in one millisecond no machine can add."""


def pack(text: bytes) -> int:
    """Return the number of `<ms>-<seq>`."""
    ms, _, seq = text.partition(b"-")
    return int(ms) << _SEQ_BITS | int(seq)


def unpack(id: int) -> str:
    """Return `<ms>-<seq>` again."""
    return f"{ms_of(id)}-{id & ((1 << _SEQ_BITS) - 1)}"


def ms_of(id: int) -> int:
    """Return when the event was added, in ms by Redis' clock."""
    return id >> _SEQ_BITS
