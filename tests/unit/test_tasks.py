"""Periodic tasks: their log, the errors that they survive, and their end."""

import asyncio
import logging

import pytest

from pulseboard.tasks import PeriodicTask, run_for_ever

log = logging.getLogger("pulseboard.test")


async def test_first_failure_of_an_outage_is_a_warning_and_repeats_are_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "pulseboard.test")
    outcomes = iter([OSError("a"), OSError("b"), None, OSError("c"), ValueError("bug")])

    async def run_once() -> None:
        if (error := next(outcomes)) is not None:
            raise error

    task = PeriodicTask(
        name="test",
        interval_s=0,
        run_once=run_once,
        expected_errors=(OSError,),
        log=log,
        failure="it failed",
    )
    with pytest.raises(ValueError, match="bug"):
        await task.run()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "it failed: a"),
        ("DEBUG", "it failed: b"),
        ("WARNING", "it failed: c"),
    ]


@pytest.mark.parametrize(("starts_at_once", "calls"), [(False, 0), (True, 1)])
async def test_first_call_follows_one_interval_after_the_start_unless_it_starts_at_once(
    starts_at_once: bool, calls: int
) -> None:
    called: list[None] = []

    async def run_once() -> None:
        called.append(None)

    task = PeriodicTask(
        name="test",
        interval_s=60,
        run_once=run_once,
        log=log,
        failure="it failed",
        starts_at_once=starts_at_once,
    )
    running = asyncio.create_task(task.run())
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(called) == calls


async def test_cancellation_that_no_caller_requested_is_an_error() -> None:
    async def end() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="without being cancelled"):
        await run_for_ever(end())
