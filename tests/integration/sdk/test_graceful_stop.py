"""Goodbyes: a planned one says when the service will be back, and who comes in its place."""

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


def test_a_planned_goodbye_says_when_the_service_will_be_back(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(instance="w-1")
    service.update(n=1)
    service.stop(back_in_s=60)
    last = redis_view.events[-1]
    assert (last["stopped"], last["back_in_s"], last["status"]) == (True, 60, {"n": 1})
    assert redis_view.board["balance-sync/w-1"]["back_in_s"] == 60


def test_the_instance_that_was_away_comes_back_as_itself(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(instance="w-1")
    service.stop(back_in_s=60)
    service.start()
    eventually(lambda: "stopped" not in redis_view.board["balance-sync/w-1"])
    assert "back_in_s" not in redis_view.board["balance-sync/w-1"]
    assert redis_view.lifecycle == []


def test_a_new_instance_takes_the_place_of_the_one_that_said_it_would_be_back(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """As after a deployment: another process, another pid."""
    make_service(instance="old").stop(back_in_s=60)
    make_service(instance="new")
    eventually(lambda: set(redis_view.board) == {"balance-sync/new"})
    assert [
        (event["event"], event["instance"], event["replaced_by"]) for event in redis_view.lifecycle
    ] == [("gone", "old", "new")]


@pytest.mark.parametrize("back_in_s", [0.5, 86_400, 7])
def test_any_number_of_seconds_up_to_a_day_will_do(
    make_service: MakeService, redis_view: RedisView, back_in_s: Any
) -> None:
    make_service().stop(back_in_s=back_in_s)
    assert redis_view.events[-1]["back_in_s"] == float(back_in_s)


@pytest.mark.parametrize(
    "back_in_s", [0, -1, 86_401, float("nan"), float("inf"), "60", True, object(), 10**400]
)
def test_an_absence_that_can_not_be_costs_neither_the_host_nor_the_goodbye(
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


def test_leaving_the_context_is_a_plain_goodbye_and_no_second_one(
    make_service: MakeService, redis_view: RedisView
) -> None:
    with make_service(start=False):
        pass
    assert "back_in_s" not in redis_view.events[-1]
    with make_service(start=False, instance="planned") as service:
        service.stop(back_in_s=5)
    goodbyes = [
        event
        for event in redis_view.events
        if event["instance"] == "planned" and event.get("stopped")
    ]
    assert [event["back_in_s"] for event in goodbyes] == [5]


def test_a_stop_that_is_repeated_does_not_take_the_plan_back(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.stop(back_in_s=5)
    service.stop()
    assert [event.get("back_in_s") for event in redis_view.events if event.get("stopped")] == [5]


def test_a_plan_that_comes_after_the_goodbye_is_not_told_and_says_so_once(
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


def test_no_beat_follows_a_goodbye(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a sign of life of one that has stopped."""
    service = make_service(start=False, heartbeat_s=0.1)
    publish = Publisher.publish

    def interrupted(publisher: Publisher, events: Sequence[Outgoing]) -> object:
        service._lifecycle.begin_stop()  # as another thread does, between the sending and the beat that is due
        return publish(publisher, events)

    monkeypatch.setattr(Publisher, "publish", interrupted)
    service.start()
    service.stop()
    assert [event.get("stopped", False) for event in redis_view.events] == [False, True]
    assert redis_view.heartbeats == []


async def test_a_service_started_again_while_its_goodbye_hangs_is_running_in_the_end(
    address: RedisAddress,
    make_service: MakeService,
    redis_view: RedisView,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What had hung was sent after what was said since: an old status, or a goodbye, of a service that was running."""
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


def test_the_goodbye_is_sent_however_long_it_takes_to_be_said(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The courier saw that it was to leave, and left, before it was given the goodbye."""
    make_source = Outbox.make_source

    def make_source_late(self: Outbox, marker: RunMarker) -> StatusSource:
        if marker.stopped:
            time.sleep(0.3)  # some beats
        return make_source(self, marker)

    monkeypatch.setattr(Outbox, "make_source", make_source_late)
    service = make_service(heartbeat_s=0.05)
    eventually(lambda: redis_view.heartbeats)
    service.stop()
    assert redis_view.events[-1].get("stopped")


def test_nothing_is_said_after_the_goodbye(
    make_service: MakeService, redis_view: RedisView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat was answered, while the service stopped, with a wish for its status, and that came after the goodbye."""
    asked = threading.Event()

    def heartbeat(*_: object) -> bool:
        asked.set()
        eventually(lambda: service.stats().waiting)
        return False

    monkeypatch.setattr(Publisher, "heartbeat", heartbeat)
    service = make_service(start=False, heartbeat_s=0.05)
    service.start()
    assert asked.wait(5)
    service.stop()
    assert [event.get("stopped", False) for event in redis_view.events] == [False, True]
