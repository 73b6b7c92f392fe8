"""The log buffer: log lines between the threads of the host application and the sender.

It is bounded; when lines come faster than they are sent, the oldest are dropped and counted.
"""

import itertools
import time
import uuid
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pulseboard.sdk.bounded_queue import BoundedQueue, Numbered, QueueCounts
from pulseboard.sdk.buffer import NEVER
from pulseboard.sdk.scrubber import LOOKAHEAD, Scrubber
from pulseboard.sdk.status_encoding import fit_status, parse_status, text_of
from pulseboard.wire.events.log import LogLine, count_levels, shorten_text

MAX_LINES = 5_000
MAX_BYTES = 4_000_000
SPARE_BYTES = 250_000
BATCH_LINES = 500
BATCH_BYTES = 48_000
"""Together with the JSON syntax and the names, a batch fits into one event of 64 kB."""
LINE_BYTES = 120
"""Bytes that a line takes beside its texts."""
MESSAGE_MAX, TRACEBACK_MAX, FIELDS_MAX = 8_000, 16_000, 8_000
"""Characters of one line, so that every line fits into a batch."""
LINES_EVERY_S = 0.1
BATCHES_AT_ONCE = 3
"""Every 0.1 s up to 3 batches of 500 lines or 48 kB are sent: about 8,000 short lines a second.

That costs the host application less than a tenth of a core. More lines than that would push the
events of other services out of the feed.
"""


class Line(NamedTuple):
    """A log line: level by name, fields as JSON (empty: none), time (ns since epoch), size."""

    level: str
    message: str
    logger: str
    fields: bytes
    traceback: str
    at_ns: int
    size: int


_size: Callable[[Line], int] = itemgetter(Line._fields.index("size"))


class LineBatch(NamedTuple):
    """Lines that are sent in one step; Redis recognises a repeated batch by its `number`."""

    number: str
    lines: list[bytes]
    levels: str
    dropped: int


class LogBuffer:
    """Lines, oldest first. Any thread and any signal handler writes; the sender alone drains."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._queue: BoundedQueue[Line] = BoundedQueue(
            MAX_LINES, MAX_BYTES, BATCH_LINES, _size, spare_bytes=SPARE_BYTES
        )
        self._reported = 0  # dropped lines whose number has been sent
        self._name = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._batch: LineBatch | None = None
        self._next_at = 0.0
        self._burst_began_at = 0.0
        self._burst_batches = 0
        self.is_announced = False
        """Whether the sender has been woken for the lines that wait.

        One wake-up covers all lines until the next batch, or a flood would keep the sender awake.
        """

    def write(self, level: str, message: str, logger: str, fields: bytes, traceback: str) -> None:
        """Append one line; drop the oldest lines if there is no room."""
        size = LINE_BYTES + len(message) + len(logger) + len(fields) + len(traceback)
        self._queue.put(Line(level, message, logger, fields, traceback, time.time_ns(), size))

    def due(self) -> float:
        """Return when the next lines are due: up to 3 batches every 0.1 s."""
        return self._next_at if self._batch is not None or self._queue else NEVER

    def drain(self) -> LineBatch | None:
        """Return the next batch, with its secrets masked."""
        # Before the queue is read: a line that comes afterwards wakes the sender again.
        self.is_announced = False
        if not self._burst_batches:
            self._burst_began_at = time.monotonic()
        if self._batch is None and (held := self._hold()):
            lines = [self._finish(line) for line in held]
            dropped = self._queue.overflowed() - self._reported
            number = f"{self._name}:{next(self._numbers)}"
            self._batch = LineBatch(
                number, [msgspec.json.encode(line) for line in lines], count_levels(lines), dropped
            )
        return self._batch

    def confirm(self) -> None:
        """Record that the batch was sent."""
        if self._batch is not None:
            self._reported += self._batch.dropped
            self._queue.advance((), sent=len(self._batch.lines))
            self._batch = None
        self._burst_batches += 1
        if self._burst_batches >= BATCHES_AT_ONCE or not self._queue:
            self._end_burst()

    def reject(self) -> None:
        """Drop the batch: its lines count as overflowed, and the next batch reports them."""
        self._queue.advance(())
        self._batch = None
        self._end_burst()

    def counts(self) -> QueueCounts:
        """Return the counts of all lines, at one moment."""
        return self._queue.counts()

    def for_forked_child(self) -> "LogBuffer":
        """Return an empty buffer."""
        return LogBuffer(self._scrubber)

    def _end_burst(self) -> None:
        """Leave the remaining lines for later: a flood must leave time to the host application."""
        self._burst_batches = 0
        self._next_at = self._burst_began_at + LINES_EVERY_S

    def _hold(self) -> tuple[Line, ...]:
        _, queue = self._queue.read()
        size = 0
        removed: list[Numbered[Line]] = []
        for numbered in queue[:BATCH_LINES]:
            size += _size(numbered[0])
            if removed and size > BATCH_BYTES:
                break
            removed.append(numbered)
        held = tuple(line for line, _ in removed)
        if held:
            self._queue.advance(held, removed)
        return held

    def _finish(self, line: Line) -> LogLine:
        fields = line.fields
        if len(fields) > FIELDS_MAX:
            fields = msgspec.json.encode(fit_status(parse_status(fields), FIELDS_MAX))
        if fields:
            fields = self._scrubber.mask_fields(fields)
        return LogLine(
            level=line.level,
            message=self._mask(line.message, MESSAGE_MAX),
            timestamp=line.at_ns // 1_000_000,
            logger=text_of(line.logger[:200]),
            fields=msgspec.Raw(fields) if fields else msgspec.UNSET,
            # A traceback names the exception at its end.
            traceback=self._mask(line.traceback, TRACEBACK_MAX, keep_end=True),
        )

    def _mask(self, text: str, max_chars: int, *, keep_end: bool = False) -> str:
        # Only the part that is sent is searched for secrets, and LOOKAHEAD characters beyond it, so
        # that a secret at the cut is recognised.
        searched = max_chars + LOOKAHEAD
        part = text[-searched:] if keep_end else text[:searched]
        # Half a surrogate pair, as in file names (PEP 383), cannot be encoded as UTF-8.
        if not part.isascii():
            part = text_of(part)
        masked = self._scrubber.mask_text(part)
        return shorten_text(
            masked, max_chars, keep_end=keep_end, unseen=max(0, len(text) - searched)
        )
