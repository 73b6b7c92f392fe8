"""Metrics through a real server: streamed, the latest of a service, and charts from history."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from tests.support.server import Server, eventually

from pulseboard import Service
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys

MetricsPublisher = Callable[..., None]


@pytest.fixture
def publish_metrics(raw: redis.Redis, prefix: str) -> MetricsPublisher:
    """Publish external metrics, as a program without the SDK does."""

    def publish(metrics: dict[str, Any], *, service: str = "report", **more: Any) -> None:
        raw.publish(f"{prefix}metrics", json.dumps({"service": service, "metrics": metrics} | more))

    return publish


@pytest.fixture
def put_past_metrics(raw: redis.Redis, keys: Keys) -> Callable[..., None]:
    """Write metrics into the history of `report`, with the given time (ms)."""

    def put(at_ms: int, metrics: dict[str, Any], *, instance: str = "w-1", **more: Any) -> None:
        event = {"service": "report", "instance": instance, "metrics": metrics} | more
        raw.xadd(keys.history("report", "metric"), {"data": json.dumps(event)}, id=f"{at_ms}-*")

    return put


async def test_external_metrics_are_streamed_with_their_time_and_id(
    server: Server, publish_metrics: MetricsPublisher
) -> None:
    async with await server.open("/api/stream?kinds=metric") as stream:
        assert (await stream.next()).event == "board"
        publish_metrics({"duration": 123})
        metric = await stream.until(lambda message: message.event == "metric")
        publish_metrics(
            {"n": 5, "h": {"count": 1, "sum": 2}},
            kinds={"n": "counter"},
            instance="w-1",
            timestamp=7,
        )
        other = await stream.until(lambda message: message.event == "metric")
    assert metric.id is not None
    at = int(metric.id.split("-")[0])
    assert metric.data == {
        "service": "report",
        "instance": "",
        "timestamp": at,
        "metrics": {"duration": 123},
    }
    assert other.data == {
        "service": "report",
        "instance": "w-1",
        "timestamp": 7,
        "metrics": {"n": 5, "h": {"count": 1, "sum": 2.0}},
        "kinds": {"n": "counter"},
    }


async def test_stream_of_other_kinds_or_services_has_no_metrics_of_the_service(
    server: Server, publish_metrics: MetricsPublisher
) -> None:
    async with (
        await server.open("/api/stream?kinds=status,metric&services=other") as others,
        await server.open("/api/stream?kinds=log") as logs,
        await server.open("/api/services/status/stream") as status_stream,
    ):
        for stream in (others, logs, status_stream):
            await stream.next()
        publish_metrics({"n": 1})
        publish_metrics({"n": 2}, service="other")
        assert (await others.until(lambda message: message.event == "metric")).data[
            "service"
        ] == "other"
        server.runtime.hub.close("the test ends the streams")
        for stream in (logs, status_stream):
            assert not [message for message in await stream.rest() if message.event == "metric"]


async def test_latest_value_of_each_metric_is_listed_by_instance(
    server: Server, publish_metrics: MetricsPublisher
) -> None:
    publish_metrics({"duration": 1, "n": 1}, kinds={"n": "counter"})
    publish_metrics({"duration": 123, "n": 2}, kinds={"n": "counter"})
    publish_metrics({"duration": 7}, instance="w-1")
    publish_metrics({"other": 1}, service="report-2")

    def metrics() -> Any:
        return server.get("/api/services/report/metrics").json()["metrics"]

    await eventually(
        lambda: sum(len(metric["instances"]) for metric in metrics()) == 3 and metrics()
    )
    await eventually(lambda: server.get("/api/services/report-2/metrics").json().get("metrics", []))
    duration, n = metrics()
    assert (duration["name"], duration["kind"]) == ("duration", "gauge")
    assert [(each["instance"], each["value"]) for each in duration["instances"]] == [
        ("", 123),
        ("w-1", 7),
    ]
    assert (n["name"], n["kind"], n["instances"][0]["value"]) == ("n", "counter", 2)
    assert n["instances"][0]["at"] > 1_700_000_000_000


async def test_chart_is_down_sampled_by_instance_and_keeps_the_peak(
    server: Server, put_past_metrics: Callable[..., None]
) -> None:
    for n in range(1_000):
        put_past_metrics(1_000_000 + n * 100, {"load": 99 if n == 777 else n % 10}, instance="w-1")
        if n % 2:
            put_past_metrics(1_000_050 + n * 100, {"load": 5}, instance="w-2")
    chart = server.get("/api/services/report/metrics?name=load&points=50").json()
    assert (chart["name"], chart["kind"], chart["truncated"]) == ("load", "gauge", False)
    assert (chart["from"], chart["to"]) == (1_000_000, 1_099_950)
    first, second = chart["series"]
    assert (first["instance"], second["instance"]) == ("w-1", "w-2")
    assert len(first["points"]) == len(second["points"]) == 50
    assert max(point[2] for point in first["points"]) == 99
    (peak,) = [point for point in first["points"] if point[2] == 99]
    assert peak[0] <= 1_077_700 < peak[0] + 2_000
    assert {tuple(point[1:]) for point in second["points"]} == {(5, 5, 5)}


async def test_chart_of_a_counter_has_its_rate_from_the_start_of_the_range(
    server: Server, put_past_metrics: Callable[..., None]
) -> None:
    for n, total in enumerate((0, 50, 100, 10)):
        put_past_metrics(1_000_000 + n * 5_000, {"n": total}, kinds={"n": "counter"})
    chart = server.get("/api/services/report/metrics?name=n&from=1005000&to=1015000").json()
    assert chart["kind"] == "counter"
    (series,) = chart["series"]
    assert [point[1] for point in series["points"]] == [10.0, 10.0, 2.0]


async def test_chart_is_limited_to_the_requested_range(
    server: Server, put_past_metrics: Callable[..., None]
) -> None:
    for n in range(10):
        put_past_metrics(1_000_000 + n * 1_000, {"load": n})
    chart = server.get(
        "/api/services/report/metrics?name=load&from=1002000&to=1970-01-01T00:16:45Z"
    ).json()
    assert [point[1] for point in chart["series"][0]["points"]] == [2, 3, 4, 5]
    assert (chart["from"], chart["to"]) == (1_002_000, 1_005_000)
    empty = server.get("/api/services/report/metrics?name=load&from=5000000").json()
    assert empty["series"] == []
    assert server.get("/api/services/report/metrics?name=none").json()["series"] == []


async def test_chart_of_a_history_above_the_scan_limit_is_marked_as_truncated(
    server: Server, put_past_metrics: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.history.reader.SCAN_MAX_ENTRIES", 200)
    for n in range(300):
        put_past_metrics(1_000_000 + n, {"load": n})
    chart = server.get("/api/services/report/metrics?name=load&points=2000").json()
    assert chart["truncated"] is True
    assert [point[1] for point in chart["series"][0]["points"]] == list(range(100, 300))


async def test_chart_has_the_values_that_the_sdk_recorded(
    server: Server, address: RedisAddress, namespace: str, prefix: str
) -> None:
    options: dict[str, Any] = {
        "redis_url": address.url,
        "namespace": namespace,
        "channel_prefix": prefix,
    }
    with Service("report", instance="w-1", metrics_every_s=0.05, **options) as service:
        for value in (1, 50, 2):
            service.histogram("took").record(value)
        await eventually(
            lambda: server.get("/api/services/report/metrics?name=took").json().get("series", [])
        )
        chart = server.get("/api/services/report/metrics?name=took").json()
        assert max(point[2] for point in chart["series"][0]["points"]) == 50
        assert chart["kind"] == "histogram"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("name=a%20b", "bad-metric"),
        ("name=", "bad-metric"),
        ("name=x&from=yesterday", "bad-time"),
        ("name=x&from=-5", "bad-time"),
        ("name=x&from=2000&to=1000", "bad-time"),
        ("to=", "bad-time"),
        ("name=x&points=0", "bad-parameter"),
        ("name=x&points=-1", "bad-parameter"),
        ("name=x&points=2001", "bad-parameter"),
        ("name=x&points=many", "bad-parameter"),
    ],
)
async def test_invalid_query_is_answered_with_a_problem(
    server: Server, query: str, code: str
) -> None:
    answer = server.get(f"/api/services/report/metrics?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json()["code"] == code
    assert server.get("/api/services/Report/metrics").json()["code"] == "bad-name"


async def test_incident_keeps_the_last_metrics_of_the_lost_instance(
    server: Server, raw: redis.Redis, prefix: str, publish_metrics: MetricsPublisher
) -> None:
    publish_metrics({"duration": 123, "h": {"count": 1, "sum": 2}}, instance="w-1")
    await eventually(lambda: server.get("/api/services/report/metrics").json().get("metrics", []))
    update = {
        "service": "report",
        "instance": "w-1",
        "timestamp": 1,
        "status": {},
        "heartbeat_s": 0.1,
    }
    raw.publish(f"{prefix}report", json.dumps(update))
    raw.publish(f"{prefix}quiet", json.dumps(update | {"service": "quiet"}))
    await eventually(lambda: len(server.get("/api/incidents").json()["incidents"]) == 2)
    metrics_of_incidents = {
        each["service"]: each["metrics"]
        for each in server.get("/api/incidents").json()["incidents"]
    }
    assert metrics_of_incidents == {
        "report": {"duration": 123, "h": {"count": 1, "sum": 2.0}},
        "quiet": None,
    }
