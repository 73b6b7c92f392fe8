"""The outbox: what a service wants sent, from any of its threads to the one that sends. Bounded; `offer` never waits.

Each event offered is sent, dropped or waiting, where what was taken waits until it is confirmed: the counts add up, always.
"""

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pulseboard.bus.publisher import Outgoing

MAX_EVENTS = 256
MAX_BYTES = 4 * 1024 * 1024


class OutboxCounts(NamedTuple):
    """What became of the events of one outbox: `offered == sent + overflowed + coalesced + waiting`."""

    offered: int
    sent: int
    overflowed: int
    """Dropped, the oldest first, because the outbox was full."""
    coalesced: int
    """Dropped because Redis was away, and a later status says all that they said."""
    waiting: int
    waiting_bytes: int


class Outbox:
    """Status events on their way out, oldest first. When it is full the oldest goes: a later status says all it said."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        # Reentrant, since a signal handler may offer in the middle of an offer; and what it offers lies in `_arriving`
        # until the one it interrupted has done its sums, since no count survives a change between its being read and written.
        self._lock = threading.RLock()
        self._settling = False
        self._arriving: deque[Outgoing] = deque()
        self._events: deque[Outgoing] = deque()
        self._taken = 0
        self._bytes = 0
        self._offered = self._sent = self._overflowed = self._coalesced = 0

    def offer(self, event: Outgoing) -> None:
        """Take one event, at the price of the oldest when there is no room."""
        self._arriving.append(event)
        with self._lock:
            self._settle()

    def take(self, count: int) -> list[Outgoing]:
        """Take out up to `count` events, oldest first, which then must be confirmed or given to `keep_latest`."""
        with self._lock:
            self._settle()
            taken = [self._events.popleft() for _ in range(min(count, len(self._events)))]
            self._taken += len(taken)
            return taken

    def confirm(self, taken: Sequence[Outgoing]) -> None:
        """Say that what was taken has been sent."""
        size = _size(taken)
        with self._lock:
            self._taken -= len(taken)
            self._sent += len(taken)
            self._bytes -= size

    def keep_latest(self, taken: Sequence[Outgoing] = ()) -> None:
        """Put back what could not be sent, and keep the latest of all that waits: in an outage nobody watches the steps."""
        with self._lock:
            self._settle()
            self._taken -= len(taken)
            waiting = [*taken, *self._events]
            self._coalesced += max(0, len(waiting) - 1)
            self._bytes -= _size(waiting[:-1])
            self._events = deque(waiting[-1:])

    def counts(self) -> OutboxCounts:
        """Return what became of the events so far, at one moment."""
        with self._lock:
            self._settle()
            waiting = len(self._events) + self._taken
            return OutboxCounts(self._offered, self._sent, self._overflowed, self._coalesced, waiting, self._bytes)

    def __len__(self) -> int:
        return len(self._events) + self._taken

    def _settle(self) -> None:
        if self._settling:
            return
        try:
            self._settling = True
            while self._arriving:
                self._admit(self._arriving.popleft())
        finally:
            self._settling = False

    def _admit(self, event: Outgoing) -> None:
        self._events.append(event)
        self._offered += 1
        self._bytes += len(event.json)
        # What was taken counts as well, but only what was not can be dropped.
        while len(self._events) > 1 and (len(self) > self._max_events or self._bytes > self._max_bytes):
            self._overflowed += 1
            self._bytes -= len(self._events.popleft().json)


def _size(events: Sequence[Outgoing]) -> int:
    return sum(len(event.json) for event in events)
