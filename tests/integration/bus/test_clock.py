"""The board's clock: it goes on when Redis' own was set back, and comes back to it."""

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


def own_clock(raw: redis.Redis) -> int:
    answer: Any = raw.time()
    return int(answer[0]) * 1000 + int(answer[1]) // 1000


def set_back(raw: redis.Redis, keys: Keys, by_ms: int = HOUR_MS) -> int:
    """Leave Redis as it is when its clock has been set back: with ids that are ahead of it. Returns when that was (ms)."""
    was = own_clock(raw) + by_ms
    raw.xadd(keys.heartbeats, {"service": "x", "instance": "1"}, id=f"{was}-7")
    return was


def look_at(raw: redis.Redis, keys: Keys) -> int:
    answer: Any = raw.eval(read_script("sync_clock"), 3, keys.feed, keys.clock, keys.heartbeats)
    return int(answer)


def script_time(raw: redis.Redis, keys: Keys) -> int:
    """Return what the scripts take for the time (ms)."""
    source = read_script("clock")
    answer: Any = raw.eval(source + "return (read_clock(KEYS[1]))", 1, keys.clock)
    return int(answer)


def last_ms(raw: redis.Redis, key: str) -> int:
    rows: Any = raw.xrevrange(key, count=1)
    return int(rows[0][0].split(b"-")[0])


def test_a_clock_that_goes_forwards_is_redis_own(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    publisher.publish([outgoing()])
    publisher.heartbeat("balance-sync", "w-1")
    before = own_clock(raw)
    assert before <= look_at(raw, keys) <= own_clock(raw)
    assert not raw.exists(keys.clock)


@pytest.mark.parametrize("stream", ["heartbeats", "feed"])
def test_set_back_by_an_hour_it_goes_on_from_where_it_was(
    raw: redis.Redis, keys: Keys, publisher: Publisher, stream: str
) -> None:
    was = own_clock(raw) + HOUR_MS
    fields: Any = {"kind": "status", "data": "{}", "service": "x", "instance": "1"}
    raw.xadd(getattr(keys, stream), fields, id=f"{was}-0")
    assert was <= look_at(raw, keys) <= was + 1_000
    began = own_clock(raw)
    cursors = publisher.publish([outgoing(n=n) for n in range(70)])
    publisher.heartbeat("balance-sync", "w-1")
    took = own_clock(raw) - began + 1_000
    assert cursors == sorted(set(cursors))
    assert was <= cursors[0].ms <= was + took
    assert was <= last_ms(raw, keys.heartbeats) <= was + took
    assert was <= int(raw.hget(keys.seen, "balance-sync/w-1") or 0) <= was + took
    statuses: Any = raw.xrange(keys.history("balance-sync"))
    assert len(statuses) == 70


def test_what_stands_still_before_the_first_look_moves_on_with_it(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    was = set_back(raw, keys)
    publisher.heartbeat("balance-sync", "w-1")
    assert last_ms(raw, keys.heartbeats) == was
    look_at(raw, keys)
    began = time.monotonic()
    while last_ms(raw, keys.heartbeats) == was:
        publisher.heartbeat("balance-sync", "w-1")
        assert time.monotonic() < began + 10, "the ids stand still"


def test_an_hour_is_given_back_a_little_at_a_time(raw: redis.Redis, keys: Keys) -> None:
    was = set_back(raw, keys, HOUR_MS - 60_000)  # when something was written last
    own = own_clock(raw)
    raw.hset(
        keys.clock, mapping={"at": own - 5_000, "ahead": HOUR_MS}
    )  # the last look was five seconds ago
    assert look_at(raw, keys) - own == HOUR_MS - 100, "a fiftieth of them is given back"
    assert look_at(raw, keys) >= was


def test_what_nobody_looked_at_is_given_back_at_once(raw: redis.Redis, keys: Keys) -> None:
    """No server ran for half an hour: nobody was told what time it is, and nothing is judged by it."""
    was = set_back(raw, keys, 60_000)
    own = own_clock(raw)
    raw.hset(keys.clock, mapping={"at": own - HOUR_MS // 2, "ahead": HOUR_MS // 2})
    assert was <= look_at(raw, keys) <= was + 10_000


@pytest.mark.parametrize("looked", [True, False])
def test_a_clock_that_is_set_back_and_right_again_is_not_further_ahead_each_time(
    raw: redis.Redis, keys: Keys, looked: bool
) -> None:
    """What it had been behind was added to it when it was right: after +1 h, right, -1 h, right it was 2 h ahead."""
    was = set_back(raw, keys)  # it was an hour ahead once, and then right
    for dip in range(1, 6):
        own = own_clock(raw)
        # At the last look it was an hour behind, and now it is right.
        ahead = int(raw.hget(keys.clock, "ahead") or HOUR_MS)
        raw.hset(keys.clock, mapping={"at": own - HOUR_MS, "ahead": ahead + HOUR_MS})
        if looked:
            assert was <= look_at(raw, keys) <= was + dip * 10_000
        stamp = script_time(raw, keys)
        assert was <= stamp <= was + dip * 10_000
        look_at(raw, keys)


def test_between_two_looks_it_does_not_go_back(raw: redis.Redis, keys: Keys) -> None:
    own = own_clock(raw)
    raw.hset(
        keys.clock, mapping={"at": own + HOUR_MS, "ahead": HOUR_MS}
    )  # an hour back since that look, and once before
    assert script_time(raw, keys) == own + 2 * HOUR_MS


def test_a_clock_that_was_set_right_again_is_the_boards_at_once(
    raw: redis.Redis, keys: Keys
) -> None:
    own = own_clock(raw)
    raw.xadd(keys.heartbeats, {"service": "x", "instance": "1"}, id=f"{own - 5_000}-0")
    raw.hset(
        keys.clock, mapping={"at": own - HOUR_MS, "ahead": HOUR_MS}
    )  # it was an hour behind until just now
    pairs: Any = raw.eval(
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
    assert pairs == 0
    assert own <= last_ms(raw, keys.heartbeats) <= own_clock(raw), "not an hour ahead"
    assert own <= look_at(raw, keys) <= own_clock(raw)
    assert not raw.exists(keys.clock)


async def test_a_feed_that_reads_while_the_clock_is_set_back_hears_on(
    address: RedisAddress, raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    await asyncio.to_thread(publisher.publish, [outgoing(n=1)])
    async with open_reader(address, keys) as reader:
        # An hour ahead by the ids, then Redis' own clock again, which is behind them.
        was = set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        await asyncio.to_thread(publisher.publish, [outgoing(n=2)])
        await asyncio.to_thread(publisher.heartbeat, "balance-sync", "w-1")
        await eventually(lambda: 2 in reader.numbers)
        await eventually(
            lambda: any(heartbeat.instance == "w-1" for heartbeat in reader.heartbeats)
        )
        assert all(was <= entry.cursor.ms < was + 30_000 for entry in reader.entries)
        observed_until = reader.items[-1].observed_until  # type: ignore[union-attr]
        await eventually(lambda: reader.items[-1].observed_until > observed_until + 1_000)  # type: ignore[union-attr]
        assert was <= reader.clock.now_ms() < was + 30_000
        assert not reader.outages
        assert len(reader.resets) == 1


async def test_silence_before_a_clock_was_set_back_proves_nothing(
    address: RedisAddress, raw: redis.Redis, keys: Keys
) -> None:
    async with open_reader(address, keys) as reader:
        set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        ahead = reader.clock.now_ms()
        # The other way round: it is set right again, an hour back for us who were ahead.
        raw.delete(keys.heartbeats, keys.clock)
        await eventually(lambda: any(item.observed_since for item in reader.items[1:]))  # type: ignore[union-attr]
        await eventually(lambda: reader.clock.now_ms() < ahead - HOUR_MS // 2)


async def test_every_asker_is_told_the_same(
    address: RedisAddress, raw: redis.Redis, keys: Keys
) -> None:
    was = set_back(raw, keys)
    client = open_async_client(address, keys)
    times = [await fetch_time(client, keys) for _ in range(5)]
    await client.aclose()
    assert times == sorted(times)
    assert was <= times[0] <= times[-1] <= was + 10_000


def test_a_loss_is_declared_at_the_boards_time(
    raw: redis.Redis, keys: Keys, publisher: Publisher
) -> None:
    was = set_back(raw, keys)
    look_at(raw, keys)
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
    assert was <= event["timestamp"] == event["incident"]["declared"] <= was + 10_000


async def test_what_was_adopted_while_the_clock_was_behind_is_known_when_it_is_set_right(
    address: RedisAddress, raw: redis.Redis, keys: Keys, prefix: str
) -> None:
    async with open_reader(address, keys), ingesting(address, keys, prefix):
        set_back(raw, keys)
        await eventually(lambda: raw.exists(keys.clock))
        raw.publish(f"{prefix}report", '{"service":"report","timestamp":1,"status":{"n":1}}')
        await eventually(lambda: raw.keys(f"{{{keys.namespace}}}:ingested:*"))
        (adopted,) = raw.keys(f"{{{keys.namespace}}}:ingested:*")
        # Set right again, Redis' clock jumps by an hour: what one server has adopted another may still have to report.
        assert raw.pttl(adopted) > HOUR_MS
