"""Coverage gaps: a period that no server covered is reported, with its beginning and its end."""

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


def coverage_ends(raw: redis.Redis, keys: Keys) -> dict[bytes, int]:
    """Return up to when each subscription is known to have been connected (ms)."""
    recorded: Any = raw.hgetall(keys.coverage)
    return {
        subscription: int(text.split()[1])
        for subscription, text in recorded.items()
        if len(subscription) == 16
    }


async def wait_until_covered(raw: redis.Redis, keys: Keys, subscriptions: int = 1) -> None:
    """Wait until `subscriptions` subscriptions have recorded coverage beyond this moment."""
    now = now_ms(raw)
    await eventually(
        lambda: sum(until > now for until in coverage_ends(raw, keys).values()) >= subscriptions
    )


def has_ended(ingestor: Ingestor) -> bool:
    return ingestor.gap is not None and ingestor.gap.until is not None


@contextlib.asynccontextmanager
async def ingesting_and_recording_gaps(
    address: RedisAddress, keys: Keys, prefix: str
) -> AsyncIterator[tuple[Ingestor, list[CoverageGap | None]]]:
    """Run an ingestor and record the coverage gaps that it reports."""
    reported: list[CoverageGap | None] = []
    async with contextlib.AsyncExitStack() as stack:
        bus = await stack.enter_async_context(BusClient(address, keys))
        ingestor = Ingestor(
            bus, Rejections(), route_command=fail_on_command, prefix=prefix, on_gap=reported.append
        )
        await stack.enter_async_context(running(ingestor.run()))
        await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
        yield ingestor, reported


async def test_gap_covers_messages_that_were_published_over_a_dead_connection(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    async with ingesting_and_recording_gaps(proxy.address, keys, prefix) as (ingestor, reported):
        publish(raw, prefix, external_message(0))
        await wait_until_covered(raw, keys)
        assert history(raw, keys) == [{"n": 0}]
        assert reported == []
        proxy.freeze()
        frozen = now_ms(raw)
        publish(raw, prefix, external_message(1))
        lost = now_ms(raw)
        await eventually(lambda: reported)
        noticed = now_ms(raw)
        await eventually(lambda: has_ended(ingestor))
        resumed = now_ms(raw)
        publish(raw, prefix, external_message(2))
        await eventually(lambda: len(history(raw, keys)) == 2)
        first, second = reported[:2]
        assert first is not None
        assert second is not None
        assert first == CoverageGap(second.since, None)
        assert frozen - 5_000 < first.since <= frozen
        assert second.until is not None
        assert lost <= noticed <= second.until
        assert second.until < resumed + 5_000
        # No other server runs, so the comparison with others does not withdraw the gap.
        await eventually(lambda: ingestor.is_coverage_compared)
        assert ingestor.gap == second
        assert history(raw, keys) == [{"n": 0}, {"n": 2}]


async def test_gap_is_withdrawn_when_another_server_was_subscribed_throughout(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis, proxy: Proxy
) -> None:
    async with (
        ingesting_and_recording_gaps(address, keys, prefix) as (_, reported_by_other),
        ingesting_and_recording_gaps(proxy.address, keys, prefix) as (_, reported),
    ):
        await wait_until_covered(raw, keys, 2)
        proxy.freeze()
        publish(raw, prefix, external_message(1))
        await eventually(lambda: len(reported) >= 2)
        assert reported[0] is not None, "until the comparison, the gap is reported"
        await eventually(lambda: reported[-1] is None)
        assert history(raw, keys) == [{"n": 1}]
        assert reported_by_other == []


async def test_two_servers_that_lose_their_connections_together_report_the_same_gap(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str
) -> None:
    address = own_valkey.address
    with redis.Redis(host=address.host, port=address.port) as raw:
        async with ingesting(address, keys, prefix, 2) as ingestors:
            await wait_until_covered(raw, keys, 2)
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


async def test_outage_is_reported_although_redis_lost_the_recorded_coverage(
    own_valkey: EmbeddedValkey, keys: Keys, prefix: str
) -> None:
    address = own_valkey.address
    async with ingesting(address, keys, prefix) as (ingestor,):
        with redis.Redis(host=address.host, port=address.port) as raw:
            await wait_until_covered(raw, keys)
            stopped = now_ms(raw)
        own_valkey.stop()
        await eventually(lambda: ingestor.gap is not None)
        assert ingestor.gap is not None
        assert (ingestor.gap.since <= stopped, ingestor.gap.until) == (True, None)
        with restart(own_valkey, keep=False):
            await eventually(lambda: ingestor.is_coverage_compared and has_ended(ingestor))
            assert ingestor.gap.until is not None
            assert ingestor.gap.since <= stopped <= ingestor.gap.until


async def test_starting_server_reports_since_when_no_server_was_subscribed(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting(address, keys, prefix):
        await wait_until_covered(raw, keys)
    ended = now_ms(raw)
    publish(raw, prefix, external_message(1))
    async with ingesting_and_recording_gaps(address, keys, prefix) as (_, reported):
        started = now_ms(raw)
        await eventually(lambda: reported)
        (gap,) = reported
        assert gap is not None
        assert gap.until is not None
        assert gap.since <= ended <= gap.until < started + 5_000
        # A server that starts later reports the same gap.
        async with ingesting_and_recording_gaps(address, keys, prefix) as (second, _):
            await eventually(lambda: second.gap == gap)
    assert 0 < raw.ttl(keys.coverage) <= COVERAGE_TTL_S


async def test_first_server_reports_no_gap(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting_and_recording_gaps(address, keys, prefix) as (ingestor, reported):
        await eventually(lambda: ingestor.is_coverage_compared)
        await wait_until_covered(raw, keys)
        assert reported == []


async def test_coverage_is_not_recorded_before_the_messages_are_in_the_feed(
    address: RedisAddress,
    keys: Keys,
    prefix: str,
    raw: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a server dies with received messages in memory, those messages are lost.

    So the server may record coverage only up to the last message that it ingested.
    """
    async with ingesting(address, keys, prefix) as (ingestor,):
        await wait_until_covered(raw, keys)
        run_script: Any = ingestor._script
        held, released = asyncio.Event(), asyncio.Event()

        async def hold(**arguments: Any) -> object:
            held.set()
            await released.wait()
            return await run_script(**arguments)

        monkeypatch.setattr(ingestor, "_script", hold)
        published = now_ms(raw)
        publish(raw, prefix, external_message(1))
        await asyncio.wait_for(held.wait(), TIMEOUT_S)
        later = now_ms(raw) + 300
        await eventually(lambda: now_ms(raw) > later)  # the time of three recordings
        assert max(coverage_ends(raw, keys).values()) <= published
        released.set()
        await wait_until_covered(raw, keys)


async def test_invalid_coverage_entries_are_ignored_and_old_ones_removed(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    raw.hset(keys.coverage, mapping={b"\xff": b"1", "a": "x y", "b": "9" * 5_000, "old": "5 6"})
    async with ingesting_and_recording_gaps(address, keys, prefix) as (_, reported):
        await eventually(lambda: not raw.hexists(keys.coverage, "old"))
        await wait_until_covered(raw, keys)
        assert reported == []


async def test_failure_to_record_coverage_is_logged_once_and_ingestion_continues(
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
        await wait_until_covered(raw, keys)
        assert caplog.text.count("cannot record") == 1


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=8)


@given(SPANS)
def test_latest_gap_is_the_last_uncovered_period_joined_with_near_ones(
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
        if first - at <= JOIN_MS // 1000:  # the covered time between them is shorter
            first = at
    assert found == CoverageGap(first * 1000, (gaps[-1] + 1) * 1000)


async def test_connection_losses_in_quick_succession_are_reported_as_one_gap(
    address: RedisAddress, keys: Keys, prefix: str, raw: redis.Redis
) -> None:
    async with ingesting_and_recording_gaps(address, keys, prefix) as (ingestor, _):
        await wait_until_covered(raw, keys)
        first = now_ms(raw)
        for _ in range(5):
            await asyncio.wait_for(ingestor.subscribed.wait(), TIMEOUT_S)
            raw.client_kill_filter(_type="pubsub")
            await eventually(lambda: not ingestor.subscribed.is_set())
        await eventually(lambda: has_ended(ingestor) and ingestor.is_coverage_compared)
        assert ingestor.gap is not None
        assert ingestor.gap.since <= first
