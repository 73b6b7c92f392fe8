"""The ingestor: each external message becomes one feed entry, for any number of servers."""

import asyncio
import contextlib
import json
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
    wait_until_ingested,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.rejections import Rejections
from pulseboard.embedded.valkey import EmbeddedValkey


@pytest.mark.parametrize("servers", [1, 3])
async def test_external_message_is_ingested_once_by_any_number_of_servers(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, servers: int
) -> None:
    async with ingesting(address, keys, prefix, servers), open_reader(address, keys) as reader:
        for n in range(200):
            publish(raw, prefix, external_message(n))
        await eventually(lambda: len(reader.entries) >= 200)
        await wait_until_ingested(raw, keys, prefix)
        assert [status["n"] for status in history(raw, keys)] == list(range(200))
        await eventually(lambda: -1 in reader.numbers)
        assert sorted(reader.numbers) == [-1, *range(200)]
        stamped: Any = raw.hget(keys.board, "balance-sync/")
        assert json.loads(stamped)["status"] == {"n": 199}


@pytest.mark.parametrize("servers", [1, 3])
async def test_same_bytes_published_three_times_are_three_events(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, servers: int
) -> None:
    async with ingesting(address, keys, prefix, servers):
        for _ in range(3):
            publish(raw, prefix, external_message(1))
        await eventually(lambda: len(history(raw, keys)) >= 3)
        await wait_until_ingested(raw, keys, prefix)
        assert len(history(raw, keys)) == 3


async def test_message_that_came_from_the_feed_is_not_ingested(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, publisher: Publisher
) -> None:
    async with ingesting(address, keys, prefix):
        publisher.publish([outgoing(n=n) for n in range(10)])
        # This id is not where the scripts write it.
        publish(raw, prefix, b'{"id":"1-1",' + external_message()[1:])
        await wait_until_ingested(raw, keys, prefix)
        assert raw.xlen(keys.feed) == 11


async def test_server_that_joins_among_identical_messages_adds_no_duplicate(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        for _ in range(5):
            publish(raw, prefix, external_message(1))
        await eventually(lambda: len(history(raw, keys)) == 5)
        async with ingesting(address, keys, prefix):
            for _ in range(5):
                publish(raw, prefix, external_message(1))
            await wait_until_ingested(raw, keys, prefix)
            assert len(history(raw, keys)) == 10


async def test_next_server_ingests_the_next_identical_message(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    for expected in (1, 2, 3):  # three servers, one after the other
        async with ingesting(address, keys, prefix):
            publish(raw, prefix, external_message(1))
            await wait_until_ingested(raw, keys, prefix)
            raw.delete(keys.history("last-message"))
            assert len(history(raw, keys)) == expected


def delay_script(ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Delay the ingest script of an ingestor until the returned event is set.

    A slow connection or a busy machine has the same effect.
    """
    released, run_script = asyncio.Event(), ingestor._script

    async def run_script_later(**batch: Any) -> Any:
        await released.wait()
        return await run_script(**batch)

    monkeypatch.setattr(ingestor, "_script", run_script_later)
    return released


async def test_slow_server_that_joined_late_loses_no_message_when_the_other_dies(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second server's first report came after the first server's, so it counted from zero.

    Its next messages then had numbers that were ingested already, and were dropped.
    """
    async with BusClient(address, keys) as first_bus, BusClient(address, keys) as second_bus:
        first, second = (
            Ingestor(bus, Rejections(), route_command=fail_on_command, prefix=prefix)
            for bus in (first_bus, second_bus)
        )
        released = delay_script(second, monkeypatch)
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
        await wait_until_ingested(raw, keys, prefix)
        assert len(history(raw, keys)) == 12
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_messages_received_before_a_lost_connection_do_not_hide_later_ones(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port) as raw:
        async with ingesting(own_valkey.address, keys, prefix) as (ingestor,):
            for _ in range(5):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: len(history(raw, keys)) == 5)
            released = delay_script(ingestor, monkeypatch)
            for _ in range(3):
                publish(raw, prefix, external_message(1))
            await eventually(lambda: ingestor._batch_number > 1)  # the script is delayed
            raw.client_kill_filter(_type="pubsub")
            await eventually(lambda: ingestor.losses == 1)
            await eventually(ingestor.subscribed.is_set)
            released.set()
            for _ in range(4):
                publish(raw, prefix, external_message(1))
            await wait_until_ingested(raw, keys, prefix)
            assert len(history(raw, keys)) == 12


async def test_invalid_message_on_the_epoch_channel_has_no_effect(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        for payload in (b"", b"\xff" * 16, b"x" * 1_000_000, b"a:b"):
            publish(raw, prefix, external_message(1))
            raw.publish(keys.epochs, payload)
        await wait_until_ingested(raw, keys, prefix)
        assert len(history(raw, keys)) == 4


async def test_ingestors_resubscribe_after_a_restart_and_still_agree(
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
            for n in (1, 1, 2):  # the first two have the same bytes as before the restart
                publish(raw, prefix, external_message(n))
            await wait_until_ingested(raw, keys, prefix)
            assert [status["n"] for status in history(raw, keys)] == [1, 1, 1, 2]
    raw.close()


async def test_batch_that_is_sent_again_after_a_lost_answer_is_ingested_once(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    """The script ran and its answer was lost: the ingestor sends the batch again.

    The script recognises the batch by its number.
    """
    async with ingesting(proxy.address, keys, prefix):
        publish(raw, prefix, external_message(0))
        await eventually(lambda: history(raw, keys))
        for n in (1, 2, 3):
            proxy.cut_after(b"EVALSHA")
            publish(raw, prefix, external_message(n))
            await eventually(lambda n=n: proxy.cuts == n)  # type: ignore[misc]
        await wait_until_ingested(raw, keys, prefix)
        assert [status["n"] for status in history(raw, keys)] == [0, 1, 2, 3]


async def test_half_open_subscription_is_closed_and_opened_again(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.SILENCE_S", 0.2)
    async with ingesting(proxy.address, keys, prefix) as (ingestor,):
        assert proxy.connections
        proxy.freeze()
        await eventually(lambda: not ingestor.subscribed.is_set())
        await eventually(ingestor.subscribed.is_set)
        publish(raw, prefix, external_message(1))
        await eventually(lambda: history(raw, keys))


async def test_silence_alone_does_not_close_a_subscription(
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


@pytest.mark.parametrize("odd", ["a*b", "a?b", "[ab]", "a\\b", "^a", "]["])
async def test_glob_characters_in_the_prefix_have_no_special_meaning(
    address: RedisAddress, keys: Keys, raw: redis.Redis, odd: str
) -> None:
    prefix = f"{uuid.uuid4().hex}-{odd}:"
    rejections = Rejections()
    async with ingesting(address, keys, prefix, rejections=rejections):
        for other in ("axxb", "axb", "a", "b", "ab"):
            publish(raw, prefix.replace(odd, other), external_message(7))
        publish(raw, prefix, external_message(1))
        await wait_until_ingested(raw, keys, prefix)
        assert history(raw, keys) == [{"n": 1}]
        assert not rejections.counts


async def test_two_prefixes_and_namespaces_can_share_one_redis(
    address: RedisAddress, raw: redis.Redis
) -> None:
    one, two = uuid.uuid4().hex, uuid.uuid4().hex
    async with ingesting(address, Keys(one), f"{one}:"), ingesting(address, Keys(two), f"{two}:"):
        publish(raw, f"{one}:", external_message(1))
        publish(raw, f"{two}:", external_message(2))
        await wait_until_ingested(raw, Keys(one), f"{one}:")
        await wait_until_ingested(raw, Keys(two), f"{two}:")
        assert (history(raw, Keys(one)), history(raw, Keys(two))) == ([{"n": 1}], [{"n": 2}])


async def test_refused_batch_is_logged_as_lost_and_the_next_one_is_ingested(
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
        await wait_until_ingested(raw, keys, prefix)
        assert history(raw, keys) == [{"n": 2}]


async def test_more_messages_than_the_queue_holds_are_all_ingested(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        with raw.pipeline(transaction=False) as pipeline:
            for n in range(3_000):
                pipeline.publish(f"{prefix}balance-sync", external_message(n))
            pipeline.execute()
        await wait_until_ingested(raw, keys, prefix)
        await eventually(lambda: raw.xlen(keys.feed) >= 3_001)
        assert raw.xlen(keys.feed) == 3_001
        assert history(raw, keys)[-1] == {"n": 2_999}


async def test_keys_of_ingested_messages_and_batches_expire(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix, 2):
        for n in range(5):
            publish(raw, prefix, external_message(n))
            publish(raw, prefix, external_message(n))
        await wait_until_ingested(raw, keys, prefix)
        names: Any = raw.keys(f"{{{keys.namespace}}}:ingest*")
        assert len(names) >= 7
        for name in names:
            assert raw.pttl(name) > 0, name


async def test_ingestor_leaves_no_connection_behind(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    def connections() -> int:
        return len([client for client in raw.client_list() if client["name"] == "pulseboard"])

    before = connections()
    async with ingesting(address, keys, prefix, 3):
        assert connections() >= before + 3
    await eventually(lambda: connections() <= before)


async def test_ingestor_waits_for_redis_and_logs_one_error(
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


async def test_each_outage_of_a_quiet_subscription_is_logged(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage ended only when a message arrived.

    Without messages, the second outage was not logged, and the delay before the next attempt
    was longer.
    """
    async with ingesting(own_valkey.address, keys, prefix) as (ingestor,):
        for outage in (1, 2):
            with redis.Redis(host=own_valkey.address.host, port=own_valkey.address.port) as raw:
                raw.client_kill_filter(_type="pubsub")
            await eventually(
                lambda outage=outage: caplog.text.count("Redis subscription lost") == outage  # type: ignore[misc]
            )
            await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            await eventually(ingestor.subscribed.is_set)
