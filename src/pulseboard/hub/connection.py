"""A connection: a position in the ring, what it wants to see, and where its bytes go. It has no queue of its own."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pulseboard.hub.frame_filter import filter_heartbeats, filter_log
from pulseboard.hub.ring import Choice, Frame, Mark
from pulseboard.wire.events.log import LogFilter
from pulseboard.wire.kinds import HEARTBEAT, LOG

Framing = Callable[[bytes], bytes]


class Sink(Protocol):
    """Where a connection's bytes go.

    `framing` wraps them for the wire; connections with the same function share the result. After a `write` that filled
    the way, `writable` is False until the owner of the sink calls `Hub.pump`.
    """

    @property
    def framing(self) -> Framing: ...

    @property
    def writable(self) -> bool: ...

    @property
    def unsent(self) -> int:
        """How many bytes of what was written are still on this side."""

    def write(self, data: bytes) -> None: ...

    def close(self, last: bytes) -> None:
        """Write `last` and end the stream in order."""

    def abort(self) -> None:
        """End it at once, whatever is unwritten."""


@dataclass(frozen=True, slots=True)
class View:
    """What a reader wants: the seed's stream, or ours with only these kinds, services and log lines (None: all)."""

    seed: bool = False
    kinds: frozenset[str] | None = None
    services: frozenset[str] | None = None
    lines: LogFilter | None = None

    @property
    def choice(self) -> Choice:
        """Of the events that are counted, those that it wants."""
        return Choice(self.kinds, self.services)

    def pick(self, frame: Frame) -> bytes | None:
        """Return the frame's bytes for this view, or None when it is not for it."""
        if self.seed:
            return frame.seed
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


@dataclass(eq=False, slots=True)
class Connection:
    """One reader. While `fresh` it is owed the whole board, after a `reset` if there is a `reason` to give.

    `mark` is what it had been given when it last could take no more; `woken` is set whenever it can take more.
    """

    view: View
    sink: Sink
    position: int = 0
    fresh: bool = True
    reason: str | None = None
    mark: Mark | None = None
    rest: Iterator[tuple[bytes, bool]] | None = None
    """What it is to be given of a board before anything else: pieces, and whether it is the last."""
    blocked_since: float | None = None
    """Since when it could take no more, by the monotonic clock; None while it can."""
    taken_at: float = 0.0
    """When since then it was last seen to have taken something."""
    unsent: int = 0
    """How much of what it was given it had not taken then."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ends_at: float = math.inf
    """When it has lived its time, by the monotonic clock."""
