"""A high-priority and a normal queue of users.

A user is in at most one queue, and is not dequeued while a sync of the user is active. Invariant:
neither queue exceeds its capacity. A full queue rejects and counts users; it never evicts one.
"""

from __future__ import annotations

from collections.abc import Iterable


class SyncQueues:
    """Both queues, and the set of users whose sync is active."""

    def __init__(self, high_capacity: int = 100, normal_capacity: int = 500) -> None:
        if high_capacity < 1 or normal_capacity < 1:
            raise ValueError("high_capacity and normal_capacity must be at least 1")
        self.high_capacity = high_capacity
        self.normal_capacity = normal_capacity
        self.dropped = 0
        # A dict keeps the order of its keys: the first key has waited longest.
        self._high: dict[int, None] = {}
        self._normal: dict[int, None] = {}
        self._active: set[int] = set()

    @property
    def high(self) -> int:
        """The number of users in the high-priority queue."""
        return len(self._high)

    @property
    def normal(self) -> int:
        """The number of users in the normal queue."""
        return len(self._normal)

    @property
    def active(self) -> int:
        """The number of users whose sync has started and not finished."""
        return len(self._active)

    @property
    def high_capacity_left(self) -> int:
        """The number of users that the high-priority queue can still accept."""
        return self.high_capacity - len(self._high)

    @property
    def normal_capacity_left(self) -> int:
        """The number of users that the normal queue can still accept."""
        return self.normal_capacity - len(self._normal)

    def put(self, user_id: int) -> bool:
        """Append a user who is neither queued nor active; return False when the queue is full."""
        if user_id in self._high or user_id in self._normal or user_id in self._active:
            return True
        if not self.normal_capacity_left:
            self.dropped += 1
            return False
        self._normal[user_id] = None
        return True

    def put_high(self, user_id: int) -> bool:
        """Append a user to the high-priority queue; return False when it is full.

        A user in the normal queue moves. An active user is queued again, because the reason for
        the priority may be newer than the active sync.
        """
        if user_id in self._high:
            return True
        if not self.high_capacity_left:
            self.dropped += 1
            return False
        self._normal.pop(user_id, None)
        self._high[user_id] = None
        return True

    def pop(self) -> int | None:
        """Remove and start the next user, high priority first; None when no user is eligible."""
        for queue in (self._high, self._normal):
            user_id = self._first_inactive(queue)
            if user_id is not None:
                del queue[user_id]
                self.start(user_id)
                return user_id
        return None

    def start(self, user_id: int) -> None:
        """Mark a user as active."""
        self._active.add(user_id)

    def is_active(self, user_id: int) -> bool:
        """Whether the sync of a user has started and not finished."""
        return user_id in self._active

    def finish(self, user_id: int) -> None:
        """Mark the sync of a user as finished."""
        self._active.discard(user_id)

    def _first_inactive(self, queue: Iterable[int]) -> int | None:
        return next((user_id for user_id in queue if user_id not in self._active), None)
