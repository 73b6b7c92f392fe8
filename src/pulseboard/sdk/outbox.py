"""The outbox: the statuses of a service on their way from its threads to the courier. Bounded; no call of a host waits.

Whoever offers, offers the whole status as it is at that moment; so of two the later one never says less.
"""

import time
from collections.abc import Iterator
from itertools import repeat
from typing import NamedTuple, TypeAlias

import msgspec

from pulseboard.sdk.lane import Lane, LaneCounts, Numbered

MAX_EVENTS = 256
MAX_BYTES = 4 * 1024 * 1024
BATCH_MAX = 64

Fields = dict[str, msgspec.Raw]


class Word(NamedTuple):
    """What is said with a status: in which run of the service (they are numbered), and whether it is the last of that run."""

    run: int
    goodbye: bool = False
    back_in_s: float | None = None


class Said(NamedTuple):
    """A status as it was said: its JSON, when (ns since the epoch), and the word with it."""

    json: bytes
    at_ns: int
    word: Word


Saying: TypeAlias = Iterator[Numbered[tuple[bytes, int, Word]]]
"""A status that is made when it is offered, over and over."""


class Outbox:
    """Statuses on their way out, oldest first. When it is full the oldest goes: a later one says all it said.

    What was said in a run after its goodbye, or is still here when a later run has begun, is not sent: a thread or a signal
    handler may stop the service in the middle of another's update.
    """

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES, batch_max: int = BATCH_MAX) -> None:
        # In a list, where the one step of C that offers it can find it.
        self._whole: list[Fields] = [{}]
        self._batch_max = batch_max
        self._lane: Lane[tuple[bytes, int, Word]] = Lane(max_events, max_bytes, batch_max, _size)

    def merge(self, fields: Fields) -> None:
        """Change these fields of the status."""
        self._whole[0].update(fields)

    def replace(self, fields: Fields) -> None:
        """Make this the status. It is the outbox's from here on."""
        self._whole[0] = fields

    def saying(self, word: Word) -> Saying:
        """Return the status with this word, for `offer`: each time as it is then."""
        whole = map(self._whole.__getitem__, repeat(0))
        return self._lane.number(zip(map(_encode, whole), _clock, repeat(word)))

    def offer(self, saying: Saying) -> None:
        """Put the status as it is in."""
        # One step: were it made before and put in after, another thread's later status could get in between.
        self._lane.offer_next(saying)

    def take(self, run: int) -> list[Said]:
        """Return what is to be sent next of this run; it waits until it is confirmed, or the latest alone is kept."""
        return self._hold(run, self._batch_max)

    def confirm(self) -> None:
        """Say that what was taken has been sent."""
        self._lane.hold((), sent=len(self._lane.ledger.held))

    def keep_latest(self, run: int) -> None:
        """Keep the latest of all that this run has said and not sent: in an outage nobody watches the steps."""
        self._hold(run, None)

    def counts(self) -> LaneCounts:
        """Return what became of all that was offered, at one moment."""
        return self._lane.counts()

    def renew(self) -> "Outbox":
        """Return an empty one with the same status: a forked child's."""
        heir = Outbox()
        heir.replace(self._whole[0])
        return heir

    def _hold(self, run: int, count: int | None) -> list[Said]:
        ledger, queue = self._lane.look()
        held = [Said(*said) for said in ledger.held if said[2].run == run]
        left = []
        for said, number in queue:
            if said[2].run > run or (count is not None and len(held) >= count):
                break
            left.append((said, number))
            if said[2].run == run and not (held and held[-1].word.goodbye):
                held.append(Said(*said))
        seen = len(ledger.held) + len(left)
        if count is None:
            held = held[-1:]
        self._lane.hold(tuple(held), left, coalesced=seen - len(held))
        return held


def _size(said: tuple[bytes, int, Word]) -> int:
    return len(said[0])


_encode = msgspec.json.Encoder().encode
_clock = iter(time.time_ns, None)
