"""The instances that found no room on a full board, as far as they can be known.

An instance counts for OVERFLOW_S after its last event: the server keeps neither its heartbeats nor
its loss.
"""

from pulseboard.wire.instances import InstanceKey

OVERFLOW_S = 3_600.0
OVERFLOW_MAX = 10_000


class OmittedInstances:
    """The omitted instances, each with the time of its last event (ms by Redis' clock)."""

    def __init__(self) -> None:
        # In the order of their last events, oldest first.
        self._published_at: dict[InstanceKey, int] = {}

    def add(self, key: InstanceKey, at_ms: int) -> None:
        """Note an event of an instance that found no room."""
        if key in self._published_at or len(self._published_at) < OVERFLOW_MAX:
            self._published_at.pop(key, None)
            self._published_at[key] = at_ms

    def discard(self, key: InstanceKey) -> None:
        """Forget an instance that is on the board, or has stopped."""
        self._published_at.pop(key, None)

    def clear(self) -> None:
        """Forget all instances."""
        self._published_at.clear()

    def count(self, now_ms: int) -> int:
        """Return how many instances were omitted in the last hour, at most OVERFLOW_MAX."""
        for key, published_at in list(self._published_at.items()):
            if published_at >= now_ms - OVERFLOW_S * 1000:
                break
            del self._published_at[key]
        return len(self._published_at)
