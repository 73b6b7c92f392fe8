"""What a service counts and remembers about itself, and where it publishes that.

Times are milliseconds since the epoch; keys of a status are camelCase, as in the seed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pulseboard.demo.store.database import now_ms

_AVERAGED_RUNS = 50
_LONGEST_ERROR = 300

Status = dict[str, Any]


class StatusSink(Protocol):
    """Where a status goes; `pulseboard.Service` is one."""

    def replace(self, status: Status, /) -> object:
        """Publish the whole status; never blocks and never raises."""
        ...


def _ignore(*_: object) -> None:
    """Nobody measures."""


@dataclass
class Tally:
    """Counts, durations and the last error of one service's runs."""

    done: int = 0
    failed: int = 0
    retries: int = 0
    last_run_at: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None
    durations: deque[int] = field(default_factory=lambda: deque(maxlen=_AVERAGED_RUNS))
    on_run: Callable[[float], object] = _ignore
    """Called with how long each run took (s), and"""
    on_failure: Callable[[], object] = _ignore
    """with nothing for each that failed: where somebody measures."""

    def count_retry(self) -> None:
        """Count one more try of something."""
        self.retries += 1

    def count_failure(self, error: Exception) -> None:
        """Count a failure and keep it as the last error."""
        self.failed += 1
        self.on_failure()
        self.note_error(error)

    def note_error(self, error: Exception) -> None:
        """Keep an error as the last one."""
        self.last_error = str(error)[:_LONGEST_ERROR] or type(error).__name__
        self.last_error_at = now_ms()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time one run, however it ends."""
        self.last_run_at = now_ms()
        start = time.perf_counter()
        try:
            yield
        finally:
            took_s = time.perf_counter() - start
            self.durations.append(round(took_s * 1000))
            self.on_run(took_s)

    def counts(self) -> Status:
        """Give the part of a status about how much went well."""
        return {"done": self.done, "failed": self.failed, "retries": self.retries}

    def times(self) -> Status:
        """Give the part of a status about when and how long."""
        average = round(sum(self.durations) / len(self.durations)) if self.durations else None
        return {
            "lastRunAt": self.last_run_at,
            "lastDurationMs": self.durations[-1] if self.durations else None,
            "avgDurationMs": average,
        }

    def errors(self) -> Status:
        """Give the part of a status about the last error."""
        return {"lastError": self.last_error, "lastErrorAt": self.last_error_at}
