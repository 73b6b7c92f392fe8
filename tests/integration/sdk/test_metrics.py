"""Metrics: counted, timed and summed up in the process; sent every few seconds, bounded, and exact whatever Redis does."""

import asyncio
import decimal
import json
import math
import os
import signal
import threading
import time
from typing import Any

import pytest
import redis
from tests.support.sdk import MakeService, RedisView, RunProgram, eventually
from tests.support.valkey import free_port

from pulseboard.bus.keys import Keys
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.wire.errors import ConfigError
from pulseboard.wire.events.metric import MAX_METRICS

OFTEN_S = 0.05


class MetricSight:
    """What is to be seen of the metrics of `balance-sync`."""

    def __init__(self, raw: redis.Redis, keys: Keys) -> None:
        self._raw = raw
        self._keys = keys

    @property
    def events(self) -> list[dict[str, Any]]:
        rows: Any = self._raw.xrange(self._keys.history("balance-sync", "metric"))
        return [json.loads(fields[b"data"]) for _, fields in rows]

    @property
    def latest(self) -> dict[str, Any]:
        events = self.events
        return events[-1]["metrics"] if events else {}

    def values(self, name: str) -> list[Any]:
        return [event["metrics"][name] for event in self.events if name in event["metrics"]]


@pytest.fixture
def metrics(raw: redis.Redis, keys: Keys) -> MetricSight:
    return MetricSight(raw, keys)


def test_each_kind_is_sent_with_its_name_and_value(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service(start=False, metrics_every_s=OFTEN_S, instance="w-1")
    service.counter("synced").add()
    service.counter("synced").add(4)
    service.counter("seconds").add(0.5)
    service.counter("seconds").add()
    service.gauge("queue").set(7)
    service.gauge("queue").add(-2.5)
    for value in (3, 1, 2.5):
        service.histogram("rows").record(value)
    service.start()
    eventually(lambda: metrics.events)
    event = metrics.events[0]
    assert (event["service"], event["instance"], event["kinds"]) == (
        *("balance-sync", "w-1"),
        {"synced": "counter", "seconds": "counter"},
    )
    assert abs(event["timestamp"] / 1000 - time.time()) < 60
    rows = {"count": 3, "sum": 6.5, "min": 1.0, "max": 3.0}
    assert event["metrics"] == {"synced": 5, "seconds": 1.5, "queue": 4.5, "rows": rows}


def test_what_has_not_changed_is_not_told_again(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service(start=False, instance="w-1")
    service.histogram("rows").record(3)
    service.counter("synced").add()
    service.start()
    eventually(lambda: metrics.events)
    service.stop()  # with which goes all that was not told
    assert [event["metrics"]["synced"] for event in metrics.events] == [1]


def test_it_is_published_on_the_channel_and_kept_as_the_latest(
    make_service: MakeService, raw: redis.Redis, prefix: str, keys: Keys
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.subscribe(f"{prefix}metrics")
        pubsub.get_message(timeout=5)
        make_service(metrics_every_s=OFTEN_S, instance="w-1").counter("synced")
        eventually(lambda: raw.hlen(keys.latest_metrics))
        published = pubsub.get_message(timeout=5)["data"]
    rows: Any = raw.xrange(keys.history("balance-sync", "metric"))
    ((id, kept),) = rows
    assert published == kept[b"data"][:-1] + b',"id":"%b"}' % id
    assert raw.hgetall(keys.latest_metrics) == {b"balance-sync/w-1": published}


def test_the_same_name_is_the_same_instrument(make_service: MakeService) -> None:
    service = make_service()
    assert service.counter("synced") is service.counter("synced")
    assert service.timer("sync") is service.timer("sync")
    assert service.counter("synced") is not make_service("other").counter("synced")


def test_many_threads_and_tasks_lose_nothing(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    counter, gauge, histogram = service.counter("n"), service.gauge("g"), service.histogram("h")

    def work() -> None:
        for n in range(20_000):
            counter.add(2)
            gauge.add(1)
            histogram.record(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: metrics.latest.get("h", {}).get("count") == 80_000)
    assert (metrics.latest["n"], metrics.latest["g"]) == (160_000, 80_000)
    assert metrics.latest["h"]["sum"] == 4 * sum(range(20_000))
    told = [value for value in metrics.values("h") if "max" in value]
    assert (min(value["min"] for value in told), max(value["max"] for value in told)) == (0, 19_999)


def test_a_signal_handler_may_count_in_the_middle_of_counting(
    run_program: RunProgram, metrics: MetricSight
) -> None:
    host = run_program(
        """
        import signal
        counter, fives, timer = service.start().counter("n"), service.counter("fives"), service.timer("t")
        handled = 0
        def handle(*_):
            global handled
            handled += 1
            with timer:
                counter.add()
                fives.add(5)
        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        for _ in range(300_000):
            counter.add()
            fives.add(5)
        signal.setitimer(signal.ITIMER_REAL, 0)
        service.counter("handled").add(handled)
        """
    )
    assert host.wait(50) == 0
    latest = metrics.latest
    assert latest["handled"] > 0
    assert latest["n"] == 300_000 + latest["handled"]
    assert latest["fives"] == 5 * latest["n"]
    assert latest["t"]["count"] == latest["handled"]


def test_what_was_measured_last_is_there_before_the_goodbye(
    make_service: MakeService, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    service.counter("synced").add(3)
    service.stop()
    rows: Any = raw.xrange(keys.feed)
    events = [(fields[b"kind"], json.loads(fields[b"data"])) for _, fields in rows]
    assert events[-1][1]["stopped"] is True
    assert [event["metrics"] for kind, event in events if kind == b"metric"] == [{"synced": 3}]


def test_what_did_not_change_is_not_told_again(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    still, moving = service.gauge("still"), service.counter("moving")
    still.set(1)
    for _ in range(3):
        moving.add()
        eventually(lambda: metrics.latest.get("moving") == moving.read())
    count = len(metrics.events)
    time.sleep(OFTEN_S * 5)
    assert len(metrics.events) == count


def test_a_peak_is_told_once_and_never_vanishes_in_an_outage(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url, metrics_every_s=OFTEN_S)
    histogram, counter = service.histogram("took"), service.counter("n")
    histogram.record(1)
    counter.add()
    with redis.Redis(port=own_valkey.address.port, protocol=2) as raw:
        eventually(lambda: MetricSight(raw, keys).latest.get("n") == 1)
    own_valkey.stop()
    histogram.record(99)  # the peak
    failures = service.stats().failures
    eventually(lambda: service.stats().failures > failures + 3)
    for _ in range(10):
        histogram.record(2)
        counter.add()
    with (
        EmbeddedValkey(own_valkey.data_dir, port=own_valkey.address.port) as again,
        redis.Redis(port=again.address.port, protocol=2) as raw,
    ):
        redis_view = MetricSight(raw, keys)
        eventually(lambda: redis_view.latest.get("n") == 11)
        after = [value for value in redis_view.values("took") if value["count"] > 1]
        assert after[0] == {"count": 12, "sum": 120.0, "min": 2.0, "max": 99.0}, (
            "one event says it all"
        )
        histogram.record(3)
        eventually(lambda: redis_view.latest["took"]["count"] == 13)
        (peak,) = [
            value["max"]
            for value in redis_view.values("took")
            if value["count"] == 13 and "max" in value
        ]
        assert peak == 3
        service.stop()


def test_counting_goes_on_while_redis_hangs_and_totals_are_exact(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url, metrics_every_s=OFTEN_S)
    counter = service.counter("n")
    eventually(lambda: service.stats().connected)
    assert own_valkey.pid is not None
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        for _ in range(100_000):
            counter.add()
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)
    with redis.Redis(port=own_valkey.address.port, protocol=2) as raw:
        eventually(lambda: MetricSight(raw, keys).latest.get("n") == 100_000)
    service.stop()


def test_a_timer_measures_blocks_and_functions_also_those_that_raise(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    timer = service.timer("sync")

    @timer
    def work(n: int, *, fail: bool = False) -> int:
        """Work."""
        time.sleep(0.02)
        if fail:
            raise LookupError
        return n

    with timer, timer:  # entered again while it is entered
        time.sleep(0.02)
    with pytest.raises(ZeroDivisionError), timer:
        _ = 1 / 0
    assert work(7) == 7
    assert (work.__name__, work.__doc__) == ("work", "Work.")
    with pytest.raises(LookupError):
        work(1, fail=True)
    eventually(lambda: metrics.latest.get("sync", {}).get("count") == 5)
    told = [value for value in metrics.values("sync") if "max" in value]
    assert 0.02 <= max(value["max"] for value in told) < 5
    assert min(value["min"] for value in told) < 0.02


async def test_tasks_that_take_turns_each_have_their_own_time(make_service: MakeService) -> None:
    timer = make_service().timer("sync")
    short_done = asyncio.Event()

    async def short() -> None:
        await asyncio.sleep(0.02)
        with timer:
            pass
        short_done.set()

    @timer
    async def long() -> str:
        await short_done.wait()
        return "done"

    async def around() -> None:
        with timer:
            await short_done.wait()

    _, answer, _ = await asyncio.gather(short(), long(), around())
    assert answer == "done"
    value: Any = timer.read()
    assert value.count == 3
    assert value.min < 0.01 <= 0.02 <= value.max


def test_timers_may_be_left_in_another_order_than_they_were_entered(
    make_service: MakeService,
) -> None:
    service = make_service()
    outer, inner = service.timer("outer"), service.timer("inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    values: list[Any] = [outer.read(), inner.read()]
    assert [value.count for value in values] == [1, 1]


def test_a_timer_left_where_it_was_not_entered_takes_no_time_and_does_not_raise(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    timer = make_service().timer("sync")
    timer.__exit__(None, None, None)
    value: Any = timer.read()
    assert value.count == 0
    assert "another context" in caplog.text


@pytest.mark.parametrize(
    "name",
    ["", "a b", "-a", "a" * 257, "ü", 'a{b="c}', "a{b}", 7, None, b"a", ["a"]],
    ids=lambda name: str(name)[:10],
)
def test_a_name_that_is_none_is_told_once_and_works_unsent(
    make_service: MakeService, metrics: MetricSight, caplog: pytest.LogCaptureFixture, name: Any
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    for _ in range(3):
        service.counter(name).add()
        service.timer(name).record(1)
    service.counter("good").add()
    eventually(lambda: metrics.latest.get("good") == 1)
    assert list(metrics.latest) == ["good"]
    (told,) = [
        record
        for record in caplog.records
        if record.name == "pulseboard.service" and record.levelname == "ERROR"
    ]
    assert "this metric is not sent" in told.message


def test_a_name_of_two_kinds_stays_what_it_was_first(
    make_service: MakeService, metrics: MetricSight, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    service.counter("n").add(3)
    for _ in range(2):
        service.gauge("n").set(99)
        service.histogram("n").record(99)
    with service.timer("n"):
        pass
    service.stop()
    assert metrics.latest == {"n": 3}
    assert len([record for record in caplog.records if "n is a counter" in record.message]) == 1


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "5", None, [1], 10**400, 1e300, object(), 1j]
)
def test_a_value_that_is_none_is_left_out_and_told_once(
    make_service: MakeService, metrics: MetricSight, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    for _ in range(2):
        service.counter("n").add(value)
        service.gauge("g").set(value)
        service.gauge("g").add(value)
        service.histogram("h").record(value)
    service.counter("n").add(-1)
    service.stop()
    assert metrics.latest == {"n": 0, "h": {"count": 0, "sum": 0.0}}
    assert caplog.text.count("the value was ignored") == 1


def test_numbers_of_other_libraries_are_numbers(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service()
    service.gauge("g").set(decimal.Decimal("1.5"))  # type: ignore[arg-type]
    service.counter("n").add(True)
    service.stop()
    assert metrics.latest == {"g": 1.5, "n": 1}


def test_names_without_end_are_bounded(make_service: MakeService, metrics: MetricSight) -> None:
    service = make_service()
    for n in range(MAX_METRICS + 100):
        service.counter(f"n{n}").add()
    service.stop()
    assert len(metrics.latest) == MAX_METRICS


def test_as_many_long_names_are_taken_as_fit_into_one_event(
    make_service: MakeService, metrics: MetricSight
) -> None:
    service = make_service()
    for n in range(MAX_METRICS):
        service.histogram(f"{n}".rjust(200, "x")).record(-1.2345678901234567e-10)
        service.counter(f"{n}".rjust(200, "y")).add(1.2345678901234567e10)
    service.stop()
    assert 100 < len(metrics.latest) < MAX_METRICS


def test_a_forked_child_counts_from_zero_as_an_instance_of_its_own(
    run_program: RunProgram, metrics: MetricSight
) -> None:
    host = run_program(
        """
        import os
        counter, histogram, gauge = service.start().counter("n"), service.histogram("h"), service.gauge("g")
        counter.add(100); histogram.record(100); gauge.set(100)
        if not (child := os.fork()):
            counter.add(1); histogram.record(1)
            assert counter is service.counter("n")
            service.update(n=1)
            service.stop()
            os._exit(0)
        os.waitpid(child, 0)
        service.stop()
        """
    )
    assert host.wait(20) == 0
    told: dict[str, list[dict[str, Any]]] = {}
    for event in metrics.events:
        told.setdefault(event["instance"], []).append(event["metrics"])
    parent, child = sorted(told.values(), key=lambda values: -values[-1]["n"])
    assert (parent[-1]["n"], parent[-1]["g"], parent[-1]["h"]["sum"]) == (100, 100, 100)
    assert child == [{"n": 1, "h": {"count": 1, "sum": 1.0, "min": 1.0, "max": 1.0}}]


def test_it_counts_on_over_stop_and_start(make_service: MakeService, metrics: MetricSight) -> None:
    service = make_service(metrics_every_s=OFTEN_S)
    service.counter("n").add()
    service.stop()
    service.counter("n").add()
    service.start()
    eventually(lambda: metrics.latest == {"n": 2})


def test_without_redis_it_counts_and_ends_in_time(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}", metrics_every_s=OFTEN_S)
    for _ in range(1_000):
        service.counter("n").add()
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 3
    assert service.counter("n").read() == 1_000


def test_a_redis_that_takes_no_metrics_still_gets_status_and_beats(
    make_service: MakeService,
    raw: redis.Redis,
    keys: Keys,
    redis_view: RedisView,
    metrics: MetricSight,
) -> None:
    raw.set(keys.latest_metrics, "not a hash")
    service = make_service(heartbeat_s=0.1, metrics_every_s=OFTEN_S)
    service.counter("n").add()
    service.update(n=1)
    eventually(lambda: redis_view.latest == {"n": 1})
    heartbeats = len(redis_view.heartbeats)
    eventually(lambda: len(redis_view.heartbeats) > heartbeats + 2)
    raw.delete(keys.latest_metrics)
    service.counter("n").add()
    eventually(lambda: raw.hlen(keys.latest_metrics) == 1)
    assert metrics.latest == {"n": 2}


@pytest.mark.parametrize("every_s", [0, -1, 0.01, 3_601, math.nan, "5", None, True])
def test_a_rhythm_that_cannot_be_is_refused(make_service: MakeService, every_s: Any) -> None:
    with pytest.raises(ConfigError):
        make_service(metrics_every_s=every_s)


def test_a_soft_time_limit_in_the_middle_of_measuring_is_the_hosts(
    run_program: RunProgram, metrics: MetricSight
) -> None:
    host = run_program(
        """
        import signal
        class TooLong(Exception): pass
        def handle(*_): raise TooLong
        signal.signal(signal.SIGALRM, handle)
        counter, histogram = service.start().counter("n"), service.histogram("h")
        done = caught = 0
        while caught < 200:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                while True:
                    counter.add(); histogram.record(1)
            except TooLong:
                caught += 1
        """
    )
    assert host.wait(50) == 0
    latest = metrics.latest
    assert 0 <= latest["n"] - latest["h"]["count"] <= 200
    assert latest["h"]["sum"] == latest["h"]["count"] > 0
