"""External messages: valid ones are ingested whole, invalid ones dropped with a reason."""

import json
import logging
from typing import Any

import pytest
import redis
from tests.support.bus import (
    eventually,
    external_message,
    history,
    ingesting,
    publish,
    wait_until_ingested,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.keys import Keys
from pulseboard.bus.rejections import Rejections


@pytest.mark.parametrize(
    "id", ["10-20.5", "99999999999999999999-0", "1-99999999999999999999", "10", "10-20-30", 7, None]
)
async def test_message_with_an_id_that_is_not_a_feed_id_is_ingested(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, id: Any
) -> None:
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        publish(
            raw,
            prefix,
            json.dumps(
                json.loads(external_message(1)) | {"id": id}, separators=(",", ":")
            ).encode(),
        )
        publish(raw, prefix, json.dumps({"id": id} | json.loads(external_message(2))).encode())
        await wait_until_ingested(raw, keys, prefix)
    assert (history(raw, keys), dict(rejections.counts)) == ([{"n": 1}, {"n": 2}], {})


@pytest.mark.parametrize(
    ("id", "ingested"),
    [("10-20.5", 0), ("10-20", 0), ("10-20.x", 2), ("10-20.", 2), ("10.5-20", 2)],
)
async def test_log_line_with_the_id_of_a_feed_entry_and_line_number_is_not_ingested(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, id: str, ingested: int
) -> None:
    async with ingesting(address, keys, prefix):
        raw.publish(f"{prefix}logs", log_message(id=id).replace(" ", ""))
        raw.publish(f"{prefix}logs", json.dumps({"id": id} | json.loads(log_message())))
        await wait_until_ingested(raw, keys, prefix)
    assert raw.xlen(keys.history("report", "log")) == ingested


async def test_external_status_may_name_its_instance_and_heartbeat_interval(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        publish(raw, prefix, external_message(instance="w-9", heartbeat_s=5))
        await wait_until_ingested(raw, keys, prefix)
        stamped: Any = raw.hget(keys.board, "balance-sync/w-9")
        assert json.loads(stamped)["heartbeat_s"] == 5


BAD = {
    "not JSON": (b"hello", "malformed"),
    "not UTF-8": (b"\xff\xfe\x00", "malformed"),
    "empty": (b"", "malformed"),
    "a list": (b"[]", "wrong-type"),
    "status is text": (external_message(status="running"), "wrong-type"),
    "timestamp is text": (external_message(timestamp="now"), "wrong-type"),
    "a timestamp beyond all dates": (
        b'{"service":"balance-sync","timestamp":1e308,"status":{}}',
        "wrong-type",
    ),
    "1 MB": (external_message(status={"a": "x" * 1_000_000}), "too-large"),
    "a raw NUL": (b'{"service":"balance-sync","timestamp":1,"status":{"a":"\x00"}}', "malformed"),
    "raw line breaks": (
        b'{"service":"balance-sync","timestamp":1,"status":{"a":"\r\n"}}',
        "malformed",
    ),
    "100,000 levels": (b'{"a":' * 100_000, "too-large"),
    "10,000 levels": (
        b'{"service":"balance-sync","timestamp":1,"status":' + b'{"a":' * 10_000,
        "too-deep",
    ),
    "33 levels": (external_message(status={"a": json.loads("[" * 31 + "]" * 31)}), "too-deep"),
    "another service": (external_message(service="account-discovery"), "channel-mismatch"),
    "lone surrogate": (
        b'{"service":"balance-sync","timestamp":1,"status":{"a":"\\ud800"}}',
        "malformed",
    ),
    "an instance with a slash": (external_message(instance="a/b"), "bad-name"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_message_is_dropped_counted_and_logged_once_and_the_next_is_ingested(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    payload, reason = BAD[name]
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections) as (ingestor,):
        for _ in range(5):
            publish(raw, prefix, payload)
        await wait_until_ingested(raw, keys, prefix)
        assert dict(rejections.counts) == {reason: 5}
        assert raw.xlen(keys.feed) == 1
        (warning,) = [record for record in caplog.records if record.name == "pulseboard.rejections"]
        assert warning.levelno == logging.WARNING
        assert reason in warning.message
        assert len(warning.message) < 500
        assert warning.message.isprintable()
        assert ingestor.subscribed.is_set()


@pytest.mark.parametrize("channel", ["UPPER", "", "a b", "\xff", "a\r\nb", "x" * 1_000])
async def test_message_on_a_channel_without_a_valid_service_name_is_dropped(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    channel: str,
) -> None:
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        raw.publish(prefix.encode() + channel.encode("latin-1"), external_message(service=channel))
        await wait_until_ingested(raw, keys, prefix)
        assert dict(rejections.counts) == {"bad-name": 1}
        assert raw.xlen(keys.feed) == 1
        (warning,) = [record for record in caplog.records if record.name == "pulseboard.rejections"]
        assert warning.message.isprintable()


def log_message(**members: Any) -> str:
    """Return an external log line of the service `report` as JSON."""
    return json.dumps({"service": "report", "level": "INFO", "message": "hello"} | members)


async def test_external_log_line_is_in_feed_and_history_once_for_any_number_of_servers(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 3):
        raw.publish(f"{prefix}logs", log_message(user=7, timestamp=1_765_584_000_000))
        raw.publish(f"{prefix}logs", log_message(level="WARN"))
        await eventually(lambda: raw.xlen(keys.history("report", "log")) == 2)
        await wait_until_ingested(raw, keys, prefix)
    rows: Any = raw.xrange(keys.feed)
    logs = [json.loads(fields[b"data"]) for _, fields in rows if fields[b"kind"] == b"log"]
    assert [log["lines"] for log in logs] == [
        [
            {
                "level": "info",
                "message": "hello",
                "timestamp": 1_765_584_000_000,
                "fields": {"user": 7},
            }
        ],
        [{"level": "warning", "message": "hello"}],
    ]
    assert raw.hgetall(keys.line_counts) == {b"report/info": b"1", b"report/warning": b"1"}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"level": "loud"}, "wrong-type"),
        ({"message": 5}, "wrong-type"),
        ({"service": "Report"}, "bad-name"),
        ({"instance": "a/b"}, "bad-name"),
        ({"timestamp": "now"}, "wrong-type"),
        ({"timestamp": True}, "wrong-type"),
        ({"timestamp": 1e300}, "wrong-type"),
        ({"logger": None}, "wrong-type"),
        ({"message": "x" * 70_000}, "too-large"),
    ],
)
async def test_invalid_log_line_is_dropped_and_counted_by_reason(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    members: dict[str, Any],
    reason: str,
) -> None:
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        raw.publish(f"{prefix}logs", log_message(**members))
        await wait_until_ingested(raw, keys, prefix)
    assert dict(rejections.counts) == {reason: 1}
    assert raw.xlen(keys.feed) == 1


def metric_message(metrics: Any = None, **members: Any) -> str:
    return json.dumps(
        {"service": "report", "metrics": {"duration": 123} if metrics is None else metrics}
        | members
    )


async def test_external_metrics_are_in_feed_and_history_once_for_any_number_of_servers(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 3):
        raw.publish(f"{prefix}metrics", metric_message())
        raw.publish(
            f"{prefix}metrics",
            metric_message({"n": 5}, kinds={"n": "counter"}, instance="w-1", junk=[1]),
        )
        await eventually(lambda: raw.xlen(keys.history("report", "metric")) == 2)
        await wait_until_ingested(raw, keys, prefix)
    rows: Any = raw.xrange(keys.feed)
    metrics = [
        (id, json.loads(fields[b"data"])) for id, fields in rows if fields[b"kind"] == b"metric"
    ]
    assert [event for _, event in metrics] == [
        {"service": "report", "metrics": {"duration": 123}},
        {"service": "report", "metrics": {"n": 5}, "instance": "w-1", "kinds": {"n": "counter"}},
    ]
    latest: Any = raw.hgetall(keys.latest_metrics)
    assert {field.decode(): json.loads(value)["id"] for field, value in latest.items()} == {
        "report/": metrics[0][0].decode(),
        "report/w-1": metrics[1][0].decode(),
    }


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"metrics": {"n": "5"}}, "wrong-type"),
        ({"metrics": {"a b": 5}}, "bad-name"),
        ({"metrics": {f"n{n}": n for n in range(501)}}, "too-large"),
        ({"service": "Report"}, "bad-name"),
        ({"more": "x" * 70_000}, "too-large"),
    ],
)
async def test_invalid_metrics_are_dropped_and_counted_by_reason(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    members: dict[str, Any],
    reason: str,
) -> None:
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        raw.publish(f"{prefix}metrics", metric_message(**members))
        await wait_until_ingested(raw, keys, prefix)
    assert dict(rejections.counts) == {reason: 1}
    assert raw.xlen(keys.feed) == 1
    assert not raw.exists(keys.latest_metrics)
