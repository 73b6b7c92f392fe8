"""The recorder has every event of the feed, and knows which of them Redis lost."""

from collections.abc import Iterator

import pytest
import redis
from chaos.recorder import FeedRecorder
from chaos.redis_servers import connect_to
from chaos.waiting import wait_until
from tests.support.bus import outgoing, restart
from tests.support.valkey import run_valkey

from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.embedded.valkey import EmbeddedValkey

LIMIT_S = 20.0


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    with run_valkey() as valkey:
        yield valkey


@pytest.fixture
def recorder(valkey: EmbeddedValkey) -> Iterator[FeedRecorder]:
    with FeedRecorder(lambda: connect_to(valkey.address.port)) as recorder:
        yield recorder


def publish(valkey: EmbeddedValkey, count: int) -> None:
    publisher = Publisher(valkey.address, Keys())
    for n in range(count):
        publisher.publish([outgoing(n=n)])
    publisher.close()


async def test_every_event_of_the_feed_is_recorded_in_order(
    valkey: EmbeddedValkey, recorder: FeedRecorder
) -> None:
    publish(valkey, 50)
    assert await wait_until(lambda: len(recorder.ids) == 50, LIMIT_S)
    assert list(recorder.ids) == sorted(set(recorder.ids))
    assert (recorder.losses, recorder.problem) == ([], None)


async def test_restart_with_all_data_is_no_loss(
    valkey: EmbeddedValkey, recorder: FeedRecorder
) -> None:
    publish(valkey, 5)
    assert await wait_until(lambda: len(recorder.ids) == 5, LIMIT_S)
    with restart(valkey):
        publish(valkey, 5)
        assert await wait_until(lambda: len(recorder.ids) == 10, LIMIT_S)
        assert recorder.losses == []


async def test_restart_without_data_is_a_loss_of_every_event(
    valkey: EmbeddedValkey, recorder: FeedRecorder
) -> None:
    publish(valkey, 5)
    assert await wait_until(lambda: len(recorder.ids) == 5, LIMIT_S)
    with restart(valkey, keep=False):
        publish(valkey, 3)
        assert await wait_until(lambda: len(recorder.ids) == 8, LIMIT_S)
        assert await wait_until(lambda: len(recorder.losses) == 1, LIMIT_S)
        assert (recorder.losses[0].lost, recorder.losses[0].resumed_at) == (
            frozenset(recorder.ids[:5]),
            recorder.ids[5],
        )


async def test_flush_is_a_loss_although_the_connection_stays(
    valkey: EmbeddedValkey, recorder: FeedRecorder
) -> None:
    publish(valkey, 30)
    assert await wait_until(lambda: len(recorder.ids) == 30, LIMIT_S)
    with redis.Redis(port=valkey.address.port) as client:
        client.flushall()
    publish(valkey, 3)
    assert await wait_until(lambda: len(recorder.losses) == 1, LIMIT_S)
    assert recorder.losses[0].lost == frozenset(recorder.ids[:30])
    assert recorder.losses[0].resumed_at == recorder.ids[30]


async def test_failover_loses_only_the_last_events(
    valkey: EmbeddedValkey, recorder: FeedRecorder
) -> None:
    """A replica lacks the last entries: here it is the same server without the last two."""
    publish(valkey, 10)
    assert await wait_until(lambda: len(recorder.ids) == 10, LIMIT_S)
    with redis.Redis(port=valkey.address.port) as client:
        for text, _ in client.xrevrange("{pulseboard}:feed", count=2):
            client.xdel("{pulseboard}:feed", text)
        client.client_kill_filter(_type="normal", skipme=True)
    publish(valkey, 1)
    assert await wait_until(lambda: len(recorder.losses) == 1, LIMIT_S)
    assert recorder.losses[0].lost == frozenset(recorder.ids[8:10])
    assert recorder.losses[0].resumed_at == recorder.ids[10]
