"""A bounded queue from any thread, and any signal handler, to the one thread that sends.

Invariant: `put` never waits, and the counts always add up. `docs/explanation/sdk-delivery.md`
explains why single C calls are enough for that.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter, length_hint
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
Numbered = tuple[T, int]


_item_of = itemgetter(0)
_ENDLESS = sys.maxsize


class QueueCounts(NamedTuple):
    """The counts of one queue: `offered == sent + overflowed + coalesced + waiting`, always."""

    offered: int
    sent: int
    overflowed: int
    """Dropped, the oldest first, because the queue was full; rejected by Redis; or numbered by a
    thread that is interrupted before it appends the item."""
    coalesced: int
    """Dropped by the consumer, because a later item contains everything that they contained."""
    waiting: int
    waiting_bytes: int


class _Ledger(Generic[T]):
    """The consumer's record, replaced and never changed: reading it needs no lock."""

    __slots__ = ("coalesced", "held", "sent", "through")

    def __init__(
        self, through: int = 0, held: tuple[T, ...] = (), sent: int = 0, coalesced: int = 0
    ) -> None:
        self.through = through  # items up to this number have left the queue
        self.held = held  # left the queue, and not yet confirmed
        self.sent = sent
        self.coalesced = coalesced


class BoundedQueue(Generic[T]):
    """A queue of at most `max_items` items and `max_bytes` bytes, by the `size` of each item.

    The consumer holds at most `batch_max` of them. The newest item is never dropped, even if it
    alone exceeds `max_bytes`. When the queue is full in bytes it drops `spare_bytes` more than
    necessary; otherwise each further item would have to sum up the sizes of all waiting items
    again.
    """

    def __init__(
        self,
        max_items: int,
        max_bytes: int,
        batch_max: int,
        size: Callable[[T], int],
        *,
        spare_bytes: int = 0,
    ) -> None:
        self._max_bytes = max_bytes
        self._spare_bytes = spare_bytes
        self._size = size
        # Bytes that may still be put before the waiting items must be summed up. Two threads may
        # lose an update of it; the next summing up corrects that.
        self._room = max_bytes
        # A full deque drops its oldest item in the same step that appends.
        self._queue: deque[Numbered[T]] = deque(maxlen=max_items - batch_max)
        self._numbers = iter(range(1, _ENDLESS))
        self.ledger: _Ledger[T] = _Ledger()

    def put(self, item: T) -> None:
        """Append an item; drop the oldest ones if there is no room."""
        self._queue.extend(zip((item,), self._numbers))  # noqa: B905 - the numbers never end
        self._room -= self._size(item)
        if self._room < 0:
            self._make_room()

    def read(self) -> tuple[_Ledger[T], list[Numbered[T]]]:
        """Return the ledger and the numbered items of the queue at one moment, oldest first."""
        while True:
            ledger = self.ledger
            queue = self._copy_queue()
            # If the ledger was replaced between the two reads, items may be in neither or in both.
            if ledger is self.ledger:
                while queue and queue[0][1] <= ledger.through:
                    queue.popleft()
                return ledger, list(queue)

    def advance(
        self,
        held: tuple[T, ...],
        removed: Sequence[Numbered[T]] = (),
        *,
        sent: int = 0,
        coalesced: int = 0,
    ) -> None:
        """Remove `removed` from the queue and hold `held` instead of what was held. Consumer only.

        `sent` and `coalesced` count the items, among those held before and those removed, that were
        sent or coalesced. Items that appear in neither count nor in `held` count as overflowed.
        """
        before = self.ledger
        through = max(before.through, removed[-1][1]) if removed else before.through
        # The ledger goes first: a reader in between finds an item in both places, and knows by its
        # number that it has left the queue.
        self.ledger = _Ledger(through, held, before.sent + sent, before.coalesced + coalesced)
        for numbered in removed:
            self._remove(numbered)

    @property
    def latest(self) -> int:
        """The number of the latest item, which its thread may not have appended yet."""
        return _ENDLESS - 1 - length_hint(self._numbers)

    def __bool__(self) -> bool:
        """Return whether any item is queued."""
        return bool(self._queue)

    def counts(self) -> QueueCounts:
        """Return the counts of one moment. Any thread may call it."""
        ledger, queue = self.read()
        waiting = [*ledger.held, *(item for item, _ in queue)]
        offered = queue[-1][1] if queue else ledger.through
        overflowed = _count_overflowed(ledger, queue)
        return QueueCounts(
            offered,
            ledger.sent,
            overflowed,
            ledger.coalesced,
            len(waiting),
            self._bytes_of(waiting),
        )

    def overflowed(self) -> int:
        """Return how many items were dropped so far, without summing up the sizes of the others."""
        return _count_overflowed(*self.read())

    def _copy_queue(self) -> deque[Numbered[T]]:
        """Return a copy of the queue, ordered by number."""
        return self._queue.copy()

    def _make_room(self) -> None:
        ledger, queue = self.read()
        total = self._bytes_of(chain(ledger.held, map(_item_of, queue)))
        if total > self._max_bytes:
            for numbered in queue[:-1]:
                if total <= self._max_bytes - self._spare_bytes:
                    break
                total -= self._size(numbered[0])
                self._remove(numbered)
        self._room = self._max_bytes - total

    def _remove(self, numbered: Numbered[T]) -> None:
        # Not popleft(): meanwhile the oldest item may be another one, even the newest.
        with suppress(ValueError):
            self._queue.remove(numbered)

    def _bytes_of(self, items: Iterable[T]) -> int:
        return sum(map(self._size, items))


def _count_overflowed(ledger: _Ledger[T], queue: Sequence[Numbered[T]]) -> int:
    offered = queue[-1][1] if queue else ledger.through
    return offered - ledger.sent - ledger.coalesced - len(ledger.held) - len(queue)
