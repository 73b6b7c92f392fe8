"""The view of a client: which messages of the two streams it receives.

Clients with the same view and the same framing receive the same bytes.
"""

from dataclasses import dataclass

from pulseboard.hub.frame_filter import filter_heartbeats, filter_log
from pulseboard.hub.ring import Choice, Frame
from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.kinds import HEARTBEAT, LOG


@dataclass(frozen=True, slots=True)
class View:
    """The status stream, or the event stream with only these kinds, services and log lines.

    None selects all of them.
    """

    status_stream: bool = False
    kinds: frozenset[str] | None = None
    services: frozenset[str] | None = None
    lines: LogFilter | None = None

    @property
    def choice(self) -> Choice:
        """The events of this view that the ring counts."""
        return Choice(self.kinds, self.services)

    def pick(self, frame: Frame) -> bytes | None:
        """Return the bytes of a frame for this view, or None if the view excludes it."""
        if self.status_stream:
            return frame.status_stream
        if self.kinds is not None and frame.kind is not None and frame.kind not in self.kinds:
            return None
        if (
            self.services is not None
            and frame.service is not None
            and frame.service not in self.services
        ):
            return None
        if (
            self.services is not None
            and frame.kind == HEARTBEAT.sse_event
            and frame.full is not None
        ):
            return filter_heartbeats(frame.full, self.services)
        if self.lines is not None and frame.kind == LOG.sse_event and frame.full is not None:
            return filter_log(frame.full, self.lines)
        return frame.full
