"""`GET /metrics`: the exposition, checked with promtool and the parser of the Prometheus client."""

import json
import math
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.examples import examples
from tests.support.server import EXPECTED, ServeFixture, Server, eventually
from tests.support.valkey import run_valkey

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.history.latest_metrics import InstanceMetrics
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.server.api.prometheus import FamilyCollector
from pulseboard.server.api.prometheus_families import make_families
from pulseboard.wire.cursor import Cursor
from pulseboard.wire.events.metric import LARGEST, Distribution, MetricEvent, check_metric_name

LOCAL_PROMTOOL = Path(__file__).parents[4] / ".venv" / "bin" / "promtool"

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture(scope="session")
def promtool() -> str:
    """The promtool of Prometheus; without it the test is skipped locally and fails in CI."""
    found = shutil.which("promtool") or (str(LOCAL_PROMTOOL) if LOCAL_PROMTOOL.is_file() else None)
    if found is None:
        assert os.environ.get("CI") != "true", "no promtool"
        pytest.skip("no promtool")
    return found


def check_format(promtool: str, text: bytes) -> str:
    """Return the objections of promtool, empty if there are none."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, timeout=30, check=False
    )
    objections = (done.stdout + done.stderr).decode()
    assert done.returncode == 0 or objections
    return objections


def parse(text: str) -> dict[Sample, float]:
    """Return every sample by its name and labels, each of which must be unique."""
    found: dict[Sample, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def scrape(server: Server) -> dict[Sample, float]:
    answer = server.get("/metrics")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.text)


def sample_key(name: str, /, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def samples_of(samples: dict[Sample, float], name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {labels: value for (each, labels), value in samples.items() if each == name}


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    """Run a Valkey that the test may stop and freeze."""
    with run_valkey() as server:
        yield server


MetricsPublisher = Callable[..., None]


@pytest.fixture
def publish_metrics(raw: redis.Redis, prefix: str) -> MetricsPublisher:
    def publish(metrics: dict[str, Any], *, service: str = "report", **more: Any) -> None:
        raw.publish(f"{prefix}metrics", json.dumps({"service": service, "metrics": metrics} | more))

    return publish


async def test_latest_values_of_every_instance_are_exported_and_pass_promtool(
    server: Server,
    address: RedisAddress,
    namespace: str,
    prefix: str,
    publish_metrics: MetricsPublisher,
    promtool: str,
) -> None:
    options: dict[str, Any] = {
        "redis_url": address.url,
        "namespace": namespace,
        "channel_prefix": prefix,
    }
    with (
        Service("balance-sync", instance="w-1", metrics_every_s=0.05, **options) as one,
        Service("balance-sync", instance="w-2", metrics_every_s=0.05, **options) as two,
    ):
        one.counter("accounts.synced").add(7)
        one.gauge("queueDepth").set(3)
        one.timer("sync").record(1.5)
        two.counter("accounts.synced").add(2)
        two.counter('http_requests_total{route="/x",le="1"}').add(5)
        two.log("error", "no")
        publish_metrics({"duration": 123})
        publish_metrics({"duration_ms": 5, "days": 1}, service="other")
        labels_of_one = {"service": "balance-sync", "instance": "w-1"}
        await eventually(
            lambda: len(samples_of(scrape(server), "pulseboard_service_accounts_synced_total")) == 2
        )
        await eventually(lambda: samples_of(scrape(server), "pulseboard_service_duration"))
        await eventually(lambda: samples_of(scrape(server), "pulseboard_service_other"))
        await eventually(lambda: samples_of(scrape(server), "pulseboard_log_lines_total"))
        await eventually(
            lambda: samples_of(scrape(server), "pulseboard_service_http_requests_total")
        )
        await eventually(lambda: samples_of(scrape(server), "pulseboard_service_sync_sum"))
        samples = scrape(server)
        assert not check_format(promtool, server.get("/metrics").content)
    assert samples[sample_key("pulseboard_service_accounts_synced_total", **labels_of_one)] == 7
    assert samples[sample_key("pulseboard_service_queue_depth", **labels_of_one)] == 3
    assert samples[sample_key("pulseboard_service_sync_count", **labels_of_one)] == 1
    assert samples[sample_key("pulseboard_service_sync_sum", **labels_of_one)] == 1.5
    labels_of_two = {"service": "balance-sync", "instance": "w-2", "route": "/x", "label_le": "1"}
    assert samples[sample_key("pulseboard_service_http_requests_total", **labels_of_two)] == 5
    assert samples[sample_key("pulseboard_service_duration", service="report", instance="")] == 123
    for name, value in (("duration_ms", 5), ("days", 1)):
        assert (
            samples[sample_key("pulseboard_service_other", service="other", instance="", name=name)]
            == value
        )
    assert (
        samples[sample_key("pulseboard_log_lines_total", service="balance-sync", level="error")]
        == 1
    )
    assert samples[sample_key("pulseboard_instances", state="alive")] == 2
    assert samples[sample_key("pulseboard_instances", state="missing")] == len(EXPECTED) - 1


async def test_metrics_of_stopped_and_lost_instances_disappear(
    server: Server,
    raw: redis.Redis,
    address: RedisAddress,
    namespace: str,
    prefix: str,
    publish_metrics: MetricsPublisher,
) -> None:
    options: dict[str, Any] = {
        "redis_url": address.url,
        "namespace": namespace,
        "channel_prefix": prefix,
    }
    service = Service("balance-sync", instance="w-1", metrics_every_s=0.05, **options).start()
    service.gauge("load").set(1)
    update = {
        "service": "report",
        "instance": "w-9",
        "timestamp": 1,
        "status": {},
        "heartbeat_s": 0.4,
    }
    publish_metrics({"load": 2}, instance="w-9")
    raw.publish(f"{prefix}report", json.dumps(update))
    publish_metrics({"load": 3}, service="external")

    def loads() -> list[float]:
        return sorted(samples_of(scrape(server), "pulseboard_service_load").values())

    await eventually(lambda: loads() == [1, 2, 3])
    await eventually(lambda: loads() == [1, 3])  # w-9 sent no heartbeat and is lost
    service.stop()
    await eventually(lambda: loads() == [3])


async def test_metrics_of_an_instance_that_left_the_board_disappear(
    server: Server, raw: redis.Redis, address: RedisAddress, namespace: str, prefix: str
) -> None:
    options: dict[str, Any] = {
        "redis_url": address.url,
        "namespace": namespace,
        "channel_prefix": prefix,
    }
    first = Service("balance-sync", instance="w-1", metrics_every_s=0.05, **options).start()
    first.gauge("load").set(1)
    await eventually(lambda: samples_of(scrape(server), "pulseboard_service_load"))
    first.stop(back_in_s=60)
    with Service("balance-sync", instance="w-2", **options):
        await eventually(
            lambda: server.get("/api/services/balance-sync/metrics").json() == {"metrics": []}
        )
        assert not samples_of(scrape(server), "pulseboard_service_load")


async def test_without_redis_only_metrics_of_the_server_are_exported(
    serve: ServeFixture, own_valkey: EmbeddedValkey, promtool: str
) -> None:
    server = serve(own_valkey.address)
    await eventually(server.is_ready)
    samples = scrape(server)
    assert (
        samples[sample_key("pulseboard_redis_up")],
        samples[sample_key("pulseboard_blind")],
    ) == (1, 0)
    assert samples[sample_key("pulseboard_ready")] == 1
    own_valkey.stop()
    await eventually(lambda: scrape(server)[sample_key("pulseboard_redis_up")] == 0)
    await eventually(lambda: scrape(server)[sample_key("pulseboard_blind")] == 1)
    samples = scrape(server)
    assert samples[sample_key("pulseboard_ready")] == 0
    assert samples[sample_key("pulseboard_clients")] == 0
    assert samples[sample_key("pulseboard_tasks")] > 3
    assert samples[sample_key("pulseboard_instances", state="unknown")] == len(EXPECTED)
    assert not check_format(promtool, server.get("/metrics").content)


async def test_hanging_redis_is_reported_as_down_within_the_time_limit(
    serve: ServeFixture, own_valkey: EmbeddedValkey
) -> None:
    server = serve(own_valkey.address)
    await eventually(server.is_ready)
    assert own_valkey.pid is not None
    os.kill(own_valkey.pid, signal.SIGSTOP)
    try:
        assert scrape(server)[sample_key("pulseboard_redis_up")] == 0
    finally:
        os.kill(own_valkey.pid, signal.SIGCONT)


async def test_dropped_messages_are_counted_by_reason(
    server: Server, publish_metrics: MetricsPublisher, raw: redis.Redis
) -> None:
    publish_metrics({"a b": 1})
    publish_metrics({"n": "5"})
    publish_metrics({"good": 1})
    await eventually(lambda: samples_of(scrape(server), "pulseboard_service_good"))
    samples = scrape(server)
    assert samples[sample_key("pulseboard_dropped_messages_total", reason="bad-name")] == 1
    assert samples[sample_key("pulseboard_dropped_messages_total", reason="wrong-type")] == 1
    assert samples[sample_key("pulseboard_dropped_messages_total", reason="too-deep")] == 0


async def test_only_get_and_head_are_allowed(server: Server) -> None:
    assert server.request("HEAD", "/metrics").status_code == 200
    assert server.request("POST", "/metrics").status_code == 405


def expose(*events: MetricEvent) -> bytes:
    return generate_latest(
        FamilyCollector(
            make_families(InstanceMetrics(Cursor(1, n), event) for n, event in enumerate(events))
        )
    )


def test_metrics_with_colliding_names_get_separate_families(promtool: str) -> None:
    text = expose(
        MetricEvent("a", {"x.y": 1, "x_y": 2, "x": 3, "other": 9}),
        MetricEvent(
            "b", {"x.y": 4, "x": 5, "x_total": 6}, kinds={"x": "counter", "x_total": "counter"}
        ),
        MetricEvent(
            "c", {"x": Distribution(1, 2.0), "x_count": 7, 'x{a.b="1"}': 8, 'x{a_b="1"}': 8}
        ),
    )
    assert not check_format(promtool, text)
    values = sorted(value for value in parse(text.decode()).values())
    assert {1, 2, 3, 4, 5, 6, 7, 8, 9} <= set(values)


def test_distribution_without_buckets_gets_only_the_infinite_bucket(promtool: str) -> None:
    text = expose(
        MetricEvent("a", {"took": Distribution(3, 6.0, 1.0, 3.0, [(0.5, 0), (2.0, 2)])}),
        MetricEvent("b", {"took": Distribution(4, 8.0)}),
    )
    assert not check_format(promtool, text)
    samples = parse(text.decode())
    assert (
        samples[sample_key("pulseboard_service_took_bucket", service="a", instance="", le="2.0")]
        == 2
    )
    assert (
        samples[sample_key("pulseboard_service_took_bucket", service="a", instance="", le="+Inf")]
        == 3
    )
    assert (
        samples[sample_key("pulseboard_service_took_bucket", service="b", instance="", le="+Inf")]
        == 4
    )


NAME_PARTS = """
x X xY total count sum bucket info created ms s milliseconds bits kilobytes gauge Counter
histogram summary other events distribution service instance le quantile name 1 _ - / : . __
a.b aB HTTPServer days pounds ns
"""
name_parts = st.sampled_from(NAME_PARTS.split())
names = st.lists(name_parts, min_size=1, max_size=4).map("".join) | st.lists(
    name_parts, min_size=1, max_size=4
).map("_".join)
labels = st.lists(name_parts, min_size=1, max_size=2, unique=True).map(
    lambda keys: "{" + ",".join(f'{key}="v\\"\\n"' for key in keys) + "}"
)


def is_name(name: str) -> bool:
    try:
        check_metric_name(name)
    except ValueError:
        return False
    return True


metric_names = st.builds(str.__add__, names, st.just("") | labels).filter(is_name)
metric_values = (
    st.floats(-LARGEST, LARGEST)
    | st.integers(-(2**60), 2**60)
    | st.builds(Distribution, st.integers(0, 99), st.floats(-1e9, 1e9))
    | st.builds(
        lambda count: Distribution(count, 1.0, 0.5, 2.0, [(0.5, 0), (1.5, count)]),
        st.integers(0, 99),
    )
)


@settings(deadline=None, max_examples=examples(60))  # each example runs promtool
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.dictionaries(metric_names, st.tuples(metric_values, st.booleans()), max_size=6),
            st.sampled_from(["", "w-1", 'q"\\']),
        ),
        max_size=3,
        unique_by=lambda each: (each[0], each[2]),
    )
)
def test_promtool_accepts_every_valid_metric_name(
    promtool: str, published: list[tuple[str, dict[str, tuple[Any, bool]], str]]
) -> None:
    events = [
        MetricEvent(
            service,
            {name: value for name, (value, _) in metrics.items()},
            instance,
            kinds={name: "counter" for name, (_, counts) in metrics.items() if counts},
        )
        for service, metrics, instance in published
    ]
    text = expose(*events)
    assert not check_format(promtool, text)
    assert all(math.isfinite(value) for value in parse(text.decode()).values())
