"""The logbook: log lines on their way from the host's threads to the courier.

Bounded; a flood costs the oldest, which are counted.
"""

import itertools
import time
import uuid
from collections.abc import Callable
from operator import itemgetter
from typing import NamedTuple

import msgspec

from pulseboard.sdk.bounded_queue import BoundedQueue, Numbered, QueueCounts
from pulseboard.sdk.scrubber import REACH, Scrubber
from pulseboard.sdk.status_encoding import fit_status, parse_status, text_of
from pulseboard.wire.events.log import LogLine, count_levels, shorten_text

MAX_LINES = 5_000
MAX_BYTES = 4_000_000
SPARE_BYTES = 250_000
BATCH_LINES = 500
BATCH_BYTES = 48_000
"""With what JSON adds, and the names, one event of 64 kB."""
MESSAGE_MAX, TRACEBACK_MAX, FIELDS_MAX = 8_000, 16_000, 8_000
"""Characters of one line, so that one fits into a batch in any case."""


class Line(NamedTuple):
    """One line as it was said: its level by name, its fields as JSON (empty: none), when (ns since the epoch); and its size."""

    level: str
    message: str
    logger: str
    fields: bytes
    traceback: str
    at_ns: int
    size: int


_size: Callable[[Line], int] = itemgetter(Line._fields.index("size"))


class LineBatch(NamedTuple):
    """Some lines to be sent in one step. `number` is that of the batch: who takes it twice knows it for the same."""

    number: str
    lines: list[bytes]
    levels: str
    dropped: int


class LogBuffer:
    """Lines, oldest first. Written by any thread and any signal handler; read by the courier alone."""

    def __init__(self, masks: Scrubber) -> None:
        self._masks = masks
        self._lane: BoundedQueue[Line] = BoundedQueue(
            MAX_LINES, MAX_BYTES, BATCH_LINES, _size, spare_bytes=SPARE_BYTES
        )
        self._told = 0  # how many dropped lines have been told of
        self._name = uuid.uuid4().hex
        self._numbers = itertools.count()
        self._batch: LineBatch | None = None

    def write(self, level: str, message: str, logger: str, fields: bytes, traceback: str) -> None:
        """Take one line, at the price of the oldest when there is no room."""
        size = 120 + len(message) + len(logger) + len(fields) + len(traceback)
        self._lane.offer(Line(level, message, logger, fields, traceback, time.time_ns(), size))

    def take(self) -> LineBatch | None:
        """Return what is to be sent next, masked; it waits until it is confirmed or refused. None when there is nothing."""
        if self._batch is None and (held := self._hold()):
            lines = [self._finish(line) for line in held]
            dropped = self._lane.overflowed() - self._told
            number = f"{self._name}:{next(self._numbers)}"
            self._batch = LineBatch(
                number, [msgspec.json.encode(line) for line in lines], count_levels(lines), dropped
            )
        return self._batch

    def confirm(self) -> None:
        """Say that what was taken has been sent."""
        if self._batch is not None:
            self._told += self._batch.dropped
            self._lane.hold((), sent=len(self._batch.lines))
            self._batch = None

    def refuse(self) -> None:
        """Let go of what was taken: it can never be sent. It counts as dropped, and will be told of."""
        self._lane.hold(())
        self._batch = None

    @property
    def waits(self) -> bool:
        """Whether there is something to take."""
        return bool(self._lane)

    def counts(self) -> QueueCounts:
        """Return what became of all lines, at one moment."""
        return self._lane.counts()

    def renew(self) -> "LogBuffer":
        """Return an empty one: a forked child's."""
        return LogBuffer(self._masks)

    def _hold(self) -> tuple[Line, ...]:
        _, queue = self._lane.look()
        size = 0
        left: list[Numbered[Line]] = []
        for numbered in queue[:BATCH_LINES]:
            size += _size(numbered[0])
            if left and size > BATCH_BYTES:
                break
            left.append(numbered)
        held = tuple(line for line, _ in left)
        if held:
            self._lane.hold(held, left)
        return held

    def _finish(self, line: Line) -> LogLine:
        fields = line.fields
        if len(fields) > FIELDS_MAX:
            fields = msgspec.json.encode(fit_status(parse_status(fields), FIELDS_MAX))
        if fields:
            fields = self._masks.fields(fields)
        return LogLine(
            level=line.level,
            message=self._mask(line.message, MESSAGE_MAX),
            timestamp=line.at_ns // 1_000_000,
            logger=text_of(line.logger[:200]),
            fields=msgspec.Raw(fields) if fields else msgspec.UNSET,
            # Its end says what was raised.
            traceback=self._mask(line.traceback, TRACEBACK_MAX, keep_end=True),
        )

    def _mask(self, text: str, most: int, *, keep_end: bool = False) -> str:
        # What is cut off is not looked through; a secret at the cut has room to be known as one.
        seen = most + REACH
        part = text[-seen:] if keep_end else text[:seen]
        if (
            not part.isascii()
        ):  # half a surrogate pair, as file names have it (PEP 383), is no UTF-8
            part = text_of(part)
        return shorten_text(
            self._masks.text(part), most, keep_end=keep_end, unseen=max(0, len(text) - seen)
        )
