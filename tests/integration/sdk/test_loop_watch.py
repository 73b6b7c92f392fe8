"""Watched event loops: heartbeats report the lag of a stuck loop.

They report none for an idle, stopped or closed loop.
"""

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually

from pulseboard.sdk.loop_watch import GRACE_S, LoopWatch


class Clock:
    """A clock that a test sets, and that `sleep` advances."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, duration_s: float) -> None:
        self.now += duration_s
        self.slept += duration_s


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run an event loop in its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def stuck(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Block the loop, as a coroutine that computes without an `await` does."""
    blocked, release = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        release.wait()

    loop.call_soon_threadsafe(block)
    blocked.wait()
    try:
        yield
    finally:
        release.set()


def run_pending(loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop run all callbacks that are scheduled."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10)


def test_lag_of_a_stuck_loop_grows_until_the_loop_runs_again() -> None:
    clock = Clock()
    watch = LoopWatch(clock, clock.sleep)
    with running_loop() as loop:
        watch.add(loop)
        assert watch.measure_lag_ms() == 0
        run_pending(loop)
        with stuck(loop):
            assert watch.measure_lag_ms() == 0, "the probe was scheduled at this moment"
            lags = []
            for _ in range(4):
                clock.now += 0.5
                lags.append(watch.measure_lag_ms())
            assert lags == [0, 1_100, 1_700, 2_300]
        run_pending(loop)
        assert watch.measure_lag_ms() == 0


def test_lag_is_that_of_the_oldest_unanswered_probe() -> None:
    clock = Clock()
    watch = LoopWatch(clock, clock.sleep)
    with running_loop() as idle, running_loop() as one, running_loop() as other:
        for loop in (idle, one, other, one):
            watch.add(loop)
        assert len(watch) == 3
        with stuck(one):
            watch.measure_lag_ms()
            for loop in (idle, other):
                run_pending(loop)
            clock.now += 5
            with stuck(other):
                assert watch.measure_lag_ms() == round((5 + GRACE_S) * 1000)
            for loop in (idle, other):
                run_pending(loop)
            clock.now += 5
            assert watch.measure_lag_ms() == round((10 + 2 * GRACE_S) * 1000)
        for loop in (idle, one, other):
            run_pending(loop)
        assert watch.measure_lag_ms() == 0


def test_loop_that_does_not_run_has_no_lag() -> None:
    """The loop is between two runs, or has never run."""
    clock = Clock()
    watch = LoopWatch(clock, clock.sleep)
    loop = asyncio.new_event_loop()
    watch.add(loop)
    for _ in range(3):
        clock.now += 60
        assert watch.measure_lag_ms() == 0
    loop.run_until_complete(asyncio.sleep(0))
    assert watch.measure_lag_ms() == 0
    clock.now += 60
    assert watch.measure_lag_ms() == 0
    loop.close()


def test_suspended_process_is_not_reported_as_stuck() -> None:
    """The loop could not answer while the process was suspended; it gets `GRACE_S` to do so."""
    clock = Clock()
    with running_loop() as loop:

        def wake(duration_s: float) -> None:
            clock.sleep(duration_s)
            release.set()
            run_pending(loop)

        watch = LoopWatch(clock, wake)
        watch.add(loop)
        release = threading.Event()
        loop.call_soon_threadsafe(release.wait)
        watch.measure_lag_ms()
        clock.now += 3_600
        assert watch.measure_lag_ms() == 0
        assert clock.slept == GRACE_S


def test_closed_and_unreferenced_loops_are_removed() -> None:
    watch = LoopWatch()
    closed = asyncio.new_event_loop()
    watch.add(closed)
    unreferenced = asyncio.new_event_loop()
    watch.add(unreferenced)
    watch.measure_lag_ms()
    closed.close()
    unreferenced.close()
    del unreferenced
    gc.collect()
    watch.measure_lag_ms()
    assert len(watch) == 0


async def test_service_watches_the_loop_in_which_it_is_started(make_service: MakeService) -> None:
    async with make_service(start=False) as service:
        assert len(service._pending.loops) == 1
        service.watch_loop()
        service.start()
        assert len(service._pending.loops) == 1
        with running_loop() as loop:
            service.watch_loop(loop)
            assert len(service._pending.loops) == 2


def test_service_started_outside_a_loop_watches_none_by_default(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service()
    assert len(service._pending.loops) == 0
    for _ in range(2):
        service.watch_loop()
        service.watch_loop("no loop")  # type: ignore[arg-type]
    assert len(caplog.records) == 1
    assert "no running event loop" in caplog.text
    assert len(service._pending.loops) == 0


def test_forked_child_does_not_watch_the_loops_of_its_parent(make_service: MakeService) -> None:
    with running_loop() as loop:
        service = make_service(start=False)
        service.watch_loop(loop)
        service._lifecycle.reset_after_fork()
        assert len(service._pending.loops) == 0


def test_heartbeats_of_a_program_with_a_stuck_loop_report_the_lag(
    run_program: RunProgram, redis_view: RedisView
) -> None:
    program = run_program(
        """
        import asyncio, time
        async def main():
            async with service:
                while not service.stats().connected:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.5)
                time.sleep(4)
                print("unstuck", flush=True)
                await asyncio.to_thread(input)
        asyncio.run(main())
        """
    )
    eventually(lambda: any(redis_view.lags))
    assert program.stdout is not None
    assert program.stdout.readline() == "unstuck\n"
    heartbeats = len(redis_view.lags)
    eventually(lambda: len(redis_view.lags) >= heartbeats + 4)
    lags = redis_view.lags
    stuck_lags = [lag for lag in lags if lag]
    assert len(stuck_lags) >= 3
    assert stuck_lags == sorted(stuck_lags), "the lag grows"
    assert all(1_000 <= lag < 10_000 for lag in stuck_lags)
    assert lags[-1] == 0, "the lag ends"
    program.communicate("\n", timeout=20)


def test_loop_that_rejects_the_probe_is_removed_and_delays_no_heartbeat(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_loop() as loop, monkeypatch.context() as patched:
        patched.setattr(loop, "call_soon_threadsafe", lambda *_: 1 / 0)
        service = make_service(start=False, heartbeat_s=0.1)
        service.watch_loop(loop)
        service.start()
        eventually(lambda: len(redis_view.heartbeats) >= 3)
        assert len(service._pending.loops) == 0
        assert not any(redis_view.lags)
        service.stop()
