"""The state that the board gives an instance. The page has the same rule; `spec/fixtures/state.json` holds both to it."""

from enum import StrEnum

LATE_AFTER_BEATS = 2
LOST_AFTER_BEATS = 4
GRACE_MS = 1_000
"""Beats reach a reader in frames of up to a second, so a fast rhythm must not look late for that alone."""


class State(StrEnum):
    """What the board makes of an instance (docs/reference/wire.md, "State")."""

    ALIVE = "alive"
    LATE = "late"
    LOST = "lost"
    STOPPED = "stopped"
    SILENT = "silent"
    MISSING = "missing"
    UNKNOWN = "unknown"


def judge(*, blind: bool, seen: int | None, now: int, beat_s: float | None, goodbye: bool) -> State:
    """Return the state of an instance last seen at `seen` (None: never), at `now`, both ms by Redis' clock."""
    if blind:
        return State.UNKNOWN
    if seen is None:
        return State.MISSING
    if goodbye:
        return State.STOPPED
    if beat_s is None:
        return State.SILENT
    age, beat_ms = now - seen, beat_s * 1000
    if age <= LATE_AFTER_BEATS * beat_ms + GRACE_MS:
        return State.ALIVE
    if age <= LOST_AFTER_BEATS * beat_ms + GRACE_MS:
        return State.LATE
    return State.LOST
