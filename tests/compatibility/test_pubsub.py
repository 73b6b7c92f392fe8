"""The original TypeScript and our Python exchange messages over Redis in both directions."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from tests.compatibility import node
from tests.support.valkey import run_valkey

from pulseboard import Service
from pulseboard.bus.connection.redis_client import RedisClient
from pulseboard.bus.pubsub import ServiceChannel, ServicePubSub
from pulseboard.wire.events.status import ServiceStatusUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulseboard.bus.connection.address import RedisAddress

CHANNELS = [
    ServiceChannel.BALANCE_SYNC,
    ServiceChannel.ACCOUNT_DISCOVERY,
    ServiceChannel.ACCOUNT_ENRICHMENT,
]


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisAddress]:
    """Run a separate Redis, because the original channels have no prefix per test."""
    with run_valkey() as valkey:
        yield valkey.address


def update(channel: ServiceChannel, number: int) -> dict[str, Any]:
    status = {
        "isRunning": number % 2 == 0,
        "done": number,
        "ratio": 0.1,
        "lastError": None,
        "name": "é ☃ \u2028",
    }
    return {
        "service": channel.removeprefix("service:"),
        "timestamp": 1_765_600_000_000 + number,
        "status": status,
    }


async def test_python_receives_every_message_of_the_original_publisher_in_order(
    own_redis: RedisAddress,
) -> None:
    sent = [
        (str(channel), update(channel, n))
        for n, channel in zip(range(30), itertools.cycle(CHANNELS))
    ]
    received: list[tuple[str, dict[str, Any]]] = []
    all_received = asyncio.Event()

    def on_message(channel: str, message: ServiceStatusUpdate) -> None:
        received.append(
            (
                channel,
                {
                    "service": message.service,
                    "timestamp": message.timestamp,
                    "status": message.status,
                },
            )
        )
        if len(received) == len(sent):
            all_received.set()

    async with ServicePubSub(RedisClient(own_redis)) as pubsub:
        await pubsub.subscribe([ServiceChannel.ALL_SERVICES], on_message)
        await asyncio.to_thread(node.publish, own_redis, sent)
        await asyncio.wait_for(all_received.wait(), 10)
    assert received == sent
    assert not pubsub.rejections.counts


async def test_original_subscriber_receives_every_python_message_in_its_shape(
    own_redis: RedisAddress,
) -> None:
    sent = [
        (channel, update(channel, n)) for n, channel in zip(range(30), itertools.cycle(CHANNELS))
    ]
    with node.subscriber(own_redis) as received:
        async with ServicePubSub(RedisClient(own_redis)) as pubsub:
            for channel, message in sent:
                await pubsub.publish_status(channel, ServiceStatusUpdate(**message))
        assert list(itertools.islice(received, len(sent))) == [
            {"channel": str(channel), "message": message} for channel, message in sent
        ]


def test_original_subscriber_receives_statuses_of_the_sdk_in_its_shape(
    own_redis: RedisAddress,
) -> None:
    with node.subscriber(own_redis) as received:
        with Service("balance-sync", redis_url=own_redis.url, instance="one") as service:
            service.replace({"queue": {"high": 3}, "isRunning": True})
            first, second = itertools.islice(received, 2)
        stopped = next(received)
    assert first["channel"] == second["channel"] == "service:balance-sync"
    assert (first["message"]["service"], first["message"]["status"]) == ("balance-sync", {})
    assert second["message"]["status"] == {"queue": {"high": 3}, "isRunning": True}
    assert isinstance(second["message"]["timestamp"], int)
    assert second["message"].keys() == {
        "service",
        "timestamp",
        "status",
        "instance",
        "heartbeat_s",
        "id",
    }
    assert stopped["message"]["stopped"] is True
