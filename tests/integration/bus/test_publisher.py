"""The publisher and its scripts: events, heartbeats, planned returns, and their limits."""

import json
import logging
from typing import Any

import msgspec
import pytest
import redis
from tests.support.bus import event, history, lifecycle_events, outgoing
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.feed.entries import parse_heartbeat
from pulseboard.bus.keys import Keys, board_field
from pulseboard.bus.publisher import Outgoing, Publisher
from pulseboard.bus.retention.limits import MB, WEEK_S, Limit, Limits
from pulseboard.bus.scripts import read_script
from pulseboard.wire.errors import BusUnavailable, ConfigError


def publish(
    raw: redis.Redis, keys: Keys, prefix: str, jsons: list[bytes], **changed: Any
) -> list[str]:
    """Run publish.lua for events of w-1, w-2, … with the given limits."""
    limits: dict[str, Any] = {
        "feed": Limit(1_000, MB, 3_600),
        "status": Limit(100, MB, 60),
        "board": 10,
    }
    args: list[Any] = [msgspec.json.encode(Limits(**(limits | changed)))]
    for number, json_ in enumerate(jsons, 1):
        args += [f"{prefix}balance-sync", board_field("balance-sync", f"w-{number}"), json_, ""]
    names = [*keys.shared] + [
        keys.history("balance-sync"),
        keys.planned_returns("balance-sync"),
    ] * len(jsons)
    ids: Any = raw.eval(read_script("publish"), len(names), *names, *args)
    return [id.decode() for id in ids]


def test_published_event_has_one_id_in_feed_history_board_and_channel(
    publisher: Publisher, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    pubsub: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    with pubsub:
        pubsub.psubscribe(f"{prefix}*")
        pubsub.get_message(timeout=5)
        (cursor,) = publisher.publish([outgoing(n=7)])
        message = pubsub.get_message(timeout=5)

    (feed,) = raw.xrange(keys.feed) or []
    (in_history,) = raw.xrange(keys.history("balance-sync")) or []
    assert feed == (str(cursor).encode(), {b"kind": b"status", b"data": event(n=7)})
    assert in_history == (str(cursor).encode(), {b"data": event(n=7)})
    stamped = event(n=7)[:-1] + b',"id":"%s"}' % str(cursor).encode()
    assert raw.hgetall(keys.board) == {b"balance-sync/w-1": stamped}
    assert message is not None
    assert (message["channel"], message["data"]) == (f"{prefix}balance-sync".encode(), stamped)
    assert json.loads(stamped)["id"] == str(cursor)


def count_script_calls(raw: redis.Redis) -> int:
    commands: Any = raw.info("commandstats")
    calls: int = commands["cmdstat_evalsha"]["calls"]
    return calls


def test_batch_of_events_is_published_in_one_round_trip_and_in_order(
    publisher: Publisher, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    publisher.publish([outgoing()])  # opens the connection and loads the script
    before = count_script_calls(raw)
    cursors = publisher.publish([outgoing(instance=f"w-{n % 3}", n=n) for n in range(100)])
    assert count_script_calls(raw) == before + 1
    assert cursors == sorted(set(cursors))
    assert len(cursors) == 100
    assert [status["n"] for status in history(raw, keys)] == [0, *range(100)]
    board: Any = raw.hgetall(keys.board)
    latest = {name.decode(): json.loads(value)["status"]["n"] for name, value in board.items()}
    assert latest == {f"balance-sync/w-{n}": 99 - (99 - n) % 3 for n in range(3)}


def test_all_keys_share_one_hash_tag_so_that_scripts_run_on_a_cluster(keys: Keys) -> None:
    names = [*keys.shared, keys.heartbeats, keys.incidents]
    names += [
        keys.history("x"),
        keys.planned_returns("x"),
        keys.ingested("e", "d"),
        keys.ingestor("s"),
    ]
    assert {name[: name.index("}") + 1] for name in names} == {f"{{{keys.namespace}}}"}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("namespace", ["", "a}b", "a b", "x" * 65, "a\n", "{a}"])
def test_namespace_that_would_break_the_hash_tag_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigError):
        Keys(namespace)


def test_feed_and_history_are_capped_by_count(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for _ in range(10):
        publish(
            raw,
            keys,
            prefix,
            [event(n=n) for n in range(100)],
            feed=Limit(200, MB, 3_600),
            status=Limit(100, MB, 60),
        )
    # "~" lets Redis keep up to one more node, which has 100 entries.
    assert 200 <= raw.xlen(keys.feed) <= 300
    assert 100 <= raw.xlen(keys.history("balance-sync")) <= 200


def test_feed_and_history_are_capped_in_bytes(raw: redis.Redis, keys: Keys, prefix: str) -> None:
    for _ in range(60):
        large = [event(n=n, instance="x" * 100, status={"text": "y" * 5_000}) for n in range(10)]
        publish(
            raw,
            keys,
            prefix,
            large,
            feed=Limit(100_000, MB, 3_600),
            status=Limit(100_000, MB // 2, 60),
        )
    for key, max_bytes in ((keys.feed, MB), (keys.history("balance-sync"), MB // 2)):
        size: Any = raw.memory_usage(key, samples=0)
        assert max_bytes // 2 < size < max_bytes + 32 * 5_500


def test_limits_in_redis_apply_to_every_publisher(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    raw.set(keys.limits, msgspec.json.encode(Limits(status=Limit(100, MB, 50), board=2)))
    publisher.publish([outgoing(instance=f"w-{n}", n=n) for n in range(400)])
    assert raw.hlen(keys.board) == 2
    assert 100 <= raw.xlen(keys.history("balance-sync")) <= 200
    assert 40 < raw.ttl(keys.history("balance-sync")) <= 50


@pytest.mark.parametrize(
    "stored", ["garbage", "7", '{"log": [9, 9, 9]}', "null", '{"feed": [1000, 1000000, 3600]}']
)
def test_invalid_or_incomplete_limits_keep_no_event_from_the_feed(
    raw: redis.Redis, keys: Keys, publisher: Publisher, stored: str
) -> None:
    raw.set(keys.limits, stored)
    publisher.publish([outgoing(n=1)])
    assert history(raw, keys) == [{"n": 1}]


def test_feed_is_capped_by_age_on_the_clock_of_redis(
    raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    for n in range(300):
        raw.xadd(keys.feed, {"kind": "status", "data": event(n=n)}, id=f"1000-{n + 1}")
    publish(raw, keys, prefix, [event()], feed=Limit(100_000, MB, 3_600))
    assert raw.xlen(keys.feed) <= 101


def test_noisy_service_cannot_evict_the_history_of_a_quiet_one(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    publisher.publish([outgoing("quiet", n=1)])
    for _ in range(12):
        publisher.publish([outgoing("noisy", n=n) for n in range(100)])
    assert history(raw, keys, "quiet") == [{"n": 1}]


def test_history_has_a_ttl(raw: redis.Redis, keys: Keys, prefix: str, publisher: Publisher) -> None:
    publish(raw, keys, prefix, [event()], status=Limit(100, MB, 100))
    assert 90 < raw.ttl(keys.history("balance-sync")) <= 100
    publisher.publish([outgoing("other")])
    assert WEEK_S - 10 < raw.ttl(keys.history("other")) <= WEEK_S


def test_full_board_refuses_new_instances_and_updates_the_present_ones(
    raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    publish(raw, keys, prefix, [event(n=n) for n in range(4)], board=3)
    assert sorted(raw.hkeys(keys.board)) == [
        b"balance-sync/w-1",
        b"balance-sync/w-2",
        b"balance-sync/w-3",
    ]
    assert raw.xlen(keys.feed) == 4
    publish(raw, keys, prefix, [event(n=9)], board=3)
    stamped: Any = raw.hget(keys.board, "balance-sync/w-1")
    assert json.loads(stamped)["status"] == {"n": 9}


def test_event_reaches_board_and_feed_although_its_history_refuses_it(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """The ids of a history follow those of the feed.

    After the feed was evicted and the clock set back, every later publish was refused.
    """
    raw.xadd(keys.history("balance-sync"), {"data": "{}"}, id=f"{2**62}-0")
    raw.set(keys.history("other"), "not ours")
    cursors = publisher.publish([outgoing(n=1), outgoing("other", n=2), outgoing("third", n=3)])
    assert len(cursors) == raw.hlen(keys.board) == raw.xlen(keys.feed) == 3


def test_heartbeat_returns_whether_the_board_has_the_instance(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")
    assert not publisher.heartbeat("balance-sync", "w-2")
    raw.delete(keys.board)
    assert not publisher.heartbeat("balance-sync", "w-1")
    rows: Any = raw.xrange(keys.heartbeats)
    assert [(fields[b"service"], fields[b"instance"]) for _, fields in rows] == [
        (b"balance-sync", instance) for instance in (b"w-1", b"w-1", b"w-2", b"w-1")
    ]


def test_heartbeat_returns_whether_the_board_has_the_last_published_event(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    """A failover loses the events that the old master did not replicate.

    The board then showed an old status of a service that published no further one.
    """
    publisher.publish([outgoing(n=1)])
    before: Any = raw.hgetall(keys.board)
    publisher.publish([outgoing(n=2)])
    raw.hset(keys.board, mapping=before)  # as on a replica that lacks the second event
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([outgoing(n=2)])
    assert publisher.heartbeat("balance-sync", "w-1")

    publish(raw, keys, "x:", [event(n=3)])  # another process of the same name
    assert publisher.heartbeat("balance-sync", "w-1"), "a newer event on the board is not a loss"


@pytest.mark.parametrize("back_in_s", [None, 60.0, 0.5])
def test_heartbeat_under_the_name_of_a_stopped_instance_asks_for_its_status(
    publisher: Publisher, keys: Keys, back_in_s: float | None
) -> None:
    """Two processes had one instance name.

    The graceful stop of one kept the other `stopped` on the board, so that its death was not
    noticed.
    """
    publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")
    publish_stop(publisher, "w-1", back_in_s)
    assert not publisher.heartbeat("balance-sync", "w-1")
    publisher.publish([Outgoing("balance-sync", "w-1", event(text=',"stopped":true,"id":"1-1"}'))])
    assert publisher.heartbeat("balance-sync", "w-1")


def test_heartbeats_are_capped(raw: redis.Redis, keys: Keys) -> None:
    for _ in range(500):
        names = (keys.heartbeats, keys.clock, keys.board, keys.seen, keys.lost)
        raw.eval(read_script("heartbeat"), len(names), *names, 100, "balance-sync", "w-1", 0, "")
    assert 100 <= raw.xlen(keys.heartbeats) <= 200


def publish_stop(publisher: Publisher, instance: str, back_in_s: float | None) -> None:
    """Publish the graceful stop of an instance, with a planned return if `back_in_s` is set."""
    planned: dict[str, Any] = {} if back_in_s is None else {"back_in_s": back_in_s}
    json_ = event(instance=instance, stopped=True, **planned)
    publisher.publish([Outgoing("balance-sync", instance, json_, back_in_s)])


class TestPlannedReturn:
    def test_new_instance_replaces_the_one_that_stopped_first(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing(instance=name) for name in ("w-1", "w-2", "w-3")])
        publish_stop(publisher, "w-2", 60)
        publish_stop(publisher, "w-1", 60)
        publisher.publish([outgoing("other", "x"), outgoing(instance="w-3", n=1)])
        assert lifecycle_events(raw, keys) == [], (
            "another service and an instance that never stopped replace no instance"
        )
        publisher.publish([outgoing(instance="new-1")])
        (gone,) = lifecycle_events(raw, keys)
        assert gone.pop("timestamp") > 0
        expected = {
            "service": "balance-sync",
            "instance": "w-2",
            "event": "gone",
            "replaced_by": "new-1",
        }
        assert gone == expected
        publisher.publish([outgoing(instance="new-2"), outgoing(instance="new-3")])
        assert [each["instance"] for each in lifecycle_events(raw, keys)] == ["w-2", "w-1"]
        assert sorted(raw.hkeys(keys.board)) == [
            b"balance-sync/new-1",
            b"balance-sync/new-2",
            b"balance-sync/new-3",
            b"balance-sync/w-3",
            b"other/x",
        ]

    def test_instance_that_returns_is_not_replaced(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing()])
        publish_stop(publisher, "w-1", 60)
        publisher.publish([outgoing(n=2), outgoing(instance="w-2")])
        assert lifecycle_events(raw, keys) == []
        assert raw.hlen(keys.board) == 2

    def test_graceful_stop_without_planned_return_is_not_replaced(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        publisher.publish([outgoing()])
        publish_stop(publisher, "w-1", None)
        publisher.publish([outgoing(instance="w-2")])
        assert raw.hlen(keys.board) == 2

    def test_instance_name_is_escaped_in_the_lifecycle_event(
        self, publisher: Publisher, raw: redis.Redis, keys: Keys
    ) -> None:
        special_name = 'a"b\\é %s'
        publish_stop(publisher, special_name, 60)
        publisher.publish([outgoing(instance=special_name + "2")])
        (gone,) = lifecycle_events(raw, keys)
        assert (gone["instance"], gone["replaced_by"]) == (special_name, special_name + "2")


def test_heartbeat_carries_the_lag(publisher: Publisher, raw: redis.Redis, keys: Keys) -> None:
    publisher.heartbeat("balance-sync", "w-1", 0)
    publisher.heartbeat("balance-sync", "w-1", 4_200)
    rows: Any = raw.xrange(keys.heartbeats)
    assert [parse_heartbeat(row).lag_ms for row in rows] == [0, 4_200]


def test_unreachable_redis_raises_in_every_call(
    caplog: pytest.LogCaptureFixture, keys: Keys, address: RedisAddress
) -> None:
    caplog.set_level(logging.DEBUG)
    publisher = Publisher(RedisAddress("127.0.0.1", free_port()), keys)
    for call in (
        lambda: publisher.publish([outgoing()]),
        lambda: publisher.heartbeat("balance-sync", "w-1"),
    ):
        with pytest.raises(BusUnavailable) as failure:
            call()
        assert isinstance(failure.value.__cause__, redis.ConnectionError)
    publisher.close()


def test_scripts_are_loaded_again_after_a_script_flush(
    publisher: Publisher, raw: redis.Redis
) -> None:
    publisher.publish([outgoing()])
    raw.script_flush()
    assert publisher.publish([outgoing()])
    assert publisher.heartbeat("balance-sync", "w-1")


def metrics_json(instance: str, n: int = 1) -> bytes:
    return json.dumps(
        {"service": "report", "metrics": {"n": n}, "instance": instance}, separators=(",", ":")
    ).encode()


def test_flood_of_instances_evicts_the_oldest_latest_metrics(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    raw.set(keys.limits, msgspec.json.encode(Limits(board=50)))
    for n in range(300):
        publisher.publish_metrics("report", f"flood-{n}", metrics_json(f"flood-{n}"))
    publisher.publish_metrics("report", "last", metrics_json("last"))
    fields: Any = raw.hkeys(keys.latest_metrics)
    assert len(fields) == 50
    assert b"report/last" in fields
    assert sum(field.startswith(b"report/flood-2") for field in fields) > 25, (
        "the instances that published last are still there"
    )


def test_limits_without_metrics_apply_and_metrics_use_the_default(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    old = {
        name: limit
        for name, limit in msgspec.to_builtins(Limits(feed=Limit(7, MB, 60))).items()
        if name != "metric"
    }
    raw.set(keys.limits, json.dumps(old))
    for n in range(300):
        publisher.publish_metrics("report", "w-1", metrics_json("w-1", n))
    assert raw.xlen(keys.feed) < 200
    assert raw.xlen(keys.history("report", "metric")) == 300
