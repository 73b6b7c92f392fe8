"""Counters, gauges, histograms and timers: what the host measures, summed up where it is measured.

Nobody who measures waits for anybody: each value is taken in steps of C, within which the interpreter switches neither threads
nor to a signal handler (it holds its GIL). Such a step is `next`, or `deque.extend`, over a chain of iterators that are all C:
the latter computes each new number from the oldest in a full deque, which this then drops. So no value is lost, or counted by
half.
"""

import functools
import inspect
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import accumulate, repeat
from operator import add, call, length_hint
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar, cast

from pulseboard.sdk.internal_errors import is_hosts_own
from pulseboard.sdk.status_encoding import text_of
from pulseboard.wire.events.metric import Distribution, MetricKind, Value

P = ParamSpec("P")
R = TypeVar("R")

Complain = Callable[[str, str], None]
Number = int | float

LARGEST = 1e18
"""What is beyond is no measurement; within, no sum of an hour at a million a second leaves what a float can hold."""
_PLAIN = frozenset({int, float})
_ONE = 1
_ALL_ONES = sys.maxsize
"""So many are there to be added, one by one: at ten million a second, for 29,000 years."""
_call: Any = call


class Instrument:
    """Something that measures under a name. It is the courier that reads it, and nobody else."""

    kind: MetricKind

    def __init__(self, name: str, complain: Complain) -> None:
        self.name = name
        self._complain = complain
        self.reset()

    def reset(self) -> None:
        """Begin anew: a forked child's, in which nobody else lives yet."""
        raise NotImplementedError

    def read(self) -> Value | None:
        """Return the value to be sent; None where there is none yet."""
        raise NotImplementedError

    def confirm(self) -> None:
        """Take note that what was read last has been sent."""

    def _to_number(self, value: Any, least: float = -LARGEST) -> Number | None:
        """Return what is another kind of number as an int or a float; complain of anything else."""
        number: Number | None = None
        if isinstance(value, int):
            number = int(value)
        elif hasattr(type(value), "__float__"):  # numpy's, Decimal, Fraction; no text has it
            try:
                number = float(value)
            # A type of the host's own may raise anything at all.
            except Exception as error:
                if is_hosts_own(error):
                    raise
        if number is not None and least <= number <= LARGEST:
            return number
        said = f"takes a number from {least:g} to {LARGEST:g}, not {text_of(value)[:40]}; it was left out"
        self._complain("value-of-metric", f"metric {self.name} {said}")
        return None


class Counter(Instrument):
    """A total that only grows: `counter.add()`, `counter.add(5)`."""

    kind: MetricKind = "counter"

    def reset(self) -> None:
        # What is to be added, on its way into the total, which `accumulate` holds. Whoever puts a value in has one added after
        # it: its own, or one that another thread or a signal handler put in meanwhile.
        self._added: deque[Number] = deque()
        self._totals = accumulate(map(_call, repeat(self._added.popleft)))
        self._ones = repeat(None, _ALL_ONES)

    def add(self, n: Number = _ONE) -> None:
        """Add `n`, which is not negative."""
        if n is _ONE:
            next(
                self._ones
            )  # the cheapest step that can be looked at; nearly every call is this one
            return
        if not (type(n) in _PLAIN and 0 <= n <= LARGEST):
            number = self._to_number(n, 0)
            if number is None:
                return
            n = number
        self._added.append(n)
        try:  # noqa: SIM105 - suppress() costs more than all of this
            next(self._totals)
        except IndexError:  # who read the total meanwhile took it along
            pass

    def read(self) -> Value:
        while True:
            self._added.append(0)  # so that there is one
            with suppress(IndexError):  # who adds meanwhile may take that along
                total = [next(self._totals) for _ in range(len(self._added))][-1]
                return _to_json(total + (_ALL_ONES - length_hint(self._ones)))


class Gauge(Instrument):
    """A value that is now this and now that: `gauge.set(7)`, `gauge.add(-1)`. It is sent from the first of them on."""

    kind: MetricKind = "gauge"

    def reset(self) -> None:
        self._cell, self._now = _make_cells((0,))
        self._extend = self._cell.extend
        self._said = False

    def set(self, value: Number) -> None:
        """Make `value` the value."""
        if not (type(value) in _PLAIN and -LARGEST <= value <= LARGEST):
            number = self._to_number(value)
            if number is None:
                return
            value = number
        self._cell.append(value)
        self._said = True

    def add(self, n: Number = 1) -> None:
        """Add `n`, which may be negative, to the value; it is 0 at first."""
        if not (type(n) in _PLAIN and -LARGEST <= n <= LARGEST):
            number = self._to_number(n)
            if number is None:
                return
            n = number
        self._extend(map(add, (n,), self._now))
        self._said = True

    def read(self) -> Value | None:
        return _to_json(self._cell[0]) if self._said else None


_NOTHING = (0, 0.0, math.inf, -math.inf)
"""Count, sum, least and greatest of no value."""
_STEPS = (add, add, min, max)


class Histogram(Instrument):
    """Values of which count, sum, least and greatest are told: `histogram.record(0.2)`."""

    kind: MetricKind = "histogram"

    def reset(self) -> None:
        self._cell, self._now = _make_cells(_NOTHING)
        self._extend = self._cell.extend
        self._untold = _NOTHING[2:]
        # What one reading does, in one step: the extremes are taken out, and none is lost between that and the new ones.
        cell = self._cell
        self._turn = (
            *(partial(cell.rotate, 2), cell.popleft, cell.popleft),
            *(partial(cell.extend, _NOTHING[2:]), cell.copy),
        )

    def record(self, value: Number) -> None:
        """Take one value."""
        if not (type(value) in _PLAIN and -LARGEST <= value <= LARGEST):
            number = self._to_number(value)
            if number is None:
                return
            value = number
        self._extend(map(_call, _STEPS, self._now, (1, value, value, value)))

    def record_all(self, count: int, total: float, least: float, greatest: float) -> None:
        """Take `count` values that were summed up elsewhere."""
        self._extend(map(_call, _STEPS, self._now, (count, total, least, greatest)))

    def read(self) -> Value:
        _, least, greatest, _, (count, total, *_) = tuple(map(_call, self._turn))
        self._untold = min(self._untold[0], least), max(self._untold[1], greatest)
        if self._untold[0] > self._untold[1]:
            return Distribution(count, float(total))
        return Distribution(count, float(total), float(self._untold[0]), float(self._untold[1]))

    def confirm(self) -> None:
        self._untold = _NOTHING[2:]


class Timer(Histogram):
    """A histogram of seconds: `with timer: …`, or `@timer` above a function, `async def` or not.

    A block that raises is timed as well. It may be entered again while it is entered, by any thread and any task.
    """

    def __enter__(self) -> Self:
        _entered.set(_Entry(self, time.perf_counter(), _entered.get()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        ended = time.perf_counter()
        passed: list[_Entry] = []
        entry = _entered.get()
        # Ours is the last but for a host that leaves blocks in another order than it entered them, as an ExitStack may.
        while entry is not None and entry.timer is not self:
            passed.append(entry)
            entry = entry.before
        if entry is None:
            self._complain(
                "left-timer",
                f"{self.name} was left in another context than it was entered in, and took no time",
            )
            return
        rest = entry.before
        for other in reversed(passed):
            rest = other._replace(before=rest)
        _entered.set(rest)
        self.record(ended - entry.started)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                started = time.perf_counter()
                try:
                    return await function(*args, **kwargs)
                finally:
                    self.record(time.perf_counter() - started)

            return cast("Callable[P, R]", timed_async)

        @functools.wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.record(time.perf_counter() - started)

        return timed


class _Entry(NamedTuple):
    """A timer that was entered, when (s), and what had been entered before it."""

    timer: Timer
    started: float
    before: "_Entry | None"


# Of a thread or a task, not of the timer: tasks that take turns in one thread leave in any order.
_entered: ContextVar[_Entry | None] = ContextVar("pulseboard_timers", default=None)


def _make_cells(numbers: tuple[Number, ...]) -> tuple[deque[Any], Iterator[Any]]:
    """Return a deque that is full of these numbers, and an iterator that always yields what is the oldest in it then."""
    cells: deque[Any] = deque(numbers, maxlen=len(numbers))
    return cells, map(cells.__getitem__, repeat(0))


def _to_json(number: Number) -> Number:
    # JavaScript knows integers up to this one, and JSON none at all.
    return number if isinstance(number, float) or abs(number) <= 2**53 else float(number)
