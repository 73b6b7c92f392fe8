"""The state that the board gives an instance. The page has the same rule; `spec/fixtures/state.json` holds both to it."""

from enum import StrEnum

LATE_AFTER_INTERVALS = 1.5
LOST_AFTER_INTERVALS = 2.5
"""What a reader has heard is up to an eighth of a rhythm old, twice on the way to a page: a death is told within three beats."""
RETURN_GRACE_MS = 5_000
"""How long after the end of a planned absence its service may take to come back."""
RECONNECT_MS = 5_000
"""How long after Redis came back a service may take to be heard: the SDK's longest pause between two tries, and the try."""


class State(StrEnum):
    """What the board makes of an instance (docs/reference/wire.md, "State")."""

    ALIVE = "alive"
    LATE = "late"
    LOST = "lost"
    STOPPED = "stopped"
    SILENT = "silent"
    MISSING = "missing"
    UNKNOWN = "unknown"


def judge(
    *,
    blind: bool,
    seen: int | None,
    observed_until: int,
    observed_since: int = 0,
    heartbeat_s: float | None,
    stopped: bool,
    back_in_s: float | None = None,
    lost: bool = False,
) -> State:
    """Return the state of an instance last seen at `seen` (None: never); all times are ms by Redis' clock.

    `observed_until` is the time up to which every sign of life has been heard, however late it is by now: a judge who was away
    himself blames nobody. Silence before `observed_since` could not have been heard. `lost`: it was declared so, and gave no sign observed_since.
    """
    if blind:
        return State.UNKNOWN
    if seen is None:
        return State.MISSING
    if lost:
        return State.LOST
    if stopped:
        absent = (
            back_in_s is None
            or observed_until <= max(seen + back_in_s * 1000, observed_since) + RETURN_GRACE_MS
        )
        return State.STOPPED if absent else State.LOST
    if heartbeat_s is None:
        return State.SILENT
    beat_ms = heartbeat_s * 1000
    if observed_until - seen <= LATE_AFTER_INTERVALS * beat_ms:
        return State.ALIVE
    silence = observed_until - max(seen, observed_since)
    if silence <= LATE_AFTER_INTERVALS * beat_ms:
        return State.UNKNOWN
    return State.LATE if silence <= LOST_AFTER_INTERVALS * beat_ms else State.LOST
