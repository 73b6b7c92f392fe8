"""Helpers for asyncio tasks that run until they are cancelled.

They are independent of Redis and HTTP.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any


def check_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and the cancellation got lost.

    redis-py awaits with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that
    arrives in the same loop iteration as the answer (cpython #86296). A loop over Redis calls would
    then never end, so each such loop calls this function once in each turn.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_for_ever(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that ends only by cancellation of this task.

    Raises RuntimeError when `work` raises CancelledError although this task was not cancelled: a
    task group ignores a member that ends in this way, and the other members would continue as if
    nothing had happened.
    """
    try:
        await work
    except asyncio.CancelledError as error:
        check_cancelled()
        raise RuntimeError("a part of the server stopped without being cancelled") from error


@dataclass(frozen=True, kw_only=True)
class PeriodicTask:
    """One piece of periodic work: `run_once`, called until the task is cancelled.

    The first call follows `interval_s` seconds after the start, or at once with `starts_at_once`.
    An exception of `expected_errors` does not end the task: the first one of an outage is logged at
    `failure_level`, the following ones at DEBUG, until a call succeeds. Any other exception ends
    the task.
    """

    name: str
    """The name of the asyncio task, and the subject of its log lines."""
    interval_s: float
    run_once: Callable[[], Awaitable[object]]
    expected_errors: tuple[type[Exception], ...] = ()
    log: logging.Logger
    failure: str
    """What a failure means, for the log, where the error follows it.

    Example: "the limits cannot be written yet".
    """
    failure_level: int = logging.WARNING
    starts_at_once: bool = False

    async def run(self) -> None:
        """Call `run_once` periodically; returns only by an exception or by cancellation."""
        failing = False
        if not self.starts_at_once:
            await asyncio.sleep(self.interval_s)
        while True:
            check_cancelled()
            try:
                await self.run_once()
                failing = False
            except self.expected_errors as error:
                level = logging.DEBUG if failing else self.failure_level
                self.log.log(level, "%s: %s", self.failure, error)
                failing = True
            await asyncio.sleep(self.interval_s)
