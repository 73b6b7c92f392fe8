"""The state rule: the verdict of the board on an instance, computed from its signs of life.

The page implements the same rule in TypeScript; `spec/fixtures/state.json` tests both.
"""

from enum import StrEnum

import msgspec

LATE_AFTER_INTERVALS = 1.5
LOST_AFTER_INTERVALS = 2.5
"""Heartbeat intervals of silence after which an instance is late, and lost.

The last sign of life that a client knows is up to an eighth of an interval old, and may be delayed
twice on its way to a page. With 2.5 intervals, a page still reports a death within three intervals.
"""
RETURN_GRACE_MS = 5_000
"""Extra time that a service gets to return after the end of its planned absence."""
RECONNECT_MS = 5_000
"""Time that a service gets to reconnect after an outage of Redis, before its silence counts.

It covers the longest pause of the SDK between two attempts, and the attempt itself.
"""


class State(StrEnum):
    """The verdict of the board on an instance (docs/reference/wire.md, "State")."""

    ALIVE = "alive"
    LATE = "late"
    LOST = "lost"
    STOPPED = "stopped"
    SILENT = "silent"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Signs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The facts that decide the state of an instance. Times are in ms by Redis' clock."""

    blind: bool
    """Whether the observer cannot see Redis, or lost its server."""
    seen: int | None
    """The time of the last sign of life; None: there never was one."""
    observed_until: int
    """The time up to which every sign of life is known to the observer, however late it is by now.

    Silence is measured up to here, so an observer that was away does not count its own absence as
    silence.
    """
    observed_since: int = 0
    """Silence before this time does not count: no sign of life could have been received."""
    heartbeat_s: float | None
    """The declared heartbeat interval in seconds; None: the instance sends no heartbeats."""
    stopped: bool
    """Whether the last event announced a graceful stop."""
    back_in_s: float | None = None
    """The planned duration of the absence in seconds; None: no return is planned."""
    lost: bool = False
    """Whether a server declared the instance lost, and it has given no sign of life since."""


def judge(signs: Signs) -> State:
    """Return the state of the instance that gave these signs."""
    if signs.blind:
        return State.UNKNOWN
    if signs.seen is None:
        return State.MISSING
    if signs.lost:
        return State.LOST
    if signs.stopped:
        return State.LOST if _is_overdue(signs, signs.seen) else State.STOPPED
    if signs.heartbeat_s is None:
        return State.SILENT
    interval_ms = signs.heartbeat_s * 1000
    if signs.observed_until - signs.seen <= LATE_AFTER_INTERVALS * interval_ms:
        return State.ALIVE
    silence_ms = signs.observed_until - max(signs.seen, signs.observed_since)
    if silence_ms <= LATE_AFTER_INTERVALS * interval_ms:
        return State.UNKNOWN
    return State.LATE if silence_ms <= LOST_AFTER_INTERVALS * interval_ms else State.LOST


def _is_overdue(signs: Signs, seen: int) -> bool:
    if signs.back_in_s is None:
        return False
    expected = max(seen + signs.back_in_s * 1000, signs.observed_since)
    return signs.observed_until > expected + RETURN_GRACE_MS
