"""The feed reader: every event in order and once, or a Reset with a reason."""

import asyncio
import os
import random
import signal
import time
from typing import Any

import pytest
import redis
from tests.support.bus import (
    Proxy,
    RecordingReader,
    event,
    eventually,
    numbers_of,
    open_reader,
    outgoing,
    restart,
    running,
)
from tests.support.valkey import free_port, run_valkey

from pulseboard.bus.clock import RedisClock
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.feed.entries import Batch, Reset
from pulseboard.bus.feed.position import FeedPosition
from pulseboard.bus.feed.queries import FeedQueries, Origin
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.embedded.valkey import EmbeddedValkey


async def publish(publisher: Publisher, *numbers: int) -> None:
    """Publish one event for each number, in one batch."""
    await asyncio.to_thread(publisher.publish, [outgoing(n=n) for n in numbers])


async def test_first_item_is_a_reset_with_the_whole_board(
    address: RedisAddress, keys: Keys, publisher: Publisher
) -> None:
    publisher.publish(
        [outgoing(instance="b", n=1), outgoing(instance="a", n=2), outgoing(instance="b", n=3)]
    )
    publisher.heartbeat("balance-sync", "a")
    async with open_reader(address, keys) as reader:
        (reset,) = reader.resets
        assert numbers_of(reset.board) == [2, 3], (
            "the latest event of each instance, in the order of the feed"
        )
        assert [(heartbeat.service, heartbeat.instance) for heartbeat in reset.heartbeats] == [
            ("balance-sync", "a")
        ]
        assert reset.cursor == reset.board[-1].cursor
        assert reader.entries == []


async def test_every_event_is_read_in_order_and_once(
    address: RedisAddress, keys: Keys, publisher: Publisher
) -> None:
    async with open_reader(address, keys) as reader, open_reader(address, keys) as other:
        total = 0
        while total < 3_000:  # several reads of COUNT entries
            batch = random.randint(1, 400)
            await publish(publisher, *range(total, total + batch))
            total += batch
        await eventually(lambda: len(reader.entries) >= total and len(other.entries) >= total)
        assert reader.numbers == list(range(total))
        assert [entry.cursor for entry in reader.entries] == [
            entry.cursor for entry in other.entries
        ]
        assert len(reader.resets) == 1


async def test_heartbeats_carry_the_time_of_redis(
    address: RedisAddress, keys: Keys, publisher: Publisher
) -> None:
    async with open_reader(address, keys) as reader:
        await asyncio.to_thread(publisher.heartbeat, "balance-sync", "w-1")
        await eventually(lambda: reader.heartbeats)
        (heartbeat,) = reader.heartbeats
        assert abs(heartbeat.seen - reader.clock.now_ms()) < 10_000


async def test_quiet_feed_still_gives_empty_batches_that_advance_observed_until(
    address: RedisAddress, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.feed.reader.BLOCK_MS", 50)
    async with open_reader(address, keys) as reader:
        await eventually(lambda: sum(isinstance(item, Batch) for item in reader.items) >= 3)
        empty = [item for item in reader.items if isinstance(item, Batch)]
        assert all(not item.entries and not item.heartbeats for item in empty)
        assert (
            empty[0].observed_until
            < empty[1].observed_until
            < empty[2].observed_until
            <= reader.clock.now_ms() + 50
        )


async def test_invalid_feed_entries_are_dropped_and_counted_and_reading_continues(
    address: RedisAddress, keys: Keys, publisher: Publisher, raw: redis.Redis
) -> None:
    async with open_reader(address, keys) as reader:
        rows: list[dict[str | bytes, str | bytes]] = [
            {"x": "y"},
            {"kind": "log", "data": event()},
            {"kind": "status"},
            {"kind": "status", "data": b"\xff\x00"},
            {"kind": "status", "data": event("logs")},
            {
                "kind": "status",
                "data": event().replace(b'{"n":0}', b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
            },
            {"kind": "status", "data": event(instance="a/b")},
            {"kind": "status", "data": event(heartbeat_s=-1)},
            {"kind": "status", "data": b"x" * 100_000},
        ]
        for row in rows:
            raw.xadd(keys.feed, row)  # type: ignore[arg-type]
        await publish(publisher, 1)
        await eventually(lambda: reader.entries)
        assert reader.numbers == [1]
        assert reader.rejections.counts.total() == len(rows)
        assert reader.rejections.counts == {
            "wrong-type": 3,
            "malformed": 2,
            "bad-name": 2,
            "too-deep": 1,
            "too-large": 1,
        }


async def test_invalid_board_entries_are_dropped_and_counted(
    address: RedisAddress, keys: Keys, publisher: Publisher, raw: redis.Redis
) -> None:
    publisher.publish([outgoing(n=1)])
    fields: dict[str, str | bytes] = {
        "a": "x",
        "b": event(),  # without an id
        "c": event()[:-1] + b',"id":"latest"}',
        "d": b"\xff",
        "e": event("logs", id="1-1"),
    }
    for field, value in fields.items():
        raw.hset(keys.board, field, value)
    async with open_reader(address, keys) as reader:
        assert numbers_of(reader.resets[0].board) == [1]
        assert reader.rejections.counts.total() == 5


async def test_invalid_heartbeats_do_not_stop_reading(
    address: RedisAddress, keys: Keys, publisher: Publisher, raw: redis.Redis
) -> None:
    raw.xadd(keys.heartbeats, {"x": "y"})
    for name in (keys.seen, keys.lost):
        raw.hset(name, mapping={"a/b": "9" * 5_000, "a": "x", "balance-sync/w-2": "1"})
    async with open_reader(address, keys) as reader:
        assert reader.resets[0].lost == {("balance-sync", "w-2"): 1}
        raw.xadd(keys.heartbeats, {"service": b"\xff", "instance": b"\x00", "lag": "9" * 5_000})
        await publish(publisher, 1)
        await eventually(lambda: reader.entries and reader.heartbeats)


@pytest.mark.parametrize("part", ["feed", "board", "heartbeats"])
async def test_key_of_another_type_makes_the_reader_blind_until_it_is_deleted(
    address: RedisAddress, keys: Keys, raw: redis.Redis, part: str
) -> None:
    name = getattr(keys, part)
    raw.set(name, "not ours")
    reader = RecordingReader(address, keys)
    async with running(reader.run()):
        await eventually(lambda: reader.outages)
        assert "wrong kind of value" in reader.outages[0].reason
        raw.delete(name)
        await eventually(lambda: reader.resets)


async def test_unreachable_redis_makes_the_reader_blind_and_logs_one_error(
    keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    reader = RecordingReader(RedisAddress("127.0.0.1", port), keys)
    async with running(reader.run()):
        await eventually(lambda: len(reader.outages) >= 4)
        with run_valkey(port):
            await eventually(lambda: reader.is_available)
            assert [reset.reason for reset in reader.resets] == ["the server started"]
            assert (
                len(
                    [
                        record
                        for record in caplog.records
                        if "cannot read the feed" in record.message
                    ]
                )
                == 1
            )


async def test_restart_that_keeps_its_data_loses_and_repeats_no_event(
    own_valkey: EmbeddedValkey, keys: Keys
) -> None:
    publisher = Publisher(own_valkey.address, keys)
    async with open_reader(own_valkey.address, keys) as reader:
        await publish(publisher, *range(50))
        await eventually(lambda: len(reader.entries) == 50)
        with restart(own_valkey):
            await publish(publisher, *range(50, 100))  # perhaps before the reader is back
            await eventually(lambda: len(reader.entries) >= 100)
            assert reader.numbers == list(range(100))
            assert reader.outages
            assert len(reader.resets) == 1
    publisher.close()


async def test_restart_that_loses_its_data_gives_a_reset(
    own_valkey: EmbeddedValkey, keys: Keys
) -> None:
    publisher = Publisher(own_valkey.address, keys)
    async with open_reader(own_valkey.address, keys) as reader:
        await publish(publisher, 1)
        await eventually(lambda: reader.entries)
        with restart(own_valkey, keep=False):
            await publish(publisher, 2)
            await eventually(lambda: len(reader.resets) == 2)
            assert "lost" in reader.resets[1].reason
            await publish(publisher, 3)
            await eventually(lambda: 3 in reader.numbers)
            assert [*numbers_of(reader.resets[1].board), *reader.numbers][-2:] == [2, 3]
    publisher.close()


@pytest.mark.parametrize("more_events", [False, True], ids=["then silence", "then more events"])
async def test_emptied_redis_gives_a_reset_although_no_connection_was_lost(
    own_valkey: EmbeddedValkey, keys: Keys, monkeypatch: pytest.MonkeyPatch, more_events: bool
) -> None:
    """After a FLUSHDB the feed started from empty without a reset.

    Each server went on showing the board that it had in memory.
    """
    monkeypatch.setattr("pulseboard.bus.feed.clock_observer.CLOCK_CHECK_EVERY_S", 0.05)
    monkeypatch.setattr("pulseboard.bus.feed.reader.BLOCK_MS", 50)
    publisher = Publisher(own_valkey.address, keys)
    raw = redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port)
    async with open_reader(own_valkey.address, keys) as reader:
        await publish(publisher, *range(20))
        await eventually(lambda: len(reader.entries) == 20)
        items_read = len(reader.items)
        await eventually(lambda: len(reader.items) > items_read + 3)
        raw.flushdb()
        if more_events:
            await publish(publisher, 100)
        await eventually(lambda: len(reader.resets) == 2)
        assert not reader.outages
        assert numbers_of(reader.resets[1].board) == ([100] if more_events else [])
    raw.close()
    publisher.close()


async def test_events_trimmed_while_the_connection_was_down_give_a_reset(
    address: RedisAddress,
    keys: Keys,
    proxy: Proxy,
    publisher: Publisher,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.bus.feed.reader.DEADLINE_S", 0.6)
    monkeypatch.setattr("pulseboard.bus.feed.reader.BLOCK_MS", 100)
    async with open_reader(proxy.address, keys) as reader:
        await publish(publisher, 1)
        await eventually(lambda: reader.entries)
        proxy.freeze()
        await publish(publisher, 2, 3, 4)
        raw.xtrim(keys.feed, maxlen=1, approximate=False)
        await eventually(lambda: len(reader.resets) == 2)
        assert "dropped" in reader.resets[1].reason
        assert numbers_of(reader.resets[1].board) == [4]


async def test_half_open_connection_is_closed_and_no_event_is_lost(
    keys: Keys, proxy: Proxy, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a connection never reports an error (redis-py issue 2417): only its silence shows it."""
    monkeypatch.setattr("pulseboard.bus.feed.reader.DEADLINE_S", 0.6)
    monkeypatch.setattr("pulseboard.bus.feed.reader.BLOCK_MS", 100)
    async with open_reader(proxy.address, keys) as reader:
        await publish(publisher, 0)
        await eventually(lambda: reader.entries)
        for n in (1, 2):
            proxy.freeze()
            await publish(publisher, n)
            await eventually(lambda n=n: n in reader.numbers)  # type: ignore[misc]
        assert reader.numbers == [0, 1, 2]
        assert len(reader.outages) >= 2
        assert len(reader.resets) == 1


async def test_reader_is_blind_while_redis_is_frozen_and_sees_again_after_it(
    own_valkey: EmbeddedValkey, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.feed.reader.DEADLINE_S", 0.6)
    monkeypatch.setattr("pulseboard.bus.feed.reader.BLOCK_MS", 100)
    assert own_valkey.pid is not None
    async with open_reader(own_valkey.address, keys) as reader:
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: reader.outages)
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await eventually(lambda: reader.is_available)
        assert len(reader.resets) == 1


async def test_reader_that_fell_behind_the_retention_gets_a_reset(
    address: RedisAddress,
    keys: Keys,
    publisher: Publisher,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.bus.feed.queries.COUNT", 5)
    async with open_reader(address, keys) as reader:
        await publish(publisher, 0)
        await eventually(lambda: reader.entries)
        # These calls block the event loop, so the reader cannot read while more events are
        # published than the feed keeps.
        publisher.publish([outgoing(n=n) for n in range(1, 40)])
        raw.xtrim(keys.feed, maxlen=10, approximate=False)
        publisher.publish([outgoing(n=40)])
        await eventually(lambda: len(reader.resets) == 2)
        assert numbers_of(reader.resets[1].board) == [40]


async def test_reader_leaves_no_connection_behind(
    address: RedisAddress, keys: Keys, raw: redis.Redis
) -> None:
    def count_connections() -> int:
        clients = raw.client_list()
        return len([client for client in clients if client["name"] == "pulseboard"])

    before = count_connections()
    async with open_reader(address, keys):
        assert count_connections() > before
    await eventually(lambda: count_connections() <= before)


def test_clock_follows_redis_and_subtracts_half_of_the_round_trip() -> None:
    clock = RedisClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1_000, (
        "before the first answer it is the clock of this machine"
    )
    requested_at = time.monotonic() - 10
    clock.set(1_000_000_000, requested_at)
    assert 1_000_005_000 <= clock.now_ms() < 1_000_006_000
    assert clock.now_ms() <= clock.now_ms()


async def test_reader_sets_the_clock_from_redis(
    address: RedisAddress, keys: Keys, raw: redis.Redis
) -> None:
    async with open_reader(address, keys) as reader:
        seconds, microseconds = raw.time()
        assert abs(reader.clock.now_ms() - (seconds * 1000 + microseconds // 1000)) < 1_000


async def test_batch_in_progress_is_read_again_after_a_lost_connection(
    proxy: Proxy, keys: Keys, publisher: Publisher
) -> None:
    """After each full read the reader checks that the feed is continuous.

    If the connection was lost during that check, the batch that was just read was lost too.
    """
    async with open_reader(proxy.address, keys) as reader:
        proxy.cut_after(b"EVAL")
        await publish(publisher, *range(700))
        await eventually(lambda: proxy.cuts == 1)
        await publish(publisher, 700)
        await eventually(lambda: reader.numbers[-1:] == [700])
        assert reader.numbers == list(range(701))
        assert len(reader.resets) == 1


async def test_failover_gives_a_reset_although_the_first_read_of_the_board_fails(
    address: RedisAddress, keys: Keys, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins = iter(["one", "another"])
    latest = "one"

    async def read_origin(*_: object) -> Origin:
        nonlocal latest
        latest = next(origins, latest)
        return Origin(0, latest)

    read_snapshot, failures = FeedQueries.read_snapshot, iter([False, True])

    async def fail_once(self: FeedQueries, *args: Any) -> tuple[Reset, FeedPosition]:
        if next(failures, False):
            raise redis.ConnectionError("gone again")
        return await read_snapshot(self, *args)

    monkeypatch.setattr(FeedQueries, "read_origin", read_origin)
    monkeypatch.setattr(FeedQueries, "read_snapshot", fail_once)
    await publish(publisher, 1)
    async with Proxy(address) as proxy, open_reader(proxy.address, keys) as reader:
        proxy.cut_after(b"XREAD")
        await eventually(lambda: proxy.cuts == 1)
        await eventually(lambda: len(reader.outages) == 2 and reader.is_available)
        assert [reset.reason[:19] for reset in reader.resets] == [
            "the server started",
            "Redis failed over t",
        ]
