"""The recorder: it has every event of the feed, and knows which of them Redis lost."""

from collections.abc import Iterator

import pytest
import redis
from chaos.recorder import Recorder
from chaos.store import client_of
from chaos.waiting import wait_until
from tests.support.bus import outgoing, restart
from tests.support.valkey import run_valkey

from pulseboard.bus.keys import Keys
from pulseboard.bus.publisher import Publisher
from pulseboard.embedded.valkey import EmbeddedValkey

PATIENCE_S = 20.0


@pytest.fixture
def store() -> Iterator[EmbeddedValkey]:
    with run_valkey() as valkey:
        yield valkey


@pytest.fixture
def recorder(store: EmbeddedValkey) -> Iterator[Recorder]:
    with Recorder(lambda: client_of(store.address.port)) as recorder:
        yield recorder


def publish(store: EmbeddedValkey, count: int) -> None:
    publisher = Publisher(store.address, Keys())
    for n in range(count):
        publisher.publish([outgoing(n=n)])
    publisher.close()


async def test_all_that_is_in_the_feed_is_recorded_in_order(
    store: EmbeddedValkey, recorder: Recorder
) -> None:
    publish(store, 50)
    assert await wait_until(lambda: len(recorder.ids) == 50, PATIENCE_S)
    assert list(recorder.ids) == sorted(set(recorder.ids))
    assert (recorder.breaks, recorder.problem) == ([], None)


async def test_a_restart_that_keeps_everything_is_no_break(
    store: EmbeddedValkey, recorder: Recorder
) -> None:
    publish(store, 5)
    assert await wait_until(lambda: len(recorder.ids) == 5, PATIENCE_S)
    with restart(store):
        publish(store, 5)
        assert await wait_until(lambda: len(recorder.ids) == 10, PATIENCE_S)
        assert recorder.breaks == []


async def test_what_redis_lost_has_vanished(store: EmbeddedValkey, recorder: Recorder) -> None:
    publish(store, 5)
    assert await wait_until(lambda: len(recorder.ids) == 5, PATIENCE_S)
    with restart(store, keep=False):
        publish(store, 3)
        assert await wait_until(lambda: len(recorder.ids) == 8, PATIENCE_S)
        assert await wait_until(lambda: len(recorder.breaks) == 1, PATIENCE_S)
        assert (recorder.breaks[0].vanished, recorder.breaks[0].resumes_at) == (
            frozenset(recorder.ids[:5]),
            recorder.ids[5],
        )


async def test_a_flush_is_a_break_though_the_connection_stays(
    store: EmbeddedValkey, recorder: Recorder
) -> None:
    publish(store, 30)
    assert await wait_until(lambda: len(recorder.ids) == 30, PATIENCE_S)
    with redis.Redis(port=store.address.port) as client:
        client.flushall()
    publish(store, 3)
    assert await wait_until(lambda: len(recorder.breaks) == 1, PATIENCE_S)
    assert recorder.breaks[0].vanished == frozenset(recorder.ids[:30])
    assert recorder.breaks[0].resumes_at == recorder.ids[30]


async def test_of_a_master_that_died_only_the_last_is_lost(
    store: EmbeddedValkey, recorder: Recorder
) -> None:
    """What a replica lacks: here the same server, without the last two entries."""
    publish(store, 10)
    assert await wait_until(lambda: len(recorder.ids) == 10, PATIENCE_S)
    with redis.Redis(port=store.address.port) as client:
        for text, _ in client.xrevrange("{pulseboard}:feed", count=2):
            client.xdel("{pulseboard}:feed", text)
        client.client_kill_filter(_type="normal", skipme=True)
    publish(store, 1)
    assert await wait_until(lambda: len(recorder.breaks) == 1, PATIENCE_S)
    assert recorder.breaks[0].vanished == frozenset(recorder.ids[8:10])
    assert recorder.breaks[0].resumes_at == recorder.ids[10]
