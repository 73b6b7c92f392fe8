"""Threads and several event loops: they may share one service or have one each, and nothing that they say is lost."""

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
"""All in all fewer than the outbox holds, so that none may be dropped."""


def run_loops(work: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    """Run `work(n)` in an event loop in each of the threads, all at once."""
    together = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(worker: int) -> None:
        together.wait(10)
        try:
            asyncio.run(work(worker))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def say(service: Service, field: str) -> None:
    for n in range(UPDATES):
        service.update(**{field: n})
        await asyncio.sleep(0)


def in_order(statuses: list[dict[str, Any]], field: str) -> list[int]:
    told = [status[field] for status in statuses if field in status]
    assert all(later >= earlier for earlier, later in itertools.pairwise(told)), (
        "an older status came after a newer one"
    )
    return sorted(set(told))


def test_several_loops_in_several_threads_share_one_service(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()

    async def work(worker: int) -> None:
        service.watch_loop()
        async with asyncio.TaskGroup() as tasks:
            for task in range(TASKS):
                tasks.create_task(say(service, f"w{worker}t{task}"))

    run_loops(work)
    service.stop()
    stats = service.stats()
    expected = THREADS * TASKS * UPDATES + 2
    assert (stats.offered, stats.sent, stats.dropped, stats.waiting) == (expected, expected, 0, 0)
    assert len(redis_view.events) == expected
    for worker in range(THREADS):
        for task in range(TASKS):
            assert in_order(redis_view.statuses, f"w{worker}t{task}") == [*range(UPDATES)]


def test_each_loop_has_a_service_of_its_own(
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
                    tasks.create_task(say(service, f"t{task}"))

    run_loops(work)
    for worker, service in enumerate(services):
        own = [event for event in redis_view.events if event["service"] == f"worker-{worker}"]
        assert len(own) == service.stats().sent == TASKS * UPDATES + 2
        assert [event.get("stopped", False) for event in own] == [False] * (TASKS * UPDATES + 1) + [
            True
        ]
        for task in range(TASKS):
            assert in_order([event["status"] for event in own], f"t{task}") == [*range(UPDATES)]


def test_threads_may_start_and_stop_one_service_as_they_like(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Two couriers of one service overtook each other: a goodbye could be the last word of one that was running."""
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
def test_what_is_said_while_the_service_is_stopped_and_started_again_is_told(
    make_service: MakeService, redis_view: RedisView, function: Callable[..., object]
) -> None:
    """Another run of it says the status; what is put in for the one before is not sent any more."""
    service = make_service()

    def restart() -> None:
        service.stop()
        service.start()

    def is_told(n: int) -> bool:
        return redis_view.latest.get("n") == n

    for line in itertools.count():
        with interrupt_before_line(function, line, restart) as was_held_up:
            service.update(n=line)
        eventually(partial(is_told, line))
        if not was_held_up():
            break
    assert line > 1


def test_an_update_that_is_torn_away_in_the_middle_is_told_with_the_next_beat(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """A signal handler raised, as that of a soft time limit does, when the status was made and not put in yet."""
    service = make_service(heartbeat_s=0.2)

    def tear_away() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), interrupt_before_line(Outbox.put_current, 1, tear_away):
        service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})


def starts(service: Service) -> bool:
    service.start()
    return True


def restarts(service: Service) -> bool:
    service.stop()
    service.start()
    return True


def stops(service: Service) -> bool:
    service.stop()
    return False


@pytest.mark.parametrize("handle", [starts, restarts, stops])
@pytest.mark.parametrize(
    "function", [Lifecycle.ensure_running, Lifecycle._start_sender, BackgroundSender.start]
)
def test_a_signal_handler_may_start_and_stop_it_in_the_middle_of_a_start(
    make_service: MakeService,
    redis_view: RedisView,
    function: Callable[..., object],
    handle: Callable[[Service], bool],
) -> None:
    """Two couriers of one service waited for each other's end: nothing was told any more, and a stop took its two seconds."""

    def is_told(name: str, n: int) -> bool:
        return name in redis_view.board and redis_view.board[name]["status"] == {"n": n}

    handled: list[bool] = []

    def do(service: Service) -> None:
        handled.append(handle(service))

    for line in itertools.count():
        handled.clear()
        service = make_service(start=False, instance=f"line-{line}")
        name = f"balance-sync/{service.instance}"
        with interrupt_before_line(function, line, partial(do, service)) as was_held_up:
            service.start()
        service.update(n=line)
        if handled in ([], [True]):
            eventually(partial(is_told, name, line))
        service.stop()
        assert name not in redis_view.board or redis_view.board[name]["stopped"]
        assert not any(
            thread.name == "pulseboard-sender-balance-sync" for thread in threading.enumerate()
        )
        if not was_held_up():
            break
    assert line > 0


def test_a_start_is_not_undone_by_a_stop_that_came_before_it(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread starts, another stops in the middle of that and starts again: the first had undone the second start as well."""
    start_sender = Lifecycle._start_sender
    stopped: list[Lifecycle] = []

    def is_told(name: str, n: int) -> bool:
        return name in redis_view.board and redis_view.board[name]["status"] == {"n": n}

    def start_and_stop(lifecycle: Lifecycle) -> bool:
        started = start_sender(lifecycle)
        if lifecycle not in stopped:
            lifecycle.stop(None)
            stopped.append(lifecycle)
        return started

    monkeypatch.setattr(Lifecycle, "_start_sender", start_and_stop)
    tried = 0
    for line in itertools.count():
        service = make_service(start=False, instance=f"line-{line}")
        again = threading.Thread(target=service.start)

        def start_again(service: Service = service, again: threading.Thread = again) -> None:
            if service._lifecycle in stopped:
                again.start()
                eventually(
                    partial(getattr, service._lifecycle, "_should_run")
                )  # from here on it waits for this one

        with interrupt_before_line(Lifecycle.ensure_running, line, start_again) as was_held_up:
            service.start()
        if not was_held_up():
            break
        if again.ident is not None:
            tried += 1
            again.join()
            service.update(n=line)
            eventually(partial(is_told, f"balance-sync/{service.instance}", line))
    assert tried > 3
