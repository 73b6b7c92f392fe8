"""Threads and event loops that share one service or have one each.

No status that they publish is lost.
"""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from tests.support.sdk import MakeService, RedisView, eventually, interrupt_before_line

from pulseboard import Service
from pulseboard.sdk.lifecycle import Lifecycle
from pulseboard.sdk.outbox import Outbox
from pulseboard.sdk.sender import BackgroundSender

THREADS, TASKS, UPDATES = 4, 3, 15
"""The product is less than the capacity of the outbox, so that no event may be dropped."""


def run_loops(work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Run `work(n)` in an event loop in each of the threads, starting at the same time."""
    barrier = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        barrier.wait(10)
        try:
            asyncio.run(work(worker))
        except BaseException as error:  # noqa: BLE001 - any error fails the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def publish_updates(service: Service, field: str) -> None:
    for n in range(UPDATES):
        service.update(**{field: n})
        await asyncio.sleep(0)


def published_values(statuses: list[dict[str, Any]], field: str) -> list[int]:
    """Return the distinct values of a field, after a check that they never decrease."""
    values = [status[field] for status in statuses if field in status]
    assert all(later >= earlier for earlier, later in itertools.pairwise(values)), (
        "an older status came after a newer one"
    )
    return sorted(set(values))


def test_event_loops_in_several_threads_share_one_service(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()

    async def work(worker: int) -> None:
        service.watch_loop()
        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(publish_updates(service, f"w{worker}t{task}"))

    run_loops(work)
    service.stop()
    stats = service.stats()
    expected = THREADS * TASKS * UPDATES + 2
    assert (stats.offered, stats.sent, stats.dropped, stats.waiting) == (expected, expected, 0, 0)
    assert len(redis_view.events) == expected
    for worker in range(THREADS):
        for task in range(TASKS):
            assert published_values(redis_view.statuses, f"w{worker}t{task}") == [*range(UPDATES)]


def test_each_event_loop_has_its_own_service(
    make_service: MakeService, redis_view: RedisView
) -> None:
    services = [
        make_service(f"worker-{worker}", start=False, heartbeat_s=0.1) for worker in range(THREADS)
    ]

    async def work(worker: int) -> None:
        async with services[worker] as service:
            assert len(service._pending.loops) == 1
            async with asyncio.TaskGroup() as tasks:
                for task in range(TASKS):
                    tasks.create_task(publish_updates(service, f"t{task}"))

    run_loops(work)
    for worker, service in enumerate(services):
        own = [event for event in redis_view.events if event["service"] == f"worker-{worker}"]
        assert len(own) == service.stats().sent == TASKS * UPDATES + 2
        assert [event.get("stopped", False) for event in own] == [False] * (TASKS * UPDATES + 1) + [
            True
        ]
        for task in range(TASKS):
            assert published_values([event["status"] for event in own], f"t{task}") == [
                *range(UPDATES)
            ]


def test_threads_start_and_stop_one_service_concurrently(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Two senders of one service once overtook each other.

    A graceful stop could be the last event of a running service.
    """
    service = make_service(start=False)

    def work() -> None:
        for n in range(10):
            service.start()
            service.update(n=n)
            service.stop()

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    service.start()
    service.update(last=True)
    eventually(lambda: redis_view.latest.get("last") is True)
    eventually(lambda: not service.stats().waiting)
    assert not redis_view.events[-1].get("stopped")
    stats = service.stats()
    assert stats.offered == stats.sent + stats.dropped
    assert (
        len(
            [
                thread
                for thread in threading.enumerate()
                if thread.name == "pulseboard-sender-balance-sync"
            ]
        )
        == 1
    )


@pytest.mark.parametrize(
    "function",
    [Service.update, Lifecycle.publish, BackgroundSender.publish_status, Outbox.put_current],
    ids=lambda function: function.__qualname__,
)
def test_update_during_a_restart_is_published(
    make_service: MakeService, redis_view: RedisView, function: Callable[..., object]
) -> None:
    """The next run of the service publishes the status.

    A status that was queued for the run before is not published any more.
    """
    service = make_service()

    def restart() -> None:
        service.stop()
        service.start()

    def is_published(n: int) -> bool:
        return redis_view.latest.get("n") == n

    for line in itertools.count():
        with interrupt_before_line(function, line, restart) as was_interrupted:
            service.update(n=line)
        eventually(partial(is_published, line))
        if not was_interrupted():
            break
    assert line > 1


def test_update_aborted_by_a_signal_is_published_with_the_next_heartbeat(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """A signal handler raises after the status is encoded and before it is queued.

    The handler of a soft time limit does so.
    """
    service = make_service(heartbeat_s=0.2)

    def abort() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), interrupt_before_line(Outbox.put_current, 1, abort):
        service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})


def start_it(service: Service) -> bool:
    service.start()
    return True


def restart_it(service: Service) -> bool:
    service.stop()
    service.start()
    return True


def stop_it(service: Service) -> bool:
    service.stop()
    return False


@pytest.mark.parametrize("handle", [start_it, restart_it, stop_it])
@pytest.mark.parametrize(
    "function", [Lifecycle.ensure_running, Lifecycle._start_sender, BackgroundSender.start]
)
def test_signal_handler_starts_and_stops_the_service_during_a_start(
    make_service: MakeService,
    redis_view: RedisView,
    function: Callable[..., object],
    handle: Callable[[Service], bool],
) -> None:
    """Two senders of one service once waited for each other's end.

    Nothing was published any more, and a stop took its whole time limit of 2 seconds.
    """

    def is_published(name: str, n: int) -> bool:
        return name in redis_view.board and redis_view.board[name]["status"] == {"n": n}

    handled: list[bool] = []

    def run_handle(service: Service) -> None:
        handled.append(handle(service))

    for line in itertools.count():
        handled.clear()
        service = make_service(start=False, instance=f"line-{line}")
        name = f"balance-sync/{service.instance}"
        with interrupt_before_line(function, line, partial(run_handle, service)) as was_interrupted:
            service.start()
        service.update(n=line)
        if handled in ([], [True]):
            eventually(partial(is_published, name, line))
        service.stop()
        assert name not in redis_view.board or redis_view.board[name]["stopped"]
        assert not any(
            thread.name == "pulseboard-sender-balance-sync" for thread in threading.enumerate()
        )
        if not was_interrupted():
            break
    assert line > 0


def test_stop_does_not_undo_a_later_start(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread starts the service; another stops it during that start, and starts it again.

    The first thread once undid the second start as well.
    """
    start_sender = Lifecycle._start_sender
    stopped: list[Lifecycle] = []

    def is_published(name: str, n: int) -> bool:
        return name in redis_view.board and redis_view.board[name]["status"] == {"n": n}

    def start_and_stop(lifecycle: Lifecycle) -> bool:
        started = start_sender(lifecycle)
        if lifecycle not in stopped:
            lifecycle.stop(None)
            stopped.append(lifecycle)
        return started

    monkeypatch.setattr(Lifecycle, "_start_sender", start_and_stop)
    restarts_tried = 0
    for line in itertools.count():
        service = make_service(start=False, instance=f"line-{line}")
        again = threading.Thread(target=service.start)

        def start_again(service: Service = service, again: threading.Thread = again) -> None:
            if service._lifecycle in stopped:
                again.start()
                # From the moment when the flag is set, the other thread waits for this one.
                eventually(partial(getattr, service._lifecycle, "_should_run"))

        with interrupt_before_line(Lifecycle.ensure_running, line, start_again) as was_interrupted:
            service.start()
        if not was_interrupted():
            break
        if again.ident is not None:
            restarts_tried += 1
            again.join()
            service.update(n=line)
            eventually(partial(is_published, f"balance-sync/{service.instance}", line))
    assert restarts_tried > 3
