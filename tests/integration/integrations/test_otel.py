"""Metrics that a host application records with OpenTelemetry's SDK are published."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.integrations.otel import PulseboardMetricExporter


@pytest.fixture
def service(address: RedisAddress, namespace: str, prefix: str) -> Service:
    """A service that is not started, so that it sends nothing before all is measured."""
    return Service("report", redis_url=address.url, namespace=namespace, channel_prefix=prefix)


@pytest.fixture
def provider(service: Service) -> Iterator[MeterProvider]:
    """A provider that exports only when `force_flush` or `shutdown` is called."""
    reader = PeriodicExportingMetricReader(
        PulseboardMetricExporter(service), export_interval_millis=1e9
    )
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


def published_event(service: Service, raw: redis.Redis, keys: Keys) -> dict[str, Any]:
    """Start and stop the service; return the first metric event that it publishes."""
    with service:
        pass
    rows: Any = raw.xrange(keys.history("report", "metric"), count=1)
    event: dict[str, Any] = json.loads(rows[0][1][b"data"])
    return event


def test_each_kind_of_instrument_is_published_with_its_kind(
    provider: MeterProvider, service: Service, raw: redis.Redis, keys: Keys
) -> None:
    meter = provider.get_meter("tests")
    requests = meter.create_counter("http.requests")
    open_now = meter.create_up_down_counter("open")
    took = meter.create_histogram("took")
    level = meter.create_gauge("level")

    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(21.5, {"room": "a"}), Observation(19, {"room": "b"})]

    meter.create_observable_gauge("temperature", [observe])
    for value in (3, 1, 2):
        requests.add(value, {"route": "/x", "ok": True})
        took.record(value)
    open_now.add(5)
    open_now.add(-2)
    level.set(7)
    provider.force_flush()
    requests.add(1, {"route": "/x", "ok": True})
    requests.add(10)
    took.record(100)
    open_now.add(-1)
    provider.force_flush()
    event = published_event(service, raw, keys)
    assert event["metrics"] == {
        'http.requests{ok="true",route="/x"}': 7,
        "http.requests": 10,
        "open": 2,
        "took": {"count": 4, "sum": 106.0, "min": 1.0, "max": 100.0},
        "level": 7,
        'temperature{room="a"}': 21.5,
        'temperature{room="b"}': 19,
    }
    assert event["kinds"] == {
        'http.requests{ok="true",route="/x"}': "counter",
        "http.requests": "counter",
    }


def test_attributes_of_any_type_become_valid_metric_names(
    provider: MeterProvider, service: Service, raw: redis.Redis, keys: Keys
) -> None:
    counter = provider.get_meter("tests").create_counter("n")
    counter.add(1, {"9 lives/é": 'a"b\\c\nd\te', "tags": ["x", "y"]})
    provider.force_flush()
    assert published_event(service, raw, keys)["metrics"] == {
        'n{_9_lives__="a\\"b\\\\c\\nd e",tags="x,y"}': 1
    }


def test_last_measurement_is_published_when_the_provider_shuts_down(
    provider: MeterProvider, service: Service, raw: redis.Redis, keys: Keys
) -> None:
    provider.get_meter("tests").create_counter("n").add(3)
    provider.shutdown()
    assert published_event(service, raw, keys)["metrics"] == {"n": 3}
