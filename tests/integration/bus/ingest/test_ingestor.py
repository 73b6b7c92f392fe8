"""Plain publishes become feed entries, each exactly once however many servers hear it."""

import asyncio
import contextlib
import json
import logging
import uuid
from typing import Any

import pytest
import redis
from tests.support.bus import (
    TIMEOUT_S,
    Proxy,
    eventually,
    external_message,
    fail_on_command,
    history,
    ingesting,
    open_reader,
    outgoing,
    publish,
    restart,
    running,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.rejections import QUIET_S, Rejections
from pulseboard.embedded.valkey import EmbeddedValkey
from pulseboard.wire.errors import InvalidEvent


async def end(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    """Publish one message more, and wait until it is adopted: then all before it were seen to."""
    publish(raw, prefix, external_message(-1, "the-end"), "the-end")
    await eventually(lambda: history(raw, keys, "the-end"))


@pytest.mark.parametrize("servers", [1, 3])
async def test_a_plain_publish_is_adopted_once_however_many_servers_run(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, servers: int
) -> None:
    async with ingesting(address, keys, prefix, servers), open_reader(address, keys) as reader:
        for n in range(200):
            publish(raw, prefix, external_message(n))
        await eventually(lambda: len(reader.entries) >= 200)
        await end(raw, keys, prefix)
        assert [status["n"] for status in history(raw, keys)] == list(range(200))
        await eventually(lambda: -1 in reader.numbers)
        assert sorted(reader.numbers) == [-1, *range(200)]
        stamped: Any = raw.hget(keys.board, "balance-sync/")
        assert json.loads(stamped)["status"] == {"n": 199}


@pytest.mark.parametrize("servers", [1, 3])
async def test_the_same_bytes_published_three_times_are_three_events(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, servers: int
) -> None:
    async with ingesting(address, keys, prefix, servers):
        for _ in range(3):
            publish(raw, prefix, external_message(1))
        await eventually(lambda: len(history(raw, keys)) >= 3)
        await end(raw, keys, prefix)
        assert len(history(raw, keys)) == 3


async def test_what_came_from_the_feed_is_not_adopted(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, publisher: Publisher
) -> None:
    async with ingesting(address, keys, prefix):
        publisher.publish([outgoing(n=n) for n in range(10)])
        publish(
            raw, prefix, b'{"id":"1-1",' + external_message()[1:]
        )  # an id where the scripts do not write it
        await end(raw, keys, prefix)
        assert raw.xlen(keys.feed) == 11


@pytest.mark.parametrize(
    "id", ["10-20.5", "99999999999999999999-0", "1-99999999999999999999", "10", "10-20-30", 7, None]
)
async def test_an_id_that_is_none_of_the_feed_makes_no_less_of_a_plain_publish(
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
        await end(raw, keys, prefix)
    assert (history(raw, keys), dict(rejections.counts)) == ([{"n": 1}, {"n": 2}], {})


@pytest.mark.parametrize(
    ("id", "adopted"), [("10-20.5", 0), ("10-20", 0), ("10-20.x", 2), ("10-20.", 2), ("10.5-20", 2)]
)
async def test_the_id_of_a_line_is_that_of_the_feed_and_its_number(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, id: str, adopted: int
) -> None:
    async with ingesting(address, keys, prefix):
        raw.publish(f"{prefix}logs", log_message(id=id).replace(" ", ""))
        raw.publish(f"{prefix}logs", json.dumps({"id": id} | json.loads(log_message())))
        await end(raw, keys, prefix)
    assert raw.xlen(keys.history("report", "log")) == adopted


async def test_a_publisher_may_name_its_instance_and_rhythm(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        publish(raw, prefix, external_message(instance="w-9", heartbeat_s=5))
        await end(raw, keys, prefix)
        stamped: Any = raw.hget(keys.board, "balance-sync/w-9")
        assert json.loads(stamped)["heartbeat_s"] == 5


async def test_a_server_that_joins_amid_identical_messages_adds_none(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        for _ in range(5):
            publish(raw, prefix, external_message(1))
        await eventually(lambda: len(history(raw, keys)) == 5)
        async with ingesting(address, keys, prefix):
            for _ in range(5):
                publish(raw, prefix, external_message(1))
            await end(raw, keys, prefix)
            assert len(history(raw, keys)) == 10


async def test_a_server_that_takes_over_adopts_the_next_identical_message(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    for expected in (1, 2, 3):  # three servers, one after the other
        async with ingesting(address, keys, prefix):
            publish(raw, prefix, external_message(1))
            await end(raw, keys, prefix)
            raw.delete(keys.history("the-end"))
            assert len(history(raw, keys)) == expected


def hold(ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Keep an adopter from Redis' scripts, as a slow link or a busy host would, until what is returned is set."""
    released, adopt = asyncio.Event(), ingestor._script

    async def adopt_later(**batch: Any) -> Any:
        await released.wait()
        return await adopt(**batch)

    monkeypatch.setattr(ingestor, "_script", adopt_later)
    return released


async def test_a_server_that_joined_late_and_is_slow_swallows_nothing_when_the_other_dies(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first report came after the other's, so that it began to count at none, and what it heard next was known."""
    async with BusClient(address, keys) as first_bus, BusClient(address, keys) as second_bus:
        first, second = (
            Ingestor(bus, Rejections(), route_command=fail_on_command, prefix=prefix)
            for bus in (first_bus, second_bus)
        )
        released = hold(second, monkeypatch)
        async with running(first.run()):
            await first.subscribed.wait()
            for _ in range(5):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: len(history(raw, keys)) == 5)
            task = asyncio.create_task(second.run())
            await second.subscribed.wait()
            for _ in range(3):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: len(history(raw, keys)) == 8)
        released.set()
        for _ in range(4):
            publish(raw, prefix, external_message(1))
        await end(raw, keys, prefix)
        assert len(history(raw, keys)) == 12
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_heard_before_a_link_broke_and_adopted_after_it_stood_again_takes_nothing_from_what_follows(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port) as raw:
        async with ingesting(own_valkey.address, keys, prefix) as (ingestor,):
            for _ in range(5):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: len(history(raw, keys)) == 5)
            released = hold(ingestor, monkeypatch)
            for _ in range(3):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: ingestor._batch_number > 1)  # they are held
            raw.client_kill_filter(_type="pubsub")
            await eventually(lambda: ingestor.losses == 1)
            await eventually(ingestor.subscribed.is_set)
            released.set()
            for _ in range(4):
                publish(raw, prefix, external_message(1))
            await end(raw, keys, prefix)
            assert len(history(raw, keys)) == 12


async def test_a_word_on_the_channel_of_epochs_that_is_none_changes_nothing(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        for word in (b"", b"\xff" * 16, b"x" * 1_000_000, b"a:b"):
            publish(raw, prefix, external_message(1))
            raw.publish(keys.epochs, word)
        await end(raw, keys, prefix)
        assert len(history(raw, keys)) == 4


async def test_adopters_hear_again_after_a_restart_and_still_agree(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str
) -> None:
    raw = redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port)
    async with ingesting(own_valkey.address, keys, prefix, 3) as ingestors:
        publish(raw, prefix, external_message(1))
        await eventually(lambda: history(raw, keys))
        own_valkey.stop()
        await eventually(lambda: not any(ingestor.subscribed.is_set() for ingestor in ingestors))
        with restart(own_valkey):
            await eventually(lambda: all(ingestor.subscribed.is_set() for ingestor in ingestors))
            for n in (1, 1, 2):  # the first two are the bytes from before the restart
                publish(raw, prefix, external_message(n))
            await end(raw, keys, prefix)
            assert [status["n"] for status in history(raw, keys)] == [1, 1, 1, 2]
    raw.close()


async def test_a_lost_answer_does_not_make_two_of_one(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    """The script ran, its answer never came: the batch is sent again, and is known to have been counted."""
    async with ingesting(proxy.address, keys, prefix):
        publish(raw, prefix, external_message(0))
        await eventually(lambda: history(raw, keys))
        for n in (1, 2, 3):
            proxy.cut_after(b"EVALSHA")
            publish(raw, prefix, external_message(n))
            await eventually(lambda n=n: proxy.cuts == n)  # type: ignore[misc]
        await end(raw, keys, prefix)
        assert [status["n"] for status in history(raw, keys)] == [0, 1, 2, 3]


async def test_a_half_open_subscription_is_condemned_and_heard_again(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.SILENCE_S", 0.2)
    async with ingesting(proxy.address, keys, prefix) as (ingestor,):
        connections = proxy.connections
        assert connections
        proxy.freeze()
        await eventually(lambda: not ingestor.subscribed.is_set())
        await eventually(ingestor.subscribed.is_set)
        publish(raw, prefix, external_message(1))
        await eventually(lambda: history(raw, keys))


async def test_silence_alone_condemns_no_link(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.SILENCE_S", 0.1)
    async with ingesting(address, keys, prefix) as (ingestor,):
        pings = raw.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"]
        await eventually(
            lambda: raw.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"] >= pings + 5
        )
        assert ingestor.subscribed.is_set()


BAD = {
    "no JSON": (b"hello", "malformed"),
    "no UTF-8": (b"\xff\xfe\x00", "malformed"),
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
    "half a surrogate pair": (
        b'{"service":"balance-sync","timestamp":1,"status":{"a":"\\ud800"}}',
        "malformed",
    ),
    "an instance with a slash": (external_message(instance="a/b"), "bad-name"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_input_is_dropped_counted_and_told_once_and_the_next_message_comes_through(
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
        await end(raw, keys, prefix)
        assert dict(rejections.counts) == {reason: 5}
        assert raw.xlen(keys.feed) == 1
        (warning,) = [record for record in caplog.records if record.name == "pulseboard.rejections"]
        assert warning.levelno == logging.WARNING
        assert reason in warning.message
        assert len(warning.message) < 500
        assert warning.message.isprintable()
        assert ingestor.subscribed.is_set()


@pytest.mark.parametrize("channel", ["UPPER", "", "a b", "\xff", "a\r\nb", "x" * 1_000])
async def test_a_channel_that_names_no_service_is_dropped(
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
        await end(raw, keys, prefix)
        assert dict(rejections.counts) == {"bad-name": 1}
        assert raw.xlen(keys.feed) == 1
        (warning,) = [record for record in caplog.records if record.name == "pulseboard.rejections"]
        assert warning.message.isprintable()


@pytest.mark.parametrize("odd", ["a*b", "a?b", "[ab]", "a\\b", "^a", "]["])
async def test_a_glob_character_in_the_prefix_is_a_character(
    address: RedisAddress, keys: Keys, raw: redis.Redis, odd: str
) -> None:
    prefix = f"{uuid.uuid4().hex}-{odd}:"
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        for other in ("axxb", "axb", "a", "b", "ab"):
            publish(raw, prefix.replace(odd, other), external_message(7))
        publish(raw, prefix, external_message(1))
        await end(raw, keys, prefix)
        assert history(raw, keys) == [{"n": 1}]
        assert not rejections.counts


async def test_two_prefixes_and_namespaces_share_one_redis(
    address: RedisAddress, raw: redis.Redis
) -> None:
    one, two = uuid.uuid4().hex, uuid.uuid4().hex
    async with ingesting(address, Keys(one), f"{one}:"), ingesting(address, Keys(two), f"{two}:"):
        publish(raw, f"{one}:", external_message(1))
        publish(raw, f"{two}:", external_message(2))
        await end(raw, Keys(one), f"{one}:")
        await end(raw, Keys(two), f"{two}:")
        assert (history(raw, Keys(one)), history(raw, Keys(two))) == ([{"n": 1}], [{"n": 2}])


async def test_a_refusal_loses_its_batch_with_an_error_and_the_next_is_adopted(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ingesting(address, keys, prefix):
        raw.set(keys.feed, "not ours")
        publish(raw, prefix, external_message(1))
        await eventually(lambda: "which are lost" in caplog.text)
        raw.delete(keys.feed)
        publish(raw, prefix, external_message(2))
        await end(raw, keys, prefix)
        assert history(raw, keys) == [{"n": 2}]


async def test_a_flood_of_more_than_the_queue_holds_is_adopted_whole(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        with raw.pipeline(transaction=False) as pipeline:
            for n in range(3_000):
                pipeline.publish(f"{prefix}balance-sync", external_message(n))
            pipeline.execute()
        await end(raw, keys, prefix)
        await eventually(lambda: raw.xlen(keys.feed) >= 3_001)
        assert raw.xlen(keys.feed) == 3_001
        assert history(raw, keys)[-1] == {"n": 2_999}


async def test_adoptions_and_batches_expire(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        for n in range(5):
            publish(raw, prefix, external_message(n))
            publish(raw, prefix, external_message(n))
        await end(raw, keys, prefix)
        names: Any = raw.keys(f"{{{keys.namespace}}}:ingest*")
        assert len(names) >= 7
        for name in names:
            assert raw.pttl(name) > 0, name


async def test_an_adopter_leaves_no_connection_behind(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    def connections() -> int:
        return len([client for client in raw.client_list() if client["name"] == "pulseboard"])

    before = connections()
    async with ingesting(address, keys, prefix, 3):
        assert connections() >= before + 3
    await eventually(lambda: connections() <= before)


async def test_no_redis_is_waited_out_with_one_error_line(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    own_valkey.stop()
    async with contextlib.AsyncExitStack() as stack:
        bus = await stack.enter_async_context(BusClient(own_valkey.address, keys))
        ingestor = Ingestor(bus, Rejections(), route_command=fail_on_command, prefix=prefix)
        await stack.enter_async_context(running(ingestor.run()))
        await eventually(lambda: "Redis subscription lost" in caplog.text)
        with restart(own_valkey):
            await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            assert caplog.text.count("Redis subscription lost") == 1


async def test_each_outage_of_a_quiet_subscription_is_told(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only a message ended an outage: where nothing was published the second outage was not told, and waited longer."""
    async with ingesting(own_valkey.address, keys, prefix) as (ingestor,):
        for outage in (1, 2):
            with redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port) as raw:
                raw.client_kill_filter(_type="pubsub")
            await eventually(
                lambda outage=outage: caplog.text.count("Redis subscription lost") == outage  # type: ignore[misc]
            )
            await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            await eventually(ingestor.subscribed.is_set)


def test_a_warning_comes_once_a_minute_a_reason_and_says_how_many_it_stands_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    rejections = Rejections(clock=lambda: now)
    for _ in range(100):
        rejections.add(InvalidEvent("malformed", "x"), "service:a")
    rejections.add(InvalidEvent("too-large", "x"), "service:a")
    assert len(caplog.records) == 2
    now = QUIET_S
    rejections.add(InvalidEvent("malformed", "a\nb\x1b[31m" * 1_000), "service:\r\n")
    assert len(caplog.records) == 3
    assert "99 more" in caplog.records[2].message
    assert caplog.records[2].message.isprintable()
    assert len(caplog.records[2].message) < 500
    assert rejections.counts == {"malformed": 101, "too-large": 1}


def log_message(**members: Any) -> str:
    return json.dumps({"service": "report", "level": "INFO", "message": "hello"} | members)


async def test_a_plain_log_line_is_in_feed_and_history_once_however_many_servers_hear_it(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 3):
        raw.publish(f"{prefix}logs", log_message(user=7, timestamp=1_765_584_000_000))
        raw.publish(f"{prefix}logs", log_message(level="WARN"))
        await eventually(lambda: raw.xlen(keys.history("report", "log")) == 2)
        await end(raw, keys, prefix)
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
async def test_a_log_line_that_is_none_is_dropped_under_its_reason(
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
        await end(raw, keys, prefix)
    assert dict(rejections.counts) == {reason: 1}
    assert raw.xlen(keys.feed) == 1


def metric_message(metrics: Any = None, **members: Any) -> str:
    return json.dumps(
        {"service": "report", "metrics": {"duration": 123} if metrics is None else metrics}
        | members
    )


async def test_plain_metrics_are_in_feed_and_history_once_however_many_servers_hear_them(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 3):
        raw.publish(f"{prefix}metrics", metric_message())
        raw.publish(
            f"{prefix}metrics",
            metric_message({"n": 5}, kinds={"n": "counter"}, instance="w-1", junk=[1]),
        )
        await eventually(lambda: raw.xlen(keys.history("report", "metric")) == 2)
        await end(raw, keys, prefix)
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
async def test_metrics_that_are_none_are_dropped_under_their_reason(
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
        await end(raw, keys, prefix)
    assert dict(rejections.counts) == {reason: 1}
    assert raw.xlen(keys.feed) == 1
    assert not raw.exists(keys.latest_metrics)
