"""Counters, gauges and histograms, which sum up measurements in the host application.

Invariant: taking a value never waits, and no value is lost or counted in part, from any thread or
signal handler. `docs/explanation/sdk-delivery.md` explains how one C call achieves that without a
lock.
"""

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import accumulate, repeat
from operator import add, call, length_hint
from typing import Any

from pulseboard.sdk.internal_errors import is_from_signal_handler
from pulseboard.sdk.status_encoding import text_of
from pulseboard.wire.events.metric import Distribution, MetricKind, Value

Warn = Callable[[str, str], None]
Number = int | float

LARGEST = 1e18
"""A larger value is not accepted: at a million values a second, the sum of an hour fits a float."""
_PLAIN = frozenset({int, float})
_ONE = 1
_ONES = sys.maxsize
"""How many ones a counter can add, one by one: enough for 29,000 years at ten million a second."""
_call: Any = call


class Instrument:
    """A measurement under a name. Any thread adds values; the sender alone reads it."""

    kind: MetricKind

    def __init__(self, name: str, warn: Warn) -> None:
        self.name = name
        self._warn = warn
        self.reset()

    def reset(self) -> None:
        """Begin anew, in a forked child that has no other thread yet."""
        raise NotImplementedError

    def read(self) -> Value | None:
        """Return the value to be sent; None if there is none yet."""
        raise NotImplementedError

    def confirm(self) -> None:
        """Record that the value of the last `read` was sent."""

    def _to_number(self, value: Any, least: float = -LARGEST) -> Number | None:
        """Convert a number of another type to int or float; warn about any other value."""
        number: Number | None = None
        if isinstance(value, int):
            number = int(value)
        elif hasattr(type(value), "__float__"):  # numpy, Decimal, Fraction; no text type has it
            try:
                number = float(value)
            # A type of the host application may raise any exception.
            except Exception as error:
                if is_from_signal_handler(error):
                    raise
        if number is not None and least <= number <= LARGEST:
            return number
        self._warn(
            "value-of-metric",
            f"metric {self.name} accepts a number from {least:g} to {LARGEST:g},"
            f" not {text_of(value)[:40]}; the value was ignored",
        )
        return None


class Counter(Instrument):
    """A total that only grows: `counter.add()`, `counter.add(5)`."""

    kind: MetricKind = "counter"

    def reset(self) -> None:
        # Numbers on their way into the total, which `accumulate` keeps. Each call of `add` appends
        # one number and then moves one into the total: its own, or one that another thread or a
        # signal handler appended meanwhile.
        self._added: deque[Number] = deque()
        self._totals = accumulate(map(_call, repeat(self._added.popleft)))
        self._ones = repeat(None, _ONES)

    def add(self, n: Number = _ONE) -> None:
        """Add `n`, which must not be negative."""
        if n is _ONE:
            next(self._ones)  # the cheapest step whose count can be read; nearly every call is this
            return
        if not (type(n) in _PLAIN and 0 <= n <= LARGEST):
            number = self._to_number(n, 0)
            if number is None:
                return
            n = number
        self._added.append(n)
        try:  # noqa: SIM105 - suppress() costs more than all of this
            next(self._totals)
        except IndexError:  # meanwhile `read` moved the number into the total
            pass

    def read(self) -> Value:
        while True:
            self._added.append(0)  # so that there is at least one number to move
            with suppress(IndexError):  # meanwhile a thread in `add` may have moved it
                total = [next(self._totals) for _ in range(len(self._added))][-1]
                return _to_json(total + (_ONES - length_hint(self._ones)))


class Gauge(Instrument):
    """A value that goes up and down: `gauge.set(7)`, `gauge.add(-1)`; sent once it is set."""

    kind: MetricKind = "gauge"

    def reset(self) -> None:
        self._cell, self._oldest = _make_cells((0,))
        self._extend = self._cell.extend
        self._is_set = False

    def set(self, value: Number) -> None:
        """Make `value` the value of the gauge."""
        if not (type(value) in _PLAIN and -LARGEST <= value <= LARGEST):
            number = self._to_number(value)
            if number is None:
                return
            value = number
        self._cell.append(value)
        self._is_set = True

    def add(self, n: Number = 1) -> None:
        """Add `n`, which may be negative, to the value, which is 0 at first."""
        if not (type(n) in _PLAIN and -LARGEST <= n <= LARGEST):
            number = self._to_number(n)
            if number is None:
                return
            n = number
        self._extend(map(add, (n,), self._oldest))
        self._is_set = True

    def read(self) -> Value | None:
        return _to_json(self._cell[0]) if self._is_set else None


_EMPTY = (0, 0.0, math.inf, -math.inf)
"""Count, sum, least and greatest of no values."""
_STEPS = (add, add, min, max)


class Histogram(Instrument):
    """Values whose count, sum, least and greatest are sent: `histogram.record(0.2)`.

    Count and sum are totals; least and greatest are those since the last event that was sent.
    """

    kind: MetricKind = "histogram"

    def reset(self) -> None:
        self._cell, self._oldest = _make_cells(_EMPTY)
        self._extend = self._cell.extend
        self._unsent = _EMPTY[2:]
        # The calls of one reading. They run within one C call, so no value is recorded between the
        # moment that takes the extremes out and the moment that puts in the new, empty ones.
        cell = self._cell
        self._read_calls = (
            *(partial(cell.rotate, 2), cell.popleft, cell.popleft),
            *(partial(cell.extend, _EMPTY[2:]), cell.copy),
        )

    def record(self, value: Number) -> None:
        """Record one value."""
        if not (type(value) in _PLAIN and -LARGEST <= value <= LARGEST):
            number = self._to_number(value)
            if number is None:
                return
            value = number
        self._extend(map(_call, _STEPS, self._oldest, (1, value, value, value)))

    def record_all(self, count: int, total: float, least: float, greatest: float) -> None:
        """Record `count` values that were summed up elsewhere."""
        self._extend(map(_call, _STEPS, self._oldest, (count, total, least, greatest)))

    def read(self) -> Value:
        _, least, greatest, _, (count, total, *_) = tuple(map(_call, self._read_calls))
        self._unsent = min(self._unsent[0], least), max(self._unsent[1], greatest)
        if self._unsent[0] > self._unsent[1]:
            return Distribution(count, float(total))
        return Distribution(count, float(total), float(self._unsent[0]), float(self._unsent[1]))

    def confirm(self) -> None:
        self._unsent = _EMPTY[2:]


def _make_cells(numbers: tuple[Number, ...]) -> tuple[deque[Any], Iterator[Any]]:
    """Return a deque filled with `numbers`, and an endless iterator over its oldest item."""
    cells: deque[Any] = deque(numbers, maxlen=len(numbers))
    return cells, map(cells.__getitem__, repeat(0))


def _to_json(number: Number) -> Number:
    # JavaScript holds integers exactly up to 2**53.
    return number if isinstance(number, float) or abs(number) <= 2**53 else float(number)
