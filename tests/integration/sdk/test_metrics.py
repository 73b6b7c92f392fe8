"""Metrics are aggregated in the process and sent every few seconds.

They are bounded, and exact after any outage of Redis.
"""

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

INTERVAL_S = 0.05


class MetricView:
    """The metrics of `balance-sync` in Redis."""

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
def metrics(raw: redis.Redis, keys: Keys) -> MetricView:
    return MetricView(raw, keys)


def test_each_kind_is_sent_with_its_name_and_value(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(start=False, metrics_every_s=INTERVAL_S, instance="w-1")
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


def test_stop_does_not_publish_unchanged_metrics_again(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(start=False, instance="w-1")
    service.histogram("rows").record(3)
    service.counter("synced").add()
    service.start()
    eventually(lambda: metrics.events)
    service.stop()  # publishes the metrics that were not published before
    assert [event["metrics"]["synced"] for event in metrics.events] == [1]


def test_metrics_are_published_on_the_channel_and_kept_as_the_latest(
    make_service: MakeService, raw: redis.Redis, prefix: str, keys: Keys
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.subscribe(f"{prefix}metrics")
        pubsub.get_message(timeout=5)
        make_service(metrics_every_s=INTERVAL_S, instance="w-1").counter("synced")
        eventually(lambda: raw.hlen(keys.latest_metrics))
        published = pubsub.get_message(timeout=5)["data"]
    rows: Any = raw.xrange(keys.history("balance-sync", "metric"))
    ((id, kept),) = rows
    assert published == kept[b"data"][:-1] + b',"id":"%b"}' % id
    assert raw.hgetall(keys.latest_metrics) == {b"balance-sync/w-1": published}


def test_same_name_returns_the_same_instrument(make_service: MakeService) -> None:
    service = make_service()
    assert service.counter("synced") is service.counter("synced")
    assert service.timer("sync") is service.timer("sync")
    assert service.counter("synced") is not make_service("other").counter("synced")


def test_measurements_of_concurrent_threads_are_all_counted(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
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
    values = [value for value in metrics.values("h") if "max" in value]
    assert (min(value["min"] for value in values), max(value["max"] for value in values)) == (
        0,
        19_999,
    )


def test_signal_handler_counts_while_the_program_counts(
    run_program: RunProgram, metrics: MetricView
) -> None:
    program = run_program(
        """
        import signal
        counter, fives = service.start().counter("n"), service.counter("fives")
        timer = service.timer("t")
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
    assert program.wait(50) == 0
    latest = metrics.latest
    assert latest["handled"] > 0
    assert latest["n"] == 300_000 + latest["handled"]
    assert latest["fives"] == 5 * latest["n"]
    assert latest["t"]["count"] == latest["handled"]


def test_last_metrics_are_published_before_the_graceful_stop(
    make_service: MakeService, raw: redis.Redis, keys: Keys
) -> None:
    service = make_service()
    service.counter("synced").add(3)
    service.stop()
    rows: Any = raw.xrange(keys.feed)
    events = [(fields[b"kind"], json.loads(fields[b"data"])) for _, fields in rows]
    assert events[-1][1]["stopped"] is True
    assert [event["metrics"] for kind, event in events if kind == b"metric"] == [{"synced": 3}]


def test_unchanged_metrics_are_not_published_again(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
    unchanged, changing = service.gauge("unchanged"), service.counter("changing")
    unchanged.set(1)
    for _ in range(3):
        changing.add()
        eventually(lambda: metrics.latest.get("changing") == changing.read())
    count = len(metrics.events)
    time.sleep(INTERVAL_S * 5)
    assert len(metrics.events) == count


def test_peak_during_an_outage_is_published_exactly_once(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url, metrics_every_s=INTERVAL_S)
    histogram, counter = service.histogram("took"), service.counter("n")
    histogram.record(1)
    counter.add()
    with redis.Redis(port=own_valkey.address.port, protocol=2) as raw:
        eventually(lambda: MetricView(raw, keys).latest.get("n") == 1)
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
        redis_view = MetricView(raw, keys)
        eventually(lambda: redis_view.latest.get("n") == 11)
        after = [value for value in redis_view.values("took") if value["count"] > 1]
        assert after[0] == {"count": 12, "sum": 120.0, "min": 2.0, "max": 99.0}, (
            "one event has the totals and the extremes of the outage"
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


def test_counter_is_exact_after_redis_was_frozen(
    own_valkey: EmbeddedValkey, make_service: MakeService, keys: Keys
) -> None:
    service = make_service(redis_url=own_valkey.address.url, metrics_every_s=INTERVAL_S)
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
        eventually(lambda: MetricView(raw, keys).latest.get("n") == 100_000)
    service.stop()


def test_timer_measures_blocks_and_functions_that_return_or_raise(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
    timer = service.timer("sync")

    @timer
    def work(n: int, *, fail: bool = False) -> int:
        """Work."""
        time.sleep(0.02)
        if fail:
            raise LookupError
        return n

    with timer, timer:  # reentrant
        time.sleep(0.02)
    with pytest.raises(ZeroDivisionError), timer:
        _ = 1 / 0
    assert work(7) == 7
    assert (work.__name__, work.__doc__) == ("work", "Work.")
    with pytest.raises(LookupError):
        work(1, fail=True)
    eventually(lambda: metrics.latest.get("sync", {}).get("count") == 5)
    values = [value for value in metrics.values("sync") if "max" in value]
    assert 0.02 <= max(value["max"] for value in values) < 5
    assert min(value["min"] for value in values) < 0.02


async def test_timer_measures_interleaved_tasks_separately(make_service: MakeService) -> None:
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

    async def block() -> None:
        with timer:
            await short_done.wait()

    _, answer, _ = await asyncio.gather(short(), long(), block())
    assert answer == "done"
    value: Any = timer.read()
    assert value.count == 3
    assert value.min < 0.01 <= 0.02 <= value.max


def test_timers_may_be_exited_in_any_order(
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


def test_timer_exited_without_being_entered_is_ignored_with_a_warning(
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
def test_invalid_metric_name_is_logged_once_and_not_sent(
    make_service: MakeService, metrics: MetricView, caplog: pytest.LogCaptureFixture, name: Any
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
    for _ in range(3):
        service.counter(name).add()
        service.timer(name).record(1)
    service.counter("good").add()
    eventually(lambda: metrics.latest.get("good") == 1)
    assert list(metrics.latest) == ["good"]
    (error,) = [
        record
        for record in caplog.records
        if record.name == "pulseboard.service" and record.levelname == "ERROR"
    ]
    assert "this metric is not sent" in error.message


def test_name_used_for_two_kinds_keeps_the_first(
    make_service: MakeService, metrics: MetricView, caplog: pytest.LogCaptureFixture
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
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
def test_invalid_value_is_ignored_and_logged_once(
    make_service: MakeService, metrics: MetricView, caplog: pytest.LogCaptureFixture, value: Any
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
    for _ in range(2):
        service.counter("n").add(value)
        service.gauge("g").set(value)
        service.gauge("g").add(value)
        service.histogram("h").record(value)
    service.counter("n").add(-1)
    service.stop()
    assert metrics.latest == {"n": 0, "h": {"count": 0, "sum": 0.0}}
    assert caplog.text.count("the value was ignored") == 1


def test_other_numeric_types_are_accepted(make_service: MakeService, metrics: MetricView) -> None:
    service = make_service()
    service.gauge("g").set(decimal.Decimal("1.5"))  # type: ignore[arg-type]
    service.counter("n").add(True)
    service.stop()
    assert metrics.latest == {"g": 1.5, "n": 1}


def test_number_of_metrics_is_bounded(make_service: MakeService, metrics: MetricView) -> None:
    service = make_service()
    for n in range(MAX_METRICS + 100):
        service.counter(f"n{n}").add()
    service.stop()
    assert len(metrics.latest) == MAX_METRICS


def test_long_names_are_accepted_while_they_fit_into_one_event(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service()
    for n in range(MAX_METRICS):
        service.histogram(f"{n}".rjust(200, "x")).record(-1.2345678901234567e-10)
        service.counter(f"{n}".rjust(200, "y")).add(1.2345678901234567e10)
    service.stop()
    assert 100 < len(metrics.latest) < MAX_METRICS


def test_forked_child_counts_from_zero_as_its_own_instance(
    run_program: RunProgram, metrics: MetricView
) -> None:
    program = run_program(
        """
        import os
        counter, histogram = service.start().counter("n"), service.histogram("h")
        gauge = service.gauge("g")
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
    assert program.wait(20) == 0
    by_instance: dict[str, list[dict[str, Any]]] = {}
    for event in metrics.events:
        by_instance.setdefault(event["instance"], []).append(event["metrics"])
    parent, child = sorted(by_instance.values(), key=lambda values: -values[-1]["n"])
    assert (parent[-1]["n"], parent[-1]["g"], parent[-1]["h"]["sum"]) == (100, 100, 100)
    assert child == [{"n": 1, "h": {"count": 1, "sum": 1.0, "min": 1.0, "max": 1.0}}]


def test_counter_continues_after_stop_and_start(
    make_service: MakeService, metrics: MetricView
) -> None:
    service = make_service(metrics_every_s=INTERVAL_S)
    service.counter("n").add()
    service.stop()
    service.counter("n").add()
    service.start()
    eventually(lambda: metrics.latest == {"n": 2})


def test_service_without_redis_counts_and_stops_in_time(make_service: MakeService) -> None:
    service = make_service(redis_url=f"redis://127.0.0.1:{free_port()}", metrics_every_s=INTERVAL_S)
    for _ in range(1_000):
        service.counter("n").add()
    started = time.monotonic()
    service.stop()
    assert time.monotonic() - started < 3
    assert service.counter("n").read() == 1_000


def test_redis_that_refuses_metrics_receives_status_and_heartbeats(
    make_service: MakeService,
    raw: redis.Redis,
    keys: Keys,
    redis_view: RedisView,
    metrics: MetricView,
) -> None:
    raw.set(keys.latest_metrics, "not a hash")
    service = make_service(heartbeat_s=0.1, metrics_every_s=INTERVAL_S)
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
def test_invalid_metric_interval_raises_config_error(
    make_service: MakeService, every_s: Any
) -> None:
    with pytest.raises(ConfigError):
        make_service(metrics_every_s=every_s)


def test_soft_time_limit_during_a_measurement_reaches_the_program(
    run_program: RunProgram, metrics: MetricView
) -> None:
    program = run_program(
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
    assert program.wait(50) == 0
    latest = metrics.latest
    assert 0 <= latest["n"] - latest["h"]["count"] <= 200
    assert latest["h"]["sum"] == latest["h"]["count"] > 0
