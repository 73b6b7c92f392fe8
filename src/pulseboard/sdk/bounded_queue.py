"""A lane: what goes from any thread, and from any signal handler, to the one thread that takes it. Bounded; the oldest goes.

Nobody who offers waits for anybody: it is done in single steps of C, within which the interpreter switches neither threads
nor to a signal handler (it holds its GIL). All else is the taker's alone. So the counts add up by construction: what is in
nobody's hands any more and was not sent was dropped.
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
    """What became of the items of one lane: `offered == sent + overflowed + coalesced + waiting`."""

    offered: int
    sent: int
    overflowed: int
    """Dropped, the oldest first, because the lane was full; or not put in yet, by a thread that is in the middle of it."""
    coalesced: int
    """Dropped by the taker, because a later one says all that they said."""
    waiting: int
    waiting_bytes: int


class _Ledger(Generic[T]):
    """The taker's book at one moment. It is replaced, never changed, so that who reads it needs no lock."""

    __slots__ = ("coalesced", "held", "sent", "through")

    def __init__(
        self, through: int = 0, held: tuple[T, ...] = (), sent: int = 0, coalesced: int = 0
    ) -> None:
        self.through = through  # items up to this number have left the queue
        self.held = held  # taken and not confirmed
        self.sent = sent
        self.coalesced = coalesced


class BoundedQueue(Generic[T]):
    """At most `max_items` items, and `max_bytes` by what `size` says of each, of which the taker holds up to `batch_max`.

    The newest is never dropped, though it be larger than the bound. A lane that is full in bytes lets go of `spare_bytes` more
    than need be, or each item would have all that waits summed up again.
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
        # What may still be offered, in bytes, before somebody has to sum up what waits. Two threads may lose a step of it.
        self._room = max_bytes
        # A full deque drops its oldest in the same step that appends.
        self._queue: deque[Numbered[T]] = deque(maxlen=max_items - batch_max)
        self._numbers = iter(range(1, _ENDLESS))
        self.ledger: _Ledger[T] = _Ledger()

    def offer(self, item: T) -> None:
        """Put an item in, at the price of the oldest when there is no room."""
        self._queue.extend(zip((item,), self._numbers))  # noqa: B905 - the numbers never end
        self._room -= self._size(item)
        if self._room < 0:
            self._make_room()

    def look(self) -> tuple[_Ledger[T], list[Numbered[T]]]:
        """Return the book and what is queued at one moment, oldest first, each with its number."""
        while True:
            ledger = self.ledger
            queue = self._copy_queue()
            if (
                ledger is self.ledger
            ):  # else items went from the one to the other between the two looks
                while queue and queue[0][1] <= ledger.through:
                    queue.popleft()
                return ledger, list(queue)

    def hold(
        self,
        held: tuple[T, ...],
        left: Sequence[Numbered[T]] = (),
        *,
        sent: int = 0,
        coalesced: int = 0,
    ) -> None:
        """Let `left` leave the queue, and keep `held` until it is sent or dropped. For the taker.

        `sent` and `coalesced` are how many, of what was held before or has left, were so.
        """
        was = self.ledger
        through = max(was.through, left[-1][1]) if left else was.through
        # The book first: who looks in between finds an item in both places, and knows by its number that it has left.
        self.ledger = _Ledger(through, held, was.sent + sent, was.coalesced + coalesced)
        for numbered in left:
            self._remove(numbered)

    @property
    def latest(self) -> int:
        """The number of the latest item; that may be about to be put in."""
        return _ENDLESS - 1 - length_hint(self._numbers)

    def __bool__(self) -> bool:
        """Whether anything is queued."""
        return bool(self._queue)

    def counts(self) -> QueueCounts:
        """Return what became of the items so far, at one moment. For any thread."""
        ledger, queue = self.look()
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
        """Return how many were dropped so far because the lane was full; what waits is not summed up for it."""
        return _count_overflowed(*self.look())

    def _copy_queue(self) -> deque[Numbered[T]]:
        """Return a copy of the queue, by number."""
        return self._queue.copy()

    def _make_room(self) -> None:
        ledger, queue = self.look()
        total = self._bytes_of(chain(ledger.held, map(_item_of, queue)))
        if total > self._max_bytes:
            for numbered in queue[:-1]:
                if total <= self._max_bytes - self._spare_bytes:
                    break
                total -= self._size(numbered[0])
                self._remove(numbered)
        self._room = self._max_bytes - total

    def _remove(self, numbered: Numbered[T]) -> None:
        # Not popleft(): the oldest may be another one by now, and even the newest.
        with suppress(ValueError):
            self._queue.remove(numbered)

    def _bytes_of(self, items: Iterable[T]) -> int:
        return sum(map(self._size, items))


def _count_overflowed(ledger: _Ledger[T], queue: Sequence[Numbered[T]]) -> int:
    offered = queue[-1][1] if queue else ledger.through
    return offered - ledger.sent - ledger.coalesced - len(ledger.held) - len(queue)
