"""Statistics of a service's runs, and the interface for publishing them.

Times are milliseconds since the epoch; the keys of a status are camelCase, as in the original
specification.
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
_MAX_ERROR_CHARS = 300

Status = dict[str, Any]


class StatusSink(Protocol):
    """A destination of statuses; `pulseboard.Service` is one."""

    def replace(self, status: Status, /) -> object:
        """Publish the complete status; never blocks and never raises."""
        ...


def _ignore(*_: object) -> None:
    """Do nothing: the default of a callback."""


@dataclass
class RunStats:
    """The counts, durations and last error of one service's runs."""

    done: int = 0
    failed: int = 0
    retries: int = 0
    last_run_at: int | None = None
    last_error: str | None = None
    last_error_at: int | None = None
    durations: deque[int] = field(default_factory=lambda: deque(maxlen=_AVERAGED_RUNS))
    on_run: Callable[[float], object] = _ignore
    """Called with the duration of each run in seconds."""
    on_failure: Callable[[], object] = _ignore
    """Called after each failure."""

    def count_retry(self) -> None:
        """Count a retry of a request."""
        self.retries += 1

    def count_failure(self, error: Exception) -> None:
        """Count a failure and keep it as the last error."""
        self.failed += 1
        self.on_failure()
        self.note_error(error)

    def note_error(self, error: Exception) -> None:
        """Keep an error as the last one."""
        self.last_error = str(error)[:_MAX_ERROR_CHARS] or type(error).__name__
        self.last_error_at = now_ms()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the duration of one run, also when it raises."""
        self.last_run_at = now_ms()
        start = time.perf_counter()
        try:
            yield
        finally:
            duration_s = time.perf_counter() - start
            self.durations.append(round(duration_s * 1000))
            self.on_run(duration_s)

    def counts(self) -> Status:
        """Return the counts, as a part of a status."""
        return {"done": self.done, "failed": self.failed, "retries": self.retries}

    def times(self) -> Status:
        """Return the time and duration of runs, as a part of a status."""
        average = round(sum(self.durations) / len(self.durations)) if self.durations else None
        return {
            "lastRunAt": self.last_run_at,
            "lastDurationMs": self.durations[-1] if self.durations else None,
            "avgDurationMs": average,
        }

    def errors(self) -> Status:
        """Return the last error and its time, as a part of a status."""
        return {"lastError": self.last_error, "lastErrorAt": self.last_error_at}
