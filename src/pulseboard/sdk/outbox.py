"""The outbox: the statuses of a service between its threads and the sender.

It is bounded, and no call of the host application waits for it. Every entry is the whole status of
one moment, so a later entry contains everything that an earlier one contained.
"""

import time
from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import msgspec

from pulseboard.sdk.bounded_queue import BoundedQueue, Numbered
from pulseboard.sdk.buffer import NEVER
from pulseboard.sdk.fields import Fields

MAX_EVENTS = 256
MAX_BYTES = 4 * 1024 * 1024
BATCH_MAX = 64


class RunMarker(NamedTuple):
    """The run that a status belongs to, and whether it is the last status of that run.

    A run lasts from a start of the service to its stop; runs are numbered. `back_in_s` is the
    length of a planned absence.
    """

    run: int
    stopped: bool = False
    back_in_s: float | None = None


class QueuedStatus(NamedTuple):
    """A status of one moment: its JSON, the time (ns since the epoch), and its marker."""

    json: bytes
    at_ns: int
    marker: RunMarker


RawStatus: TypeAlias = tuple[bytes, int, RunMarker]
"""A QueuedStatus as the queue holds it: a plain tuple, which C code makes in one step."""

Entry: TypeAlias = Numbered[RawStatus]

StatusSource: TypeAlias = Iterator[Entry]
"""An endless iterator: each step encodes the status of that moment and numbers it."""


class Outbox(BoundedQueue[RawStatus]):
    """The queue of statuses, oldest first. When it is full, the oldest are dropped.

    `begin_run` selects the run whose statuses are drained. A status that a run publishes after its
    last one is not sent, and neither is one of an earlier run: a thread or a signal handler may
    stop the service in the middle of another thread's update.
    """

    def __init__(
        self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES, batch_max: int = BATCH_MAX
    ) -> None:
        super().__init__(max_events, max_bytes, batch_max, _size)
        # In a list, because C code can fetch it from there in the step that encodes it.
        self._status: list[Fields] = [{}]
        self._batch_max = batch_max
        self._run = 0
        self._drained = 0

    def merge(self, fields: Fields) -> None:
        """Change these fields of the status, without publishing it."""
        self._status[0].update(fields)

    def replace(self, fields: Fields) -> None:
        """Make `fields` the status, without publishing it; the caller must not use them again."""
        self._status[0] = fields

    def make_source(self, marker: RunMarker) -> StatusSource:
        """Return an iterator, for `put_current`, that encodes the current status at each step."""
        status = map(self._status.__getitem__, repeat(0))
        encoded = zip(map(_encode, status), _clock, repeat(marker))
        return zip(encoded, self._numbers)  # noqa: B905 - neither ends

    def put_current(self, source: StatusSource) -> None:
        """Append the status as it is at this moment."""
        # The C step that encodes the status also numbers it, so that the numbers tell which of two
        # statuses is the later. To append it within that step too would cost half as much again.
        entry = next(source)
        self._queue.append(entry)
        self._room -= len(entry[0][0])
        if self._room < 0:
            self._make_room()

    def put_last(self, marker: RunMarker) -> None:
        """Append the status with a marker that must be sent.

        It is encoded and appended in one step, so no later status can leave the queue before it.
        """
        self._queue.extend(islice(self.make_source(marker), 1))
        self._make_room()

    def begin_run(self, run: int) -> None:
        """Drain the statuses of this run from here on. Consumer only."""
        self._run = run

    def due(self) -> float:
        """Return 0.0 (at once) if a status waits."""
        return 0.0 if self.ledger.held or self else NEVER

    def drain(self) -> list[QueuedStatus] | None:
        """Return the next statuses of the run, held until they are confirmed or coalesced."""
        return self._hold(self._batch_max) or None

    def confirm(self) -> None:
        """Record that the held statuses were sent."""
        self.advance((), sent=len(self.ledger.held))

    def reject(self) -> None:
        """Keep the latest status: a status is sent again until Redis takes it."""
        self.coalesce()

    def coalesce(self) -> None:
        """Keep only the latest status of the run: it contains all that the unsent ones contain."""
        self._hold(None)

    @property
    def misses_latest(self) -> bool:
        """Whether the queue is empty although the latest status was not drained. Consumer only.

        The thread that made it is held up before it appends it, or an exception of a signal handler
        ended the call there.
        """
        return not self._queue and self._drained < self.latest

    def for_forked_child(self) -> "Outbox":
        """Return an empty outbox with the same status."""
        outbox = Outbox()
        outbox.replace(self._status[0])
        return outbox

    def _hold(self, count: int | None) -> list[QueuedStatus]:
        """Hold up to `count` statuses of the run; with None, only the latest of all."""
        run = self._run
        ledger, queue = self.read()
        held = [QueuedStatus(*status) for status in ledger.held if status[2].run == run]
        removed = self._find_late_entries()
        for status, number in queue:
            if status[2].run > run or (count is not None and len(held) >= count):
                break
            removed.append((status, number))
            if status[2].run == run and not (held and held[-1].marker.stopped):
                held.append(QueuedStatus(*status))
                self._drained = number
        considered = len(ledger.held) + len(removed)
        if count is None:
            held = held[-1:]
        self.advance(tuple(held), removed, coalesced=considered - len(held))
        return held

    def _copy_queue(self) -> deque[Entry]:
        return deque(sorted(self._queue.copy(), key=_number_of))

    def _find_late_entries(self) -> list[Entry]:
        """Return the entries that were appended after a later, and so newer, one had left."""
        through = self.ledger.through
        return [entry for entry in self._queue.copy() if entry[1] <= through]


def _size(status: RawStatus) -> int:
    return len(status[0])


_number_of = itemgetter(1)
_encode = msgspec.json.Encoder().encode
_clock = iter(time.time_ns, None)
