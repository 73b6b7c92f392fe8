"""What no server heard is told, from when to when; and what another one heard is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bus import (
    TIMEOUT_S,
    Proxy,
    eventually,
    external_message,
    fail_on_command,
    history,
    ingesting,
    publish,
    restart,
    running,
)

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import BusClient
from pulseboard.bus.ingest.coverage import JOIN_MS, CoverageGap, CoverageSpan, latest_gap
from pulseboard.bus.ingest.ingestor import Ingestor
from pulseboard.bus.keys import COVERAGE_TTL_S, Keys
from pulseboard.bus.rejections import Rejections
from pulseboard.embedded.valkey import EmbeddedValkey


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.PING_EVERY_S", 0.1)
    monkeypatch.setattr("pulseboard.bus.ingest.subscription.SILENCE_S", 0.5)
    monkeypatch.setattr("pulseboard.bus.ingest.coverage.COMPARE_AFTER_S", 0.5)


def now_ms(raw: redis.Redis) -> int:
    seconds, microseconds = raw.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def proofs(raw: redis.Redis, keys: Keys) -> dict[bytes, int]:
    """Up to when each subscription is known to have heard."""
    noted: Any = raw.hgetall(keys.coverage)
    return {ear: int(text.split()[1]) for ear, text in noted.items() if len(ear) == 16}


async def proved(raw: redis.Redis, keys: Keys, ears: int = 1) -> None:
    """Wait until so many subscriptions have noted that they heard until after now."""
    now = now_ms(raw)
    await eventually(lambda: sum(until > now for until in proofs(raw, keys).values()) >= ears)


def has_ended(ingestor: Ingestor) -> bool:
    return ingestor.gap is not None and ingestor.gap.until is not None


@contextlib.asynccontextmanager
async def listening(
    address: RedisAddress, keys: Keys, prefix: str
) -> AsyncIterator[tuple[Ingestor, list[CoverageGap | None]]]:
    """Run an adopter, and keep what it tells of its deafness."""
    told: list[CoverageGap | None] = []
    async with contextlib.AsyncExitStack() as stack:
        bus = await stack.enter_async_context(BusClient(address, keys))
        ingestor = Ingestor(
            bus, Rejections(), route_command=fail_on_command, prefix=prefix, on_gap=told.append
        )
        await stack.enter_async_context(running(ingestor.run()))
        await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
        yield ingestor, told


async def test_what_was_published_while_a_link_was_dead_unnoticed_lies_in_the_span_that_is_told(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    async with listening(proxy.address, keys, prefix) as (ingestor, told):
        publish(raw, prefix, external_message(0))
        await proved(raw, keys)
        assert history(raw, keys) == [{"n": 0}]
        assert told == []
        proxy.freeze()
        frozen = now_ms(raw)
        publish(raw, prefix, external_message(1))
        lost = now_ms(raw)
        await eventually(lambda: told)
        noticed = now_ms(raw)
        await eventually(lambda: has_ended(ingestor))
        observed_until = now_ms(raw)
        publish(raw, prefix, external_message(2))
        await eventually(lambda: len(history(raw, keys)) == 2)
        first, second = told[:2]
        assert first is not None
        assert second is not None
        assert first == CoverageGap(second.since, None)
        assert frozen - 5_000 < first.since <= frozen
        assert second.until is not None
        assert lost <= noticed <= second.until
        assert second.until < observed_until + 5_000
        # Nor does it take that back when the others, of whom there are none, have had time to speak.
        await eventually(lambda: ingestor.is_coverage_compared)
        assert ingestor.gap == second
        assert history(raw, keys) == [{"n": 0}, {"n": 2}]


async def test_what_another_server_heard_throughout_is_told_no_more(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    async with (
        listening(address, keys, prefix) as (_, of_other),
        listening(proxy.address, keys, prefix) as (_, told),
    ):
        await proved(raw, keys, 2)
        proxy.freeze()
        publish(raw, prefix, external_message(1))
        await eventually(lambda: len(told) >= 2)
        assert told[0] is not None, "as long as it does not know, it says so"
        await eventually(lambda: told[-1] is None)
        assert history(raw, keys) == [{"n": 1}]
        assert of_other == []


async def test_two_who_lost_their_links_together_tell_the_same_span(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str
) -> None:
    where = own_valkey.address
    with redis.Redis(host=where.host, port=where.port) as raw:
        async with ingesting(where, keys, prefix, 2) as ingestors:
            await proved(raw, keys, 2)
            killed = now_ms(raw)
            raw.client_kill_filter(_type="pubsub")
            await eventually(lambda: all(ingestor.gap is not None for ingestor in ingestors))
            await eventually(
                lambda: all(
                    ingestor.is_coverage_compared and has_ended(ingestor) for ingestor in ingestors
                )
            )
            one, other = (ingestor.gap for ingestor in ingestors)
            assert one == other
            assert one is not None
            assert one.until is not None
            assert one.since <= killed <= one.until


async def test_an_outage_is_told_though_redis_lost_what_was_noted(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str
) -> None:
    where = own_valkey.address
    async with ingesting(where, keys, prefix) as (ingestor,):
        with redis.Redis(host=where.host, port=where.port) as raw:
            await proved(raw, keys)
            stopped = now_ms(raw)
        own_valkey.stop()
        await eventually(lambda: ingestor.gap is not None)
        assert ingestor.gap is not None
        assert (ingestor.gap.since <= stopped, ingestor.gap.until) == (True, None)
        with restart(own_valkey, keep=False):
            await eventually(lambda: ingestor.is_coverage_compared and has_ended(ingestor))
            assert ingestor.gap.until is not None
            assert ingestor.gap.since <= stopped <= ingestor.gap.until


async def test_a_server_that_starts_tells_since_when_there_was_none(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        await proved(raw, keys)
    ended = now_ms(raw)
    publish(raw, prefix, external_message(1))
    async with listening(address, keys, prefix) as (_, told):
        started = now_ms(raw)
        await eventually(lambda: told)
        (gap,) = told
        assert gap is not None
        assert gap.until is not None
        assert gap.since <= ended <= gap.until < started + 5_000
        async with listening(address, keys, prefix) as (
            second,
            _,
        ):  # and so does any that comes later
            await eventually(lambda: second.gap == gap)
    assert 0 < raw.ttl(keys.coverage) <= COVERAGE_TTL_S


async def test_a_first_server_has_nothing_to_tell(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with listening(address, keys, prefix) as (ingestor, told):
        await eventually(lambda: ingestor.is_coverage_compared)
        await proved(raw, keys)
        assert told == []


async def test_nothing_is_called_heard_before_it_is_in_the_feed(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that dies with what it heard has lost it as if it had not heard."""
    async with ingesting(address, keys, prefix) as (ingestor,):
        await proved(raw, keys)
        adopt: Any = ingestor._script
        held, go = asyncio.Event(), asyncio.Event()

        async def hold(**arguments: Any) -> object:
            held.set()
            await go.wait()
            return await adopt(**arguments)

        monkeypatch.setattr(ingestor, "_script", hold)
        published = now_ms(raw)
        publish(raw, prefix, external_message(1))
        await asyncio.wait_for(held.wait(), TIMEOUT_S)
        later = now_ms(raw) + 300
        await eventually(lambda: now_ms(raw) > later)  # three proofs
        assert max(proofs(raw, keys).values()) <= published
        go.set()
        await proved(raw, keys)


async def test_what_anybody_else_wrote_there_is_passed_over_and_old_spans_go(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    raw.hset(keys.coverage, mapping={b"\xff": b"1", "a": "x y", "b": "9" * 5_000, "old": "5 6"})
    async with listening(address, keys, prefix) as (_, told):
        await eventually(lambda: not raw.hexists(keys.coverage, "old"))
        await proved(raw, keys)
        assert told == []


async def test_a_redis_that_takes_no_notes_is_complained_of_once_and_plain_publishes_go_on(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw.set(keys.coverage, "not ours")
    async with ingesting(address, keys, prefix):
        await eventually(lambda: "cannot record" in caplog.text)
        publish(raw, prefix, external_message(1))
        await eventually(lambda: history(raw, keys))
        raw.delete(keys.coverage)
        await proved(raw, keys)
        assert caplog.text.count("cannot record") == 1


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=8)


@given(SPANS)
def test_the_latest_gap_is_what_no_span_has_at_last_and_little_before(
    spans: list[list[int]],
) -> None:
    covered = {at for since, until in spans for at in range(since, until)}
    ends = [at for span in spans for at in span]
    gaps = [at for at in range(min(ends), max(ends)) if at not in covered] if ends else []
    found = latest_gap(
        CoverageSpan(str(n), since * 1000, until * 1000) for n, (since, until) in enumerate(spans)
    )
    if not gaps:
        assert found is None
        return
    first = gaps[-1]
    for at in reversed(gaps):
        if first - at <= JOIN_MS // 1000:  # less than that was heard in between
            first = at
    assert found == CoverageGap(first * 1000, (gaps[-1] + 1) * 1000)


async def test_losses_in_quick_succession_are_told_as_one(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with listening(address, keys, prefix) as (ingestor, _):
        await proved(raw, keys)
        first = now_ms(raw)
        for _ in range(5):
            await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            raw.client_kill_filter(_type="pubsub")
            await eventually(lambda: not ingestor.subscribed.is_set())
        await eventually(lambda: has_ended(ingestor) and ingestor.is_coverage_compared)
        assert ingestor.gap is not None
        assert ingestor.gap.since <= first
