"""Graceful stops: planned returns, replacement by another instance, order of the last events."""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.bus import Proxy
from tests.support.sdk import MakeService, RedisView, eventually

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.sdk.outbox import Outbox, RunMarker, StatusSource


def test_planned_stop_publishes_when_the_service_will_return(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(instance="w-1")
    service.update(n=1)
    service.stop(back_in_s=60)
    last = redis_view.events[-1]
    assert (last["stopped"], last["back_in_s"], last["status"]) == (True, 60, {"n": 1})
    assert redis_view.board["balance-sync/w-1"]["back_in_s"] == 60


def test_restarted_instance_keeps_its_identity(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(instance="w-1")
    service.stop(back_in_s=60)
    service.start()
    eventually(lambda: "stopped" not in redis_view.board["balance-sync/w-1"])
    assert "back_in_s" not in redis_view.board["balance-sync/w-1"]
    assert redis_view.lifecycle == []


def test_new_instance_replaces_the_one_with_a_planned_return(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """After a deployment the service runs in another process with another pid."""
    make_service(instance="old").stop(back_in_s=60)
    make_service(instance="new")
    eventually(lambda: set(redis_view.board) == {"balance-sync/new"})
    assert [
        (event["event"], event["instance"], event["replaced_by"]) for event in redis_view.lifecycle
    ] == [("gone", "old", "new")]


@pytest.mark.parametrize("back_in_s", [0.5, 86_400, 7])
def test_back_in_s_accepts_numbers_up_to_one_day(
    make_service: MakeService, redis_view: RedisView, back_in_s: Any
) -> None:
    make_service().stop(back_in_s=back_in_s)
    assert redis_view.events[-1]["back_in_s"] == float(back_in_s)


@pytest.mark.parametrize(
    "back_in_s", [0, -1, 86_401, float("nan"), float("inf"), "60", True, object(), 10**400]
)
def test_invalid_back_in_s_is_logged_and_the_graceful_stop_is_published(
    make_service: MakeService,
    redis_view: RedisView,
    caplog: pytest.LogCaptureFixture,
    back_in_s: Any,
) -> None:
    service = make_service()
    for _ in range(2):
        service.start()
        service.stop(back_in_s=back_in_s)
    assert [
        (event.get("stopped", False), event.get("back_in_s")) for event in redis_view.events
    ] == [
        (False, None),
        (True, None),
        (False, None),
        (True, None),
    ]
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "back_in_s must be more than 0 and at most 86400 seconds" in errors[0]


def test_context_exit_publishes_one_graceful_stop_and_keeps_the_plan(
    make_service: MakeService, redis_view: RedisView
) -> None:
    with make_service(start=False):
        pass
    assert "back_in_s" not in redis_view.events[-1]
    with make_service(start=False, instance="planned") as service:
        service.stop(back_in_s=5)
    stops = [
        event
        for event in redis_view.events
        if event["instance"] == "planned" and event.get("stopped")
    ]
    assert [event["back_in_s"] for event in stops] == [5]


def test_second_stop_does_not_cancel_the_planned_return(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.stop(back_in_s=5)
    service.stop()
    assert [event.get("back_in_s") for event in redis_view.events if event.get("stopped")] == [5]


def test_back_in_s_after_a_graceful_stop_is_ignored_with_one_error(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service()
    service.stop()
    for _ in range(2):
        service.stop(back_in_s=60)
    assert [event.get("back_in_s") for event in redis_view.events if event.get("stopped")] == [None]
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "back_in_s was ignored, because the service had stopped already" in errors[0]


def test_no_heartbeat_follows_a_graceful_stop(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat after the graceful stop would be a sign of life of a stopped service."""
    service = make_service(start=False, heartbeat_s=0.1)
    publish = Publisher.publish

    def interrupted(publisher: Publisher, events: Sequence[Outgoing]) -> object:
        # Another thread may do this between the publishing and the heartbeat that is due.
        service._lifecycle.begin_stop()
        return publish(publisher, events)

    monkeypatch.setattr(Publisher, "publish", interrupted)
    service.start()
    service.stop()
    assert [event.get("stopped", False) for event in redis_view.events] == [False, True]
    assert redis_view.heartbeats == []


async def test_service_restarted_while_its_stop_hangs_ends_up_running(
    address: RedisAddress,
    make_service: MakeService,
    redis_view: RedisView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The delayed events were once published after newer ones.

    The board then showed an old status or a graceful stop of a running service.
    """
    monkeypatch.setattr("pulseboard.sdk.process_hooks.STOP_TIMEOUT_S", 0.1)
    async with Proxy(address) as proxy:
        service = make_service(redis_url=proxy.address.url)
        await asyncio.to_thread(eventually, lambda: redis_view.heartbeats)
        proxy.freeze()
        service.update(n=1)
        await asyncio.to_thread(service.stop)
        service.start()
        service.update(n=2)
        await asyncio.to_thread(
            eventually, lambda: service.stats().failures and not service.stats().waiting
        )
        assert redis_view.latest == {"n": 2}
        assert not redis_view.events[-1].get("stopped")
        await asyncio.to_thread(service.stop)


def test_graceful_stop_is_published_even_if_its_encoding_is_slow(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender once saw that it had to end, and ended before it was given the last status."""
    make_source = Outbox.make_source

    def make_source_late(self: Outbox, marker: RunMarker) -> StatusSource:
        if marker.stopped:
            time.sleep(0.3)  # several heartbeat intervals
        return make_source(self, marker)

    monkeypatch.setattr(Outbox, "make_source", make_source_late)
    service = make_service(heartbeat_s=0.05)
    eventually(lambda: redis_view.heartbeats)
    service.stop()
    assert redis_view.events[-1].get("stopped")


def test_nothing_is_published_after_the_graceful_stop(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status once followed the last status of the run.

    Redis had answered a heartbeat, while the service stopped, with a request for the status.
    """
    requested = threading.Event()

    def heartbeat(*_: object) -> bool:
        requested.set()
        eventually(lambda: service.stats().waiting)
        return False

    monkeypatch.setattr(Publisher, "heartbeat", heartbeat)
    service = make_service(start=False, heartbeat_s=0.05)
    service.start()
    assert requested.wait(5)
    service.stop()
    assert [event.get("stopped", False) for event in redis_view.events] == [False, True]
