"""Evidence: the state of an instance at a past moment, judged from the stored history.

An instance that gave a sign of life after the moment, without having been declared lost in between,
was alive.

Invariant: where nothing kept proves silence, the state is `unknown`.
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

    `event` is its last event by then, of `event_ms`. `sign_ms` is its first known sign of life
    after the moment; if there is none, its last one of all; None if neither is known. `losses` are
    incidents, the latest first.
    """
    lost = False
    for loss in losses:
        # An instance that published after its loss had returned.
        if not _is_of(loss, event) or loss.seen < event_ms:
            continue
        if loss.seen > at_ms:
            sign_ms = max(sign_ms or 0, loss.seen)
            continue
        if loss.declared <= at_ms:
            lost = True
        else:
            # The loss had begun and was declared later, so the instance was silent at the moment.
            sign_ms = loss.seen
        break
    state = judge(
        Signs(
            blind=False,
            seen=min(max(sign_ms or 0, event_ms), at_ms),
            observed_until=at_ms,
            # Without another sign, the silence after the last kept event proves nothing.
            observed_since=0 if sign_ms is not None else at_ms,
            heartbeat_s=event.heartbeat_s,
            stopped=event.stopped,
            # A return that was missed is an incident, so its time needs no second check.
            back_in_s=None,
            lost=lost,
        )
    )
    # An instance counts as lost from its declaration on; without one, its silence is only late.
    return State.LATE if state is State.LOST and not lost else state


def _is_of(loss: Incident, event: StatusEvent) -> bool:
    return (loss.service, loss.instance) == (event.service, event.instance)
