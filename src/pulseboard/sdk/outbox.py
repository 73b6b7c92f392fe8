"""The outbox: what a service wants sent, from any of its threads to the one that sends. Bounded; `offer` never waits."""

import threading
from collections import deque

MAX_EVENTS = 256
MAX_BYTES = 4 * 1024 * 1024


class Outbox:
    """Status events on their way out, oldest first. When it is full the oldest goes: a later status says all it said."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[bytes] = deque()
        self._bytes = 0
        # Reentrant, since a signal handler may offer in the middle of an offer.
        self._lock = threading.RLock()
        self.dropped = 0

    def offer(self, event: bytes) -> None:
        """Take one event, at the price of the oldest when there is no room."""
        with self._lock:
            self._events.append(event)
            self._bytes += len(event)
            while len(self._events) > 1 and (len(self._events) > self._max_events or self._bytes > self._max_bytes):
                self._bytes -= len(self._events.popleft())
                self.dropped += 1

    def take(self, count: int) -> list[bytes]:
        """Take out up to `count` events, oldest first."""
        with self._lock:
            taken = [self._events.popleft() for _ in range(min(count, len(self._events)))]
            self._bytes -= sum(map(len, taken))
            return taken

    def keep_latest(self, unsent: list[bytes]) -> None:
        """Put back what could not be sent, of which only the latest matters: while Redis is away nobody watches the steps."""
        with self._lock:
            waiting = [*unsent, *self._events]
            self.dropped += max(0, len(waiting) - 1)
            self._events = deque(waiting[-1:])
            self._bytes = sum(map(len, self._events))

    def __len__(self) -> int:
        return len(self._events)
