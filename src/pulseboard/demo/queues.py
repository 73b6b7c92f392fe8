"""Two queues of users: those who go first and those who wait their turn.

A user stands in at most one queue and is never taken while still in work. Invariant: neither queue outgrows its
capacity; what does not fit is refused and counted, never put in place of another.
"""

from __future__ import annotations

from collections.abc import Iterable


class SyncQueues:
    """The high-priority and the normal queue, and who is in work."""

    def __init__(self, high_capacity: int = 100, normal_capacity: int = 500) -> None:
        if high_capacity < 1 or normal_capacity < 1:
            raise ValueError("a queue needs room for one at least")
        self.high_capacity = high_capacity
        self.normal_capacity = normal_capacity
        self.dropped = 0
        # Dicts are sets that keep their order: the first key has waited longest.
        self._high: dict[int, None] = {}
        self._normal: dict[int, None] = {}
        self._in_work: set[int] = set()

    @property
    def high(self) -> int:
        """How many wait in the high-priority queue."""
        return len(self._high)

    @property
    def normal(self) -> int:
        """How many wait in the normal queue."""
        return len(self._normal)

    @property
    def in_work(self) -> int:
        """How many are taken and not yet given back."""
        return len(self._in_work)

    @property
    def high_room(self) -> int:
        """How many more the high-priority queue takes."""
        return self.high_capacity - len(self._high)

    @property
    def normal_room(self) -> int:
        """How many more the normal queue takes."""
        return self.normal_capacity - len(self._normal)

    def offer(self, user_id: int) -> bool:
        """Put a user into the normal queue unless queued or in work already; False when there is no room."""
        if user_id in self._high or user_id in self._normal or user_id in self._in_work:
            return True
        if not self.normal_room:
            self.dropped += 1
            return False
        self._normal[user_id] = None
        return True

    def offer_high(self, user_id: int) -> bool:
        """Put a user into the high-priority queue, out of the normal one if need be; False when there is no room.

        One who is in work waits again: what made it urgent may have come after the work began.
        """
        if user_id in self._high:
            return True
        if not self.high_room:
            self.dropped += 1
            return False
        self._normal.pop(user_id, None)
        self._high[user_id] = None
        return True

    def take(self) -> int | None:
        """Take the next user into work: high priority first, then by age; None when nobody can be taken."""
        for queue in (self._high, self._normal):
            user_id = self._first_free(queue)
            if user_id is not None:
                del queue[user_id]
                self.start(user_id)
                return user_id
        return None

    def start(self, user_id: int) -> None:
        """Say that a user is in work, whoever took them."""
        self._in_work.add(user_id)

    def is_in_work(self, user_id: int) -> bool:
        """Whether a user is taken and not yet given back."""
        return user_id in self._in_work

    def give_back(self, user_id: int) -> None:
        """Say that the work on a user is over."""
        self._in_work.discard(user_id)

    def _first_free(self, queue: Iterable[int]) -> int | None:
        return next((user_id for user_id in queue if user_id not in self._in_work), None)
