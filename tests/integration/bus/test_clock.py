"""The board's clock: it runs on when Redis' clock is set back, and returns to it gradually."""

import asyncio
import json
import time
from typing import Any

import pytest
import redis
from tests.support.bus import eventually, ingesting, open_reader, outgoing

from pulseboard.bus.clock import fetch_time
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_async_client
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script

HOUR_MS = 3_600_000


def redis_clock_ms(raw: redis.Redis) -> int:
    """Return the time of Redis itself (ms)."""
    answer: Any = raw.time()
    return int(answer[0]) * 1000 + int(answer[1]) // 1000


def set_back(raw: redis.Redis, keys: Keys, by_ms: int = HOUR_MS) -> int:
    """Put Redis into the state after its clock was set back: it has ids ahead of its clock.

    Returns the time before the clock was set back (ms).
    """
    before_ms = redis_clock_ms(raw) + by_ms
    raw.xadd(keys.heartbeats, {"service": "x", "instance": "1"}, id=f"{before_ms}-7")
    return before_ms


def sync_clock(raw: redis.Redis, keys: Keys) -> int:
    """Run sync_clock.lua and return the board's time (ms)."""
    answer: Any = raw.eval(read_script("sync_clock"), 3, keys.feed, keys.clock, keys.heartbeats)
    return int(answer)


def script_time(raw: redis.Redis, keys: Keys) -> int:
    """Return the time that the scripts use (ms)."""
    source = read_script("clock")
    answer: Any = raw.eval(source + "return (read_clock(KEYS[1]))", 1, keys.clock)
    return int(answer)


def last_ms(raw: redis.Redis, key: str) -> int:
    """Return the time in the last id of a stream (ms)."""
    rows: Any = raw.xrevrange(key, count=1)
    return int(rows[0][0].split(b"-")[0])


def test_clock_is_that_of_redis_while_it_runs_forwards(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    publisher.publish([outgoing()])
    publisher.heartbeat("balance-sync", "w-1")
    before = redis_clock_ms(raw)
    assert before <= sync_clock(raw, keys) <= redis_clock_ms(raw)
    assert not raw.exists(keys.clock)


@pytest.mark.parametrize("stream", ["heartbeats", "feed"])
def test_clock_runs_on_when_redis_was_set_back_by_an_hour(
    raw: redis.Redis, keys: Keys, publisher: Publisher, stream: str
) -> None:
    before_ms = redis_clock_ms(raw) + HOUR_MS
    fields: Any = {"kind": "status", "data": "{}", "service": "x", "instance": "1"}
    raw.xadd(getattr(keys, stream), fields, id=f"{before_ms}-0")
    assert before_ms <= sync_clock(raw, keys) <= before_ms + 1_000
    started_ms = redis_clock_ms(raw)
    cursors = publisher.publish([outgoing(n=n) for n in range(70)])
    publisher.heartbeat("balance-sync", "w-1")
    elapsed_ms = redis_clock_ms(raw) - started_ms + 1_000
    assert cursors == sorted(set(cursors))
    assert before_ms <= cursors[0].ms <= before_ms + elapsed_ms
    assert before_ms <= last_ms(raw, keys.heartbeats) <= before_ms + elapsed_ms
    assert before_ms <= int(raw.hget(keys.seen, "balance-sync/w-1") or 0) <= before_ms + elapsed_ms
    statuses: Any = raw.xrange(keys.history("balance-sync"))
    assert len(statuses) == 70


def test_ids_advance_again_after_the_first_clock_sync(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    before_ms = set_back(raw, keys)
    publisher.heartbeat("balance-sync", "w-1")
    assert last_ms(raw, keys.heartbeats) == before_ms
    sync_clock(raw, keys)
    started = time.monotonic()
    while last_ms(raw, keys.heartbeats) == before_ms:
        publisher.heartbeat("balance-sync", "w-1")
        assert time.monotonic() < started + 10, "the ids do not advance"


def test_clock_returns_to_redis_by_a_fiftieth_of_the_elapsed_time(
    raw: redis.Redis, keys: Keys
) -> None:
    before_ms = set_back(raw, keys, HOUR_MS - 60_000)  # the time of the last write
    redis_ms = redis_clock_ms(raw)
    # The last sync was 5 seconds ago.
    raw.hset(keys.clock, mapping={"at": redis_ms - 5_000, "ahead": HOUR_MS})
    assert sync_clock(raw, keys) - redis_ms == HOUR_MS - 100, (
        "a fiftieth of the 5 seconds is made up"
    )
    assert sync_clock(raw, keys) >= before_ms


def test_clock_returns_to_redis_at_once_if_no_server_ran(raw: redis.Redis, keys: Keys) -> None:
    """No server ran for half an hour, so nothing was judged by the board's clock meanwhile."""
    before_ms = set_back(raw, keys, 60_000)
    redis_ms = redis_clock_ms(raw)
    raw.hset(keys.clock, mapping={"at": redis_ms - HOUR_MS // 2, "ahead": HOUR_MS // 2})
    assert before_ms <= sync_clock(raw, keys) <= before_ms + 10_000


@pytest.mark.parametrize("synced", [True, False], ids=["synced", "not synced"])
def test_clock_that_is_set_back_repeatedly_does_not_run_further_ahead_each_time(
    raw: redis.Redis, keys: Keys, synced: bool
) -> None:
    """The scripts added the time that Redis had been behind when its clock was right again.

    After +1 h, right, -1 h, right the board's clock was 2 h ahead.
    """
    before_ms = set_back(raw, keys)  # Redis' clock was an hour ahead once, and then right
    for dip in range(1, 6):
        redis_ms = redis_clock_ms(raw)
        # Redis' clock was an hour behind at the last sync, and is right again.
        ahead = int(raw.hget(keys.clock, "ahead") or HOUR_MS)
        raw.hset(keys.clock, mapping={"at": redis_ms - HOUR_MS, "ahead": ahead + HOUR_MS})
        if synced:
            assert before_ms <= sync_clock(raw, keys) <= before_ms + dip * 10_000
        stamp = script_time(raw, keys)
        assert before_ms <= stamp <= before_ms + dip * 10_000
        sync_clock(raw, keys)


def test_clock_does_not_run_backwards_between_two_syncs(raw: redis.Redis, keys: Keys) -> None:
    redis_ms = redis_clock_ms(raw)
    # Set back by an hour since that sync, and by an hour before it.
    raw.hset(keys.clock, mapping={"at": redis_ms + HOUR_MS, "ahead": HOUR_MS})
    assert script_time(raw, keys) == redis_ms + 2 * HOUR_MS


def test_board_uses_the_clock_of_redis_at_once_when_it_is_right_again(
    raw: redis.Redis, keys: Keys
) -> None:
    redis_ms = redis_clock_ms(raw)
    raw.xadd(keys.heartbeats, {"service": "x", "instance": "1"}, id=f"{redis_ms - 5_000}-0")
    # Redis' clock was an hour behind until this moment.
    raw.hset(keys.clock, mapping={"at": redis_ms - HOUR_MS, "ahead": HOUR_MS})
    is_known: Any = raw.eval(
        read_script("heartbeat"),
        5,
        keys.heartbeats,
        keys.clock,
        keys.board,
        keys.seen,
        keys.lost,
        100,
        "s",
        "i",
        "0",
        "",
    )
    assert is_known == 0
    assert redis_ms <= last_ms(raw, keys.heartbeats) <= redis_clock_ms(raw), "not an hour ahead"
    assert redis_ms <= sync_clock(raw, keys) <= redis_clock_ms(raw)
    assert not raw.exists(keys.clock)


async def test_feed_reader_continues_while_the_clock_is_set_back(
    address: RedisAddress, raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    await asyncio.to_thread(publisher.publish, [outgoing(n=1)])
    async with open_reader(address, keys) as reader:
        # The ids are an hour ahead of the clock of Redis.
        before_ms = set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        await asyncio.to_thread(publisher.publish, [outgoing(n=2)])
        await asyncio.to_thread(publisher.heartbeat, "balance-sync", "w-1")
        await eventually(lambda: 2 in reader.numbers)
        await eventually(
            lambda: any(heartbeat.instance == "w-1" for heartbeat in reader.heartbeats)
        )
        assert all(before_ms <= entry.cursor.ms < before_ms + 30_000 for entry in reader.entries)
        observed_until = reader.items[-1].observed_until  # type: ignore[union-attr]
        await eventually(lambda: reader.items[-1].observed_until > observed_until + 1_000)  # type: ignore[union-attr]
        assert before_ms <= reader.clock.now_ms() < before_ms + 30_000
        assert not reader.outages
        assert len(reader.resets) == 1


async def test_silence_before_a_clock_was_set_back_is_not_counted(
    address: RedisAddress, raw: redis.Redis, keys: Keys
) -> None:
    async with open_reader(address, keys) as reader:
        set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        ahead = reader.clock.now_ms()
        # Redis' clock is set right again: an hour back for this reader, which was ahead.
        raw.delete(keys.heartbeats, keys.clock)
        await eventually(lambda: any(item.observed_since for item in reader.items[1:]))  # type: ignore[union-attr]
        await eventually(lambda: reader.clock.now_ms() < ahead - HOUR_MS // 2)


async def test_every_caller_of_fetch_time_gets_the_same_clock(
    address: RedisAddress, raw: redis.Redis, keys: Keys
) -> None:
    before_ms = set_back(raw, keys)
    client = open_async_client(address, keys)
    times = [await fetch_time(client, keys) for _ in range(5)]
    await client.aclose()
    assert times == sorted(times)
    assert before_ms <= times[0] <= times[-1] <= before_ms + 10_000


def test_loss_is_declared_at_the_time_of_the_board(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    before_ms = set_back(raw, keys)
    sync_clock(raw, keys)
    (cursor,) = publisher.publish([outgoing()])
    names = (*keys.shared, keys.incidents)
    args: list[Any] = [
        DEFAULT_LIMITS,
        "balance-sync/w-1",
        str(cursor),
        cursor.ms,
        '{"service":"x"}',
        "[]",
    ]
    assert raw.eval(read_script("declare_lost"), len(names), *names, *args) == 1
    rows: Any = raw.xrange(keys.feed)
    event = json.loads(rows[-1][1][b"data"])
    assert event["event"] == "lost"
    assert before_ms <= event["timestamp"] == event["incident"]["declared"] <= before_ms + 10_000


async def test_ingested_messages_stay_known_after_the_clock_is_set_right(
    address: RedisAddress, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    async with open_reader(address, keys), ingesting(address, keys, prefix):
        set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        raw.publish(f"{prefix}report", '{"service":"report","timestamp":1,"status":{"n":1}}')
        await eventually(lambda: raw.keys(f"{{{keys.namespace}}}:ingested:*"))
        (ingested,) = raw.keys(f"{{{keys.namespace}}}:ingested:*")
        # When it is set right, Redis' clock jumps by an hour. Another server may still report
        # the message that one server has ingested, so the key must outlive the jump.
        assert raw.pttl(ingested) > HOUR_MS
