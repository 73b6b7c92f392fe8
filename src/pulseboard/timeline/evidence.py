"""Evidence: the state of an instance at a past moment, judged from the stored history.

An instance was alive at the moment if it gave a sign of life after it, and no server declared the
instance lost in between.

Invariant: the state is `late` or `lost` only if the stored history proves the silence of the
instance. Without a proof it is `unknown`.
"""

from collections.abc import Iterable

from pulseboard.wire.events.lifecycle import Incident
from pulseboard.wire.events.status import StatusEvent
from pulseboard.wire.state import Signs, State, judge


def judge_past(
    event: StatusEvent,
    event_ms: int,
    sign_ms: int | None,
    losses: Iterable[Incident],
    at_ms: int,
) -> State:
    """Return the state that an instance had at a moment.

    `event` is its last event before the moment, and `event_ms` the time of that event. `sign_ms` is
    the time of its latest known sign of life, before or after the moment; None if none is known.
    `losses` are incidents, the latest first. All times are in ms by Redis' clock.
    """
    lost = False
    for loss in losses:
        # If the event is later than the loss, the instance had returned before the moment.
        if not _is_of(loss, event) or loss.seen < event_ms:
            continue
        if loss.seen > at_ms:
            sign_ms = max(sign_ms or 0, loss.seen)
            continue
        if loss.declared <= at_ms:
            lost = True
        else:
            # A server declared the loss after the moment, but the silence had begun before it.
            sign_ms = loss.seen
        break
    state = judge(
        Signs(
            blind=False,
            seen=min(max(sign_ms or 0, event_ms), at_ms),
            observed_until=at_ms,
            # If no sign of life is known, the silence after the event proves nothing: heartbeats
            # may have been trimmed.
            observed_since=0 if sign_ms is not None else at_ms,
            heartbeat_s=event.heartbeat_s,
            stopped=event.stopped,
            # A missed return is an incident with the cause `overdue`, which `lost` includes.
            back_in_s=None,
            lost=lost,
        )
    )
    # An instance is lost only after a server has declared its loss; until then it is late.
    return State.LATE if state is State.LOST and not lost else state


def _is_of(loss: Incident, event: StatusEvent) -> bool:
    return (loss.service, loss.instance) == (event.service, event.instance)
