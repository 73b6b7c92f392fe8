"""`Timer`: a histogram of seconds, measured around a block or a function."""

import functools
import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar, cast

from pulseboard.sdk.instruments import Histogram

P = ParamSpec("P")
R = TypeVar("R")


class Timer(Histogram):
    """A histogram of seconds: `with timer: ...`, or `@timer` above a function, async or not.

    A block that raises is timed as well. Any thread and any task may enter the timer while others,
    or the same one, are inside it.
    """

    def __enter__(self) -> Self:
        _entries.set(_Entry(self, time.perf_counter(), _entries.get()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        ended = time.perf_counter()
        skipped: list[_Entry] = []
        entry = _entries.get()
        # The entry is the last one, unless the host application leaves blocks in another order than
        # it entered them, as an ExitStack may.
        while entry is not None and entry.timer is not self:
            skipped.append(entry)
            entry = entry.before
        if entry is None:
            self._warn(
                "left-timer",
                f"timer {self.name} was left in another context than it was entered in, and"
                " recorded nothing; enter and leave it in the same thread or task",
            )
            return
        rest = entry.before
        for other in reversed(skipped):
            rest = other._replace(before=rest)
        _entries.set(rest)
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
    """A timer that was entered, the time (s), and the entry before it."""

    timer: Timer
    started: float
    before: "_Entry | None"


# Per thread or task, not per timer: tasks that take turns in one thread leave in any order.
_entries: ContextVar[_Entry | None] = ContextVar("pulseboard_timers", default=None)
