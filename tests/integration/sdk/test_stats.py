"""Statistics that a service gives its host application: `Service.stats()`."""

import dataclasses
import time

import pytest
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually
from tests.support.valkey import free_port

from pulseboard import Service, ServiceStats
from pulseboard.sdk.bounded_queue import QueueCounts


def test_stats_of_a_service_that_was_not_started_are_zero() -> None:
    assert Service("balance-sync").stats() == ServiceStats(
        connected=False,
        failures=0,
        last_error=None,
        internal_errors=0,
        offered=0,
        sent=0,
        overflowed=0,
        coalesced=0,
        waiting=0,
        waiting_bytes=0,
        lines=QueueCounts(0, 0, 0, 0, 0, 0),
    )


def test_event_counts_as_sent_when_redis_has_stored_it(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.update(n=1)
    service.update(n=2)
    eventually(lambda: service.stats().sent == 3)
    assert len(redis_view.events) == 3
    # The sender sets `connected` at the end of its turn, a moment after it has counted the events.
    eventually(lambda: service.stats().connected)
    stats = service.stats()
    assert (stats.connected, stats.offered, stats.dropped, stats.waiting, stats.waiting_bytes) == (
        True,
        3,
        0,
        0,
        0,
    )
    service.stop()
    assert (service.stats().connected, service.stats().sent) == (False, 4)
    service.start()
    eventually(lambda: service.stats().sent == 5)


def test_stats_show_an_outage(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}")
    eventually(lambda: service.stats().failures >= 2)
    for n in range(300):
        service.update(n=n)
    eventually(lambda: service.stats().coalesced >= 1)
    stats = service.stats()
    assert not stats.connected
    assert "refused" in str(stats.last_error)
    assert 1 <= stats.waiting <= 256
    assert 0 < stats.waiting_bytes < 256 * 200
    assert stats.offered == 301 == stats.sent + stats.dropped + stats.waiting
    assert stats.dropped == stats.overflowed + stats.coalesced


def test_stats_are_an_immutable_value(make_service: MakeService) -> None:
    service = make_service()
    eventually(lambda: service.stats().sent == 1)
    stats = service.stats()
    service.update(n=1)
    assert stats.sent == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.sent = 2  # type: ignore[misc]


def test_stats_call_takes_microseconds(make_service: MakeService) -> None:
    service = make_service()
    started = time.thread_time()  # only this thread's CPU time, so that load does not matter
    for _ in range(1_000):
        service.stats()
    assert time.thread_time() - started < 1


def test_forked_child_counts_its_own_events(run_program: RunProgram) -> None:
    program = run_program(
        """
        import os, time
        service.start()
        for n in range(5):
            service.update(n=n)
        while service.stats().sent < 6:
            time.sleep(0.01)
        child = os.fork()
        if not child:
            assert service.stats().offered == 0
            service.update(n=1)
            service.stop()
            assert service.stats().sent == 2, service.stats()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert service.stats().sent == 6
        """
    )
    _, errors = program.communicate(timeout=20)
    assert (program.returncode, errors) == (0, "")
