"""`Service` as a host sees it: on the board, current, and never in the way."""

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
from pulseboard.wire.codec import MAX_EVENT_BYTES


def pulseboard_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [
        name for name in names if name.startswith("pulseboard-") and name != "pulseboard-valkey"
    ]


def test_a_service_appears_updates_and_says_goodbye(
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


async def test_async_code_uses_the_same_service(
    make_service: MakeService, redis_view: RedisView
) -> None:
    async with make_service(start=False) as service:
        service.update(n=1)
        service.replace({"n": 2})
    assert redis_view.statuses == [{}, {"n": 1}, {"n": 2}, {"n": 2}]
    assert redis_view.events[-1]["stopped"] is True


async def test_leaving_an_async_service_does_not_block_the_event_loop(
    own_valkey: EmbeddedValkey,
) -> None:
    service = Service("balance-sync", redis_url=own_valkey.address.url).start()
    assert own_valkey.pid is not None
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        leaving = asyncio.create_task(service.__aexit__(None, None, None))
        ticks = 0
        while not leaving.done():
            await asyncio.sleep(0.01)
            ticks += 1
        assert ticks > 10
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)


def test_the_status_on_pub_sub_is_the_seeds_json(
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


def test_update_merges_and_replace_does_not(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.update(a=1, b=1)
    service.update(b=2, c=3)
    eventually(lambda: redis_view.latest == {"a": 1, "b": 2, "c": 3})
    service.replace({"d": 4})
    eventually(lambda: redis_view.latest == {"d": 4})


def test_a_field_may_have_any_name_that_a_keyword_may_not(
    make_service: MakeService, redis_view: RedisView
) -> None:
    make_service().update(self=1, name=2, **{"last run": 3})
    eventually(lambda: redis_view.latest == {"self": 1, "name": 2, "last run": 3})


def test_a_status_said_before_the_start_is_the_first_one_shown(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service(start=False)
    service.update(n=1)
    assert pulseboard_threads() == []
    service.start()
    eventually(lambda: redis_view.statuses == [{"n": 1}])


def test_starting_twice_is_starting_once_and_stopping_is_not_the_end(
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


def test_what_the_host_does_to_a_value_later_is_not_told(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Nested values stayed the host's own, and each later event (an update, a goodbye) told what had become of them."""
    service = make_service()
    queue = {"jobs": [1]}
    service.update(queue=queue)
    queue["jobs"].append(2)
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"queue": {"jobs": [1]}, "n": 1})
    whole = {"queue": queue}
    service.replace(whole)
    whole["more"] = {"jobs": []}
    queue["jobs"].append(3)
    service.stop()
    assert redis_view.latest == {"queue": {"jobs": [1, 2]}}


class Evil:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class EvilDict(dict[str, Any]):
    def keys(self) -> Any:
        raise RuntimeError("no")

    def items(self) -> Any:
        raise RuntimeError("no")


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    "value", [Evil(), circle(), 10**5_000, float("nan"), "\ud800", {(1, 2): 3}, object(), EvilDict(a="\ud800")],
    ids=["__str__ raises", "circle", "digits", "NaN", "surrogate", "keys", "object", "items() raises"],
)  # fmt: skip
def test_a_stray_value_costs_neither_the_host_nor_the_field_beside_it(
    make_service: MakeService, redis_view: RedisView, value: object
) -> None:
    service = make_service()
    service.update(good=1, bad=value)
    service.replace({"good": 2, "bad": value})
    eventually(lambda: redis_view.latest.get("good") == 2)
    assert set(redis_view.latest) == {"good", "bad"}


@pytest.mark.parametrize("status", [None, 7, "x", [1], object(), EvilDict(a=1)])
def test_what_is_no_status_is_told_once_and_not_raised(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture, status: Any
) -> None:
    service = make_service()
    service.update(n=1)
    for _ in range(3):
        service.replace(status)
    service.update(m=2)
    eventually(lambda: redis_view.latest in ({"n": 1, "m": 2}, {"a": 1, "m": 2}))
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) <= 1


def test_a_status_that_is_too_large_is_told_once_and_the_next_is_published(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service()
    for _ in range(3):
        service.update(log="x" * MAX_EVENT_BYTES)
    service.update(log="short")
    eventually(lambda: redis_view.latest == {"log": "short"})
    assert len([record for record in caplog.records if "65536 bytes" in record.message]) == 1


def test_one_field_too_large_does_not_stop_the_others_from_being_told(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """The card stood still for good while the service beat on: alive, with a status that was long past."""
    service = make_service()
    service.update(done=1)
    service.update(dump="y" * 200_000)
    service.update(done=2)
    eventually(
        lambda: redis_view.latest == {"done": 2, "dump": "(omitted: 200002 bytes is too large)"}
    )


def test_a_huge_name_of_a_field_is_cut_and_costs_no_other_field(
    make_service: MakeService, redis_view: RedisView, caplog: pytest.LogCaptureFixture
) -> None:
    """It was larger than an event may be, so the whole status was left out, for good."""
    service = make_service()
    for n in range(2):
        service.update(done=n, **{"x" * 70_000: n})
    eventually(lambda: redis_view.latest == {"done": 1, "x" * 256: 1})
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "cut to 256 characters" in caplog.text


def test_a_status_of_too_many_fields_says_so_instead(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    service.replace({f"field-{n}": n for n in range(20_000)})
    eventually(lambda: list(redis_view.latest) == ["status"])


def test_a_status_that_grew_too_large_does_not_keep_the_goodbye_back(
    make_service: MakeService, redis_view: RedisView
) -> None:
    """Without it a service that stopped in order looked lost, and woke somebody."""
    service = make_service()
    service.update(log="x" * MAX_EVENT_BYTES)
    service.stop()
    assert redis_view.events[-1]["stopped"] is True


@pytest.mark.parametrize("name", ["", "Balance", "logs", "a/b", "x" * 65, "a\n"])
def test_a_name_that_can_not_be_one_is_refused_when_the_service_is_made(name: str) -> None:
    with pytest.raises(InvalidName):
        Service(name)


@pytest.mark.parametrize(
    "heartbeat_s", [0, -1, math.nan, math.inf, 1e9, 1e-9, 0.049, None, "5", True, [5], 10**400]
)
def test_a_rhythm_that_can_not_be_is_refused_when_the_service_is_made(heartbeat_s: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^heartbeat_s must be a number of seconds from 0\.05 to 86400, not "
    ):
        Service("balance-sync", heartbeat_s=heartbeat_s)


@pytest.mark.parametrize("heartbeat_s", [0.05, 1, 86_400])
def test_any_rhythm_from_a_twentieth_of_a_second_to_a_day_will_do(heartbeat_s: float) -> None:
    assert Service("balance-sync", heartbeat_s=heartbeat_s).heartbeat_s == heartbeat_s


def test_a_namespace_that_can_not_be_is_refused_when_the_service_is_made() -> None:
    with pytest.raises(ConfigError):
        Service("balance-sync", namespace="a b")


def test_a_bad_address_keeps_the_host_alive_with_one_line_and_no_password(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache:port")
    with Service("balance-sync") as service:
        for n in range(10):
            service.update(n=n)
    assert len(caplog.records) == 1
    assert "is not on the board" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_wrong_password_is_one_line_that_does_not_show_it(
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


def test_redis_away_at_the_start_is_told_once_and_the_service_appears_when_it_comes(
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
            assert len(redis_view.events) == 1, "nobody watched the steps; only the latest matters"
            eventually(lambda: redis_view.heartbeats)
            service.stop()
            assert redis_view.events[-1]["stopped"] is True
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1


def test_a_restart_of_redis_costs_nothing_but_time(
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


def test_data_that_redis_lost_is_sent_again_by_the_next_beat(
    make_service: MakeService, redis_view: RedisView, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service(heartbeat_s=0.1, instance="w-1")
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})
    raw.delete(keys.board)
    eventually(lambda: redis_view.board.get("balance-sync/w-1", {}).get("status") == {"n": 1})


def test_two_services_of_one_name_are_two_instances(
    make_service: MakeService, redis_view: RedisView
) -> None:
    one, two = make_service(), make_service()
    assert one.instance != two.instance
    assert all(f":{os.getpid()}" in service.instance for service in (one, two))
    eventually(lambda: len(redis_view.board) == 2)


def test_a_service_for_each_job_does_not_fill_the_board(
    address: RedisAddress, namespace: str
) -> None:
    """Each had a number of its own, one more each time: a worker left an ended instance behind for every job."""

    def job() -> str:
        with Service("job", redis_url=address.url, namespace=namespace) as service:
            return service.instance

    assert len({job() for _ in range(5)}) == 1


def test_beats_come_in_their_rhythm_while_the_event_loop_is_blocked(
    make_service: MakeService, redis_view: RedisView
) -> None:
    async def blocked() -> None:
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:  # the host computes, and never gives the loop a turn
            sum(range(1_000))

    make_service(heartbeat_s=0.1)
    eventually(lambda: redis_view.heartbeats)
    asyncio.run(blocked())
    times = [ms for ms, _ in redis_view.heartbeats]
    assert len(times) >= 5
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 1_000


def test_an_update_returns_at_once_while_redis_is_frozen_and_stop_within_its_time(
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


def test_stop_is_quick_while_redis_is_away(caplog: pytest.LogCaptureFixture) -> None:
    service = Service("balance-sync", redis_url=f"redis://127.0.0.1:{free_port()}").start()
    service.update(n=1)
    eventually(lambda: "cannot reach Redis" in caplog.text)
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 2.5
    assert "without a graceful stop" in caplog.text
    assert pulseboard_threads() == []


def test_a_flood_of_updates_is_bounded_and_ends_with_the_latest(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    for n in range(20_000):
        service.update(n=n)
    eventually(lambda: redis_view.latest == {"n": 19_999})
    numbers = [status["n"] for status in redis_view.statuses if status]
    assert numbers == sorted(set(numbers)), "in order and none twice"


def test_updates_of_many_threads_lose_no_field(
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


def test_a_signal_at_any_moment_neither_deadlocks_nor_loses_the_latest(
    make_service: MakeService, redis_view: RedisView
) -> None:
    service = make_service()
    seen = 0
    updating = False

    def handler(*_: object) -> None:
        nonlocal seen, updating
        # One that interrupts itself would say its own older number after the newer one.
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


def test_the_environment_says_where_and_under_which_names(
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
