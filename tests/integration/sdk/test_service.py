"""`Service` in a host application.

It is on the board with its latest status, and never blocks or breaks the host application.
"""

import asyncio
import itertools
import json
import logging
import math
import os
import signal
import threading
import time
from typing import Any

import pytest
import redis
from tests.support.sdk import MakeService, RedisView, eventually
from tests.support.valkey import free_port, run_valkey

from pulseboard import ConfigError, InvalidName, Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey


def pulseboard_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [
        name for name in names if name.startswith("pulseboard-") and name != "pulseboard-valkey"
    ]


def test_service_publishes_start_updates_and_graceful_stop(
    make_service: MakeService, redis_view: RedisView
) -> None:
    with make_service(start=False, instance="w-1", heartbeat_s=5) as service:
        service.update(isRunning=True)
        service.update(done=1)
    assert redis_view.statuses == [
        {},
        {"isRunning": True},
        {"isRunning": True, "done": 1},
        {"isRunning": True, "done": 1},
    ]
    assert [event.get("stopped", False) for event in redis_view.events] == [
        False,
        False,
        False,
        True,
    ]
    assert {
        (event["service"], event["instance"], event["heartbeat_s"]) for event in redis_view.events
    } == {("balance-sync", "w-1", 5)}
    assert all(abs(event["timestamp"] - time.time() * 1000) < 60_000 for event in redis_view.events)
    assert pulseboard_threads() == []


async def test_service_is_an_async_context_manager(
    make_service: MakeService, redis_view: RedisView
) -> None:
    async with make_service(start=False) as service:
        service.update(n=1)
        service.replace({"n": 2})
    assert redis_view.statuses == [{}, {"n": 1}, {"n": 2}, {"n": 2}]
    assert redis_view.events[-1]["stopped"] is True


async def test_async_exit_does_not_block_the_event_loop(
    own_valkey: EmbeddedValkey,
) -> None:
    service = Service("balance-sync", redis_url=own_valkey.address.url).start()
    assert own_valkey.pid is not None
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        exiting = asyncio.create_task(service.__aexit__(None, None, None))
        ticks = 0
        while not exiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)


def test_status_on_pub_sub_has_the_compatible_json(
    make_service: MakeService, raw: redis.Redis, prefix: str
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    pubsub.psubscribe(f"{prefix}*")
    pubsub.get_message(timeout=5)
    service = make_service(instance="w-1")
    service.update(isRunning=True, queue={"high": 3})
    messages = [pubsub.get_message(timeout=5) for _ in range(2)]
    assert messages[1]["channel"] == f"{prefix}balance-sync".encode()
    payload = json.loads(messages[1]["data"])
    assert list(payload) == ["service", "timestamp", "status", "instance", "heartbeat_s", "id"]
    assert payload["status"] == {"isRunning": True, "queue": {"high": 3}}
    assert isinstance(payload["timestamp"], int)
    pubsub.close()


def test_update_merges_and_replace_replaces(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.update(a=1, b=1)
    service.update(b=2, c=3)
    eventually(lambda: redis_view.latest == {"a": 1, "b": 2, "c": 3})
    service.replace({"d": 4})
    eventually(lambda: redis_view.latest == {"d": 4})


def test_field_names_need_not_be_identifiers(
    make_service: MakeService, redis_view: RedisView
) -> None:
    make_service().update(self=1, name=2, **{"last run": 3})
    eventually(lambda: redis_view.latest == {"self": 1, "name": 2, "last run": 3})


def test_status_set_before_the_start_is_the_first_published(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(start=False)
    service.update(n=1)
    assert pulseboard_threads() == []
    service.start()
    eventually(lambda: redis_view.statuses == [{"n": 1}])


def test_second_start_has_no_effect_and_a_stopped_service_restarts(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    assert service.start() is service
    assert len(pulseboard_threads()) == 1
    service.stop()
    service.stop()
    service.update(n=1)
    service.start()
    eventually(lambda: redis_view.latest == {"n": 1})
    service.stop()
    assert [event.get("stopped", False) for event in redis_view.events] == [
        False,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("name", ["", "Balance", "logs", "a/b", "x" * 65, "a\n"])
def test_invalid_service_name_is_refused_by_the_constructor(name: str) -> None:
    with pytest.raises(InvalidName):
        Service(name)


@pytest.mark.parametrize(
    "heartbeat_s", [0, -1, math.nan, math.inf, 1e9, 1e-9, 0.049, None, "5", True, [5], 10**400]
)
def test_invalid_heartbeat_interval_is_refused_by_the_constructor(heartbeat_s: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^heartbeat_s must be a number of seconds from 0\.05 to 86400, not "
    ):
        Service("balance-sync", heartbeat_s=heartbeat_s)


@pytest.mark.parametrize("heartbeat_s", [0.05, 1, 86_400])
def test_heartbeat_interval_may_be_50_ms_to_one_day(heartbeat_s: float) -> None:
    assert Service("balance-sync", heartbeat_s=heartbeat_s).heartbeat_s == heartbeat_s


def test_invalid_namespace_is_refused_by_the_constructor() -> None:
    with pytest.raises(ConfigError):
        Service("balance-sync", namespace="a b")


def test_invalid_address_is_logged_once_without_the_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache:port")
    with Service("balance-sync") as service:
        for n in range(10):
            service.update(n=n)
    assert len(caplog.records) == 1
    assert "is not on the board" in caplog.text
    assert "hunter2" not in caplog.text


def test_wrong_password_is_logged_once_without_the_password(
    caplog: pytest.LogCaptureFixture, namespace: str
) -> None:
    with run_valkey() as server, redis.Redis(port=server.address.port) as raw:
        raw.config_set("requirepass", "correct-horse")
        url = f"redis://default:hunter2@127.0.0.1:{server.address.port}"
        with Service("balance-sync", redis_url=url, namespace=namespace) as service:
            for n in range(5):
                service.update(n=n)
                eventually(lambda: "cannot reach Redis" in caplog.text)
    lines = [record for record in caplog.records if "cannot reach Redis" in record.message]
    assert len(lines) == 1
    assert "hunter2" not in caplog.text
    assert "***" in lines[0].message


def test_service_started_during_an_outage_appears_when_redis_starts(
    caplog: pytest.LogCaptureFixture, keys: Keys, namespace: str
) -> None:
    port = free_port()
    with Service(
        "balance-sync", redis_url=f"redis://127.0.0.1:{port}", namespace=namespace
    ) as service:
        for n in range(500):
            service.update(n=n)
        eventually(lambda: "cannot reach Redis" in caplog.text)
        with run_valkey(port), redis.Redis(port=port) as raw:
            redis_view = RedisView(raw, keys)
            eventually(lambda: redis_view.latest == {"n": 499})
            assert len(redis_view.events) == 1, "only the latest status is sent after an outage"
            eventually(lambda: redis_view.heartbeats)
            service.stop()
            assert redis_view.events[-1]["stopped"] is True
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1


def test_latest_status_is_published_after_a_restart_of_redis(
    own_valkey: EmbeddedValkey, keys: Keys, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Service(
            "balance-sync", redis_url=own_valkey.address.url, namespace=namespace, heartbeat_s=0.2
        ) as service,
        redis.Redis(port=own_valkey.address.port) as raw,
    ):
        redis_view = RedisView(raw, keys)
        service.update(n=1)
        eventually(lambda: redis_view.latest == {"n": 1})
        own_valkey.stop()
        service.update(n=2)
        service.update(n=3)
        eventually(lambda: "cannot reach Redis" in caplog.text)
        with EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port):
            eventually(lambda: redis_view.latest == {"n": 3})
            service.stop()


def test_next_heartbeat_restores_a_status_that_redis_lost(
    make_service: MakeService, redis_view: RedisView, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service(heartbeat_s=0.1, instance="w-1")
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})
    raw.delete(keys.board)
    eventually(lambda: redis_view.board.get("balance-sync/w-1", {}).get("status") == {"n": 1})


def test_two_services_with_the_same_name_are_two_instances(
    make_service: MakeService, redis_view: RedisView
) -> None:
    one, two = make_service(), make_service()
    assert one.instance != two.instance
    assert all(f":{os.getpid()}" in service.instance for service in (one, two))
    eventually(lambda: len(redis_view.board) == 2)


def test_service_created_for_each_job_reuses_its_instance_name(
    address: RedisAddress, namespace: str
) -> None:
    """The instance names were once numbered upwards.

    A worker then left an ended instance on the board for every job.
    """

    def job() -> str:
        with Service("job", redis_url=address.url, namespace=namespace) as service:
            return service.instance

    assert len({job() for _ in range(5)}) == 1


def test_heartbeats_continue_while_the_event_loop_is_blocked(
    make_service: MakeService, redis_view: RedisView
) -> None:
    async def blocked() -> None:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:  # compute without an `await`
            sum(range(1_000))

    make_service(heartbeat_s=0.1)
    eventually(lambda: redis_view.heartbeats)
    asyncio.run(blocked())
    times = [ms for ms, _ in redis_view.heartbeats]
    assert len(times) >= 5
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 1_000


def test_update_does_not_block_and_stop_is_bounded_while_redis_is_frozen(
    own_valkey: EmbeddedValkey,
) -> None:
    service = Service("balance-sync", redis_url=own_valkey.address.url).start()
    assert own_valkey.pid is not None
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for n in range(1_000):
            service.update(n=n)
        assert time.monotonic() - started < 1.0
        started = time.monotonic()
        service.stop()
        assert time.monotonic() - started < 3.0
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    eventually(lambda: pulseboard_threads() == [])


def test_stop_is_quick_during_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    service = Service("balance-sync", redis_url=f"redis://127.0.0.1:{free_port()}").start()
    service.update(n=1)
    eventually(lambda: "cannot reach Redis" in caplog.text)
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 2.5
    assert "without a graceful stop" in caplog.text
    assert pulseboard_threads() == []


def test_flood_of_updates_ends_with_the_latest(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    for n in range(20_000):
        service.update(n=n)
    eventually(lambda: redis_view.latest == {"n": 19_999})
    numbers = [status["n"] for status in redis_view.statuses if status]
    assert numbers == sorted(set(numbers)), "in order and without duplicates"


def test_updates_by_many_threads_keep_every_field(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()

    def work(worker: int) -> None:
        for n in range(200):
            service.update(**{f"w{worker}": n})

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: redis_view.latest == {f"w{worker}": 199 for worker in range(8)})


def test_signal_at_any_moment_causes_no_deadlock_and_loses_no_update(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    seen = 0
    updating = False

    def handler(*_: object) -> None:
        nonlocal seen, updating
        # A handler that interrupts itself would publish its older number after the newer one.
        if not updating:
            updating = True
            seen += 1
            service.update(signals=seen)
            updating = False

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        n = 0
        while seen < 300:
            n += 1
            service.update(n=n)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    eventually(lambda: redis_view.latest == {"n": n, "signals": seen})


def test_environment_sets_address_namespace_and_prefix(
    address: RedisAddress,
    monkeypatch: pytest.MonkeyPatch,
    namespace: str,
    prefix: str,
    redis_view: RedisView,
) -> None:
    monkeypatch.setenv("REDIS_HOST", address.host)
    monkeypatch.setenv("REDIS_PORT", str(address.port))
    monkeypatch.setenv("PULSEBOARD_NAMESPACE", namespace)
    monkeypatch.setenv("PULSEBOARD_CHANNEL_PREFIX", prefix)
    with Service("balance-sync") as service:
        service.update(n=1)
    assert redis_view.latest == {"n": 1}
