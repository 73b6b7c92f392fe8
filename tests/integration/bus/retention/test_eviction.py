"""Eviction removes an instance from the board if it published nothing newer."""

import pytest
import redis
from tests.support.bus import lifecycle_events, outgoing
from tests.support.valkey import free_port

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.bus.retention.eviction import Evictor
from pulseboard.bus.retention.limits import DEFAULT_LIMITS
from pulseboard.bus.scripts import read_script
from pulseboard.wire.cursor import ZERO
from pulseboard.wire.errors import BusUnavailable


async def test_instance_is_evicted_only_if_it_published_nothing_newer(
    bus: BusClient, publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    ended, _, returned, again, stays = publisher.publish(
        [
            outgoing(instance=name)
            for name in ("ended", "ended-too", "returned", "returned", "stays")
        ]
    )
    evictor = Evictor(bus)
    candidates = [
        ("balance-sync", "ended", ended),
        ("balance-sync", "returned", returned),
        ("balance-sync", "never", again),
    ]
    assert await evictor.evict(candidates) == 1
    assert sorted(raw.hkeys(keys.board)) == [
        b"balance-sync/ended-too",
        b"balance-sync/returned",
        b"balance-sync/stays",
    ]
    assert (
        await evictor.evict([("balance-sync", "returned", again), ("balance-sync", "stays", stays)])
        == 2
    )
    assert await evictor.evict([]) == 0


async def test_evictor_without_redis_raises(keys: Keys) -> None:
    async with BusClient(RedisAddress("127.0.0.1", free_port()), keys) as bus:
        with pytest.raises(BusUnavailable):
            await Evictor(bus).evict([("balance-sync", "w-1", ZERO)])


def test_evicted_instance_gives_a_lifecycle_event_in_the_feed(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    (cursor,) = publisher.publish([outgoing()])
    publisher.heartbeat("balance-sync", "w-1")
    names = keys.shared
    assert (
        raw.eval(
            read_script("evict"),
            len(names),
            *names,
            DEFAULT_LIMITS,
            "balance-sync/w-1",
            str(cursor),
        )
        == 1
    )
    (gone,) = lifecycle_events(raw, keys)
    assert (gone["service"], gone["instance"], gone["event"]) == ("balance-sync", "w-1", "gone")
    assert raw.hlen(keys.seen) == raw.hlen(keys.board) == 0


def test_latest_metrics_are_evicted_with_their_instance(
    publisher: Publisher, raw: redis.Redis, keys: Keys
) -> None:
    (cursor,) = publisher.publish([outgoing()])
    publisher.publish_metrics(
        "balance-sync", "w-1", b'{"service":"balance-sync","metrics":{"n":1},"instance":"w-1"}'
    )
    publisher.publish_metrics(
        "balance-sync", "w-2", b'{"service":"balance-sync","metrics":{"n":1},"instance":"w-2"}'
    )
    raw.eval(
        read_script("evict"),
        len(keys.shared),
        *keys.shared,
        DEFAULT_LIMITS,
        "balance-sync/w-1",
        str(cursor),
    )
    assert raw.hkeys(keys.latest_metrics) == [b"balance-sync/w-2"]
