"""The outbox: the statuses of a service on their way from its threads to the courier. Bounded; no call of a host waits.

Whoever offers, offers the whole status as it is at that moment; so of two the later one never says less.
"""

import time
from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from pulseboard.sdk.bounded_queue import BoundedQueue, Numbered
from pulseboard.sdk.fields import Fields

MAX_EVENTS = 256
MAX_BYTES = 4 * 1024 * 1024
BATCH_MAX = 64


class Word(NamedTuple):
    """What is said with a status: in which run of the service (they are numbered), and whether it is the last of that run."""

    run: int
    stopped: bool = False
    back_in_s: float | None = None


class Said(NamedTuple):
    """A status as it was said: its JSON, when (ns since the epoch), and the word with it."""

    json: bytes
    at_ns: int
    word: Word


Entry: TypeAlias = Numbered[tuple[bytes, int, Word]]

Saying: TypeAlias = Iterator[Entry]
"""A status that is made when it is offered, over and over."""


class Outbox(BoundedQueue[tuple[bytes, int, Word]]):
    """Statuses on their way out, oldest first. When it is full the oldest goes: a later one says all it said.

    What was said in a run after its goodbye, or is still here when a later run has begun, is not sent: a thread or a signal
    handler may stop the service in the middle of another's update.
    """

    def __init__(
        self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES, batch_max: int = BATCH_MAX
    ) -> None:
        super().__init__(max_events, max_bytes, batch_max, _size)
        # In a list, where the one step of C that makes it JSON can find it.
        self._whole: list[Fields] = [{}]
        self._batch_max = batch_max
        self._taken = 0

    def merge(self, fields: Fields) -> None:
        """Change these fields of the status."""
        self._whole[0].update(fields)

    def replace(self, fields: Fields) -> None:
        """Make this the status. It is the outbox's from here on."""
        self._whole[0] = fields

    def saying(self, word: Word) -> Saying:
        """Return the status with this word, for `say`: each time as it is then."""
        whole = map(self._whole.__getitem__, repeat(0))
        return zip(zip(map(_encode, whole), _clock, repeat(word)), self._numbers)  # noqa: B905 - none of them ends

    def say(self, saying: Saying) -> None:
        """Put the status in as it is now."""
        # It gets its number in the step of C that makes it, so that the numbers tell which is the later. To put it in within
        # that step too would cost half as much again.
        entry = next(saying)
        self._queue.append(entry)
        self._room -= len(entry[0][0])
        if self._room < 0:
            self._make_room()

    def say_last(self, word: Word) -> None:
        """Put the status in with a word that must not be lost: in one step, so it cannot come when a later one has left."""
        self._queue.extend(islice(self.saying(word), 1))
        self._make_room()

    def take(self, run: int) -> list[Said]:
        """Return what is to be sent next of this run; it waits until it is confirmed, or the latest alone is kept."""
        return self._hold_of(run, self._batch_max)

    def confirm(self) -> None:
        """Say that what was taken has been sent."""
        self.hold((), sent=len(self.ledger.held))

    def keep_latest(self, run: int) -> None:
        """Keep the latest of all that this run has said and not sent: in an outage nobody watches the steps."""
        self._hold_of(run, None)

    @property
    def misses_latest(self) -> bool:
        """Whether nothing is queued and yet the latest was not taken: its thread is held up, or was torn away, by what a signal
        handler raised. For the taker.
        """
        return not self._queue and self._taken < self.latest

    def renew(self) -> "Outbox":
        """Return an empty one with the same status: a forked child's."""
        heir = Outbox()
        heir.replace(self._whole[0])
        return heir

    def _hold_of(self, run: int, count: int | None) -> list[Said]:
        ledger, queue = self.look()
        held = [Said(*said) for said in ledger.held if said[2].run == run]
        left = self._late()
        for said, number in queue:
            if said[2].run > run or (count is not None and len(held) >= count):
                break
            left.append((said, number))
            if said[2].run == run and not (held and held[-1].word.stopped):
                held.append(Said(*said))
                self._taken = number
        seen = len(ledger.held) + len(left)
        if count is None:
            held = held[-1:]
        self.hold(tuple(held), left, coalesced=seen - len(held))
        return held

    def _copy_queue(self) -> deque[Entry]:
        return deque(sorted(self._queue.copy(), key=_number_of))

    def _late(self) -> list[Entry]:
        """Return what was put in when a later one, which says all that it says, had left already."""
        through = self.ledger.through
        return [entry for entry in self._queue.copy() if entry[1] <= through]


def _size(said: tuple[bytes, int, Word]) -> int:
    return len(said[0])


_number_of = itemgetter(1)
_encode = msgspec.json.Encoder().encode
_clock = iter(time.time_ns, None)
