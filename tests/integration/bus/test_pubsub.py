"""ServicePubSub: publish_status and subscribe survive outages and failing callbacks."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis
from tests.support.bus import TIMEOUT_S, eventually, restart
from tests.support.valkey import free_port, run_valkey

from pulseboard import RedisClient, ServiceChannel, ServicePubSub, ServiceStatusUpdate
from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.client import open_async_client
from pulseboard.bus.ingest.subscription import Subscription
from pulseboard.embedded.valkey import EmbeddedValkey


def update(n: Any = 0, service: str = "balance-sync") -> ServiceStatusUpdate:
    return ServiceStatusUpdate(service, 1_765_584_000_000, {"n": n})


class ReceivedUpdates(list[tuple[str, ServiceStatusUpdate]]):
    """A callback that records its arguments."""

    def __call__(self, channel: str, message: ServiceStatusUpdate) -> None:
        self.append((channel, message))

    @property
    def numbers(self) -> list[Any]:
        return [message.status["n"] for _, message in self]


@pytest.fixture
async def pubsub(address: RedisAddress) -> AsyncIterator[ServicePubSub]:
    async with ServicePubSub(RedisClient(address)) as pubsub:
        yield pubsub


@pytest.fixture
def name() -> str:
    """Return a service name that only this test uses: the channels have a fixed prefix."""
    return f"s-{uuid.uuid4().hex[:12]}"


def test_service_channel_has_the_channels_of_the_original_specification() -> None:
    assert {channel.name: str(channel) for channel in ServiceChannel} == {
        "BALANCE_SYNC": "service:balance-sync",
        "ACCOUNT_DISCOVERY": "service:account-discovery",
        "ACCOUNT_ENRICHMENT": "service:account-enrichment",
        "ALL_SERVICES": "service:*",
    }


async def test_published_status_is_the_json_of_the_original_specification(
    pubsub: ServicePubSub, raw: redis.Redis, name: str
) -> None:
    subscriber: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    subscriber.subscribe(f"service:{name}")
    subscriber.get_message(timeout=5)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    message = await asyncio.to_thread(subscriber.get_message, timeout=5)
    assert json.loads(message["data"]) == {
        "service": name,
        "timestamp": 1_765_584_000_000,
        "status": {"n": 1},
    }
    subscriber.close()


async def test_subscription_receives_exactly_the_named_channels(
    pubsub: ServicePubSub, name: str
) -> None:
    received = ReceivedUpdates()
    channels = [f"service:{name}-a", f"service:{name}-b"]
    await pubsub.subscribe(channels, received)
    for number, service in enumerate(
        [f"{name}-a", f"{name}-c", f"{name}-b", f"{name}-ab", f"{name}-a"]
    ):
        await pubsub.publish_status(f"service:{service}", update(number, service))
    await eventually(lambda: len(received) >= 3)
    assert [(channel, message.status["n"]) for channel, message in received] == [
        (channels[0], 0),
        (channels[1], 2),
        (channels[0], 4),
    ]


async def test_pattern_receives_each_message_once_although_a_channel_is_named_too(
    pubsub: ServicePubSub, name: str
) -> None:
    received = ReceivedUpdates()
    await pubsub.subscribe([ServiceChannel.ALL_SERVICES, f"service:{name}"], received)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    await pubsub.publish_status(f"service:{name}-2", update(2, f"{name}-2"))
    await eventually(lambda: 2 in received.numbers)
    assert received.numbers == [1, 2]


async def test_several_subscriptions_share_one_client(pubsub: ServicePubSub, name: str) -> None:
    one, two = ReceivedUpdates(), ReceivedUpdates()
    await pubsub.subscribe([f"service:{name}"], one)
    await pubsub.subscribe([f"service:{name}"], two)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    await eventually(lambda: one and two)


async def test_subscription_survives_a_restart_of_redis(
    own_valkey: EmbeddedValkey, name: str
) -> None:
    async with ServicePubSub(RedisClient(own_valkey.address)) as pubsub:
        received = ReceivedUpdates()
        await pubsub.subscribe([f"service:{name}"], received)
        await pubsub.publish_status(f"service:{name}", update(1, name))
        await eventually(lambda: received.numbers == [1])
        with restart(own_valkey), redis.Redis(port=own_valkey.address.port) as raw:
            await eventually(
                lambda: dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()]
            )
            await pubsub.publish_status(f"service:{name}", update(2, name))
            await eventually(lambda: received.numbers == [1, 2])


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(ServiceStatusUpdate("a", 1, {"x": object()}), id="an object"),
        pytest.param(ServiceStatusUpdate("a", 1, {"x": "\ud800"}), id="lone surrogate"),
        pytest.param(ServiceStatusUpdate("a", 1, {("a", "b"): 1}), id="key that is not text"),  # type: ignore[dict-item]
        pytest.param(ServiceStatusUpdate("a", 1, {"x": 10**5_000}), id="5,000 digits"),
        pytest.param(None, id="not an update"),
    ],
)
async def test_status_that_cannot_be_encoded_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture, status: Any
) -> None:
    await pubsub.publish_status("service:a", status)
    assert caplog.text.count("failed to publish status") == 1


async def test_status_with_a_circular_reference_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture
) -> None:
    circular: dict[str, Any] = {}
    circular["x"] = circular
    await pubsub.publish_status("service:a", ServiceStatusUpdate("a", 1, circular))
    assert caplog.text.count("failed to publish status") == 1


@pytest.mark.parametrize(
    "channel", [ServiceChannel.ALL_SERVICES, "balance-sync", "service:logs", "service:a\r\nb"]
)
async def test_channel_that_belongs_to_no_service_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture, channel: str
) -> None:
    await pubsub.publish_status(channel, update())
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "failed to publish status" in record.message
    assert record.message.isprintable()


async def test_unreachable_redis_is_logged_and_not_raised(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.connection.redis_client.PUBLISH_ATTEMPTS", 2)
    async with ServicePubSub(RedisClient(RedisAddress("127.0.0.1", free_port()))) as pubsub:
        await pubsub.publish_status(ServiceChannel.BALANCE_SYNC, update())
    assert caplog.text.count("failed to publish status") == 1


async def test_message_that_is_not_an_update_is_dropped_and_counted_by_reason(
    pubsub: ServicePubSub, raw: redis.Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    received = ReceivedUpdates()
    await pubsub.subscribe([f"service:{name}"], received)
    for payload in (b"hello", b"\xff", b"[]", b'{"service":"a"}', b'{"a":' * 100_000, b""):
        raw.publish(f"service:{name}", payload)
    raw.publish(f"service:{name}", b'{"service":"a","timestamp":1.5,"status":{"n":1}}')
    await eventually(lambda: received)
    assert received.numbers == [1]
    assert pubsub.rejections.counts == {"malformed": 3, "wrong-type": 2, "too-deep": 1}


async def test_exception_of_the_callback_is_logged_and_the_next_message_arrives(
    pubsub: ServicePubSub, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    received = ReceivedUpdates()

    def callback(channel: str, message: ServiceStatusUpdate) -> None:
        received(channel, message)
        if message.status["n"] == 1:
            raise KeyError("raised by the callback")

    await pubsub.subscribe([f"service:{name}"], callback)
    for n in (1, 2):
        await pubsub.publish_status(f"service:{name}", update(n, name))
    await eventually(lambda: received.numbers == [1, 2])
    assert "raised by the callback" in caplog.text


async def test_close_ends_all_subscriptions_and_connections(
    address: RedisAddress, raw: redis.Redis, name: str
) -> None:
    pubsub = ServicePubSub(RedisClient(address))
    for _ in range(3):
        await pubsub.subscribe([f"service:{name}"], ReceivedUpdates())
    assert dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()] == 3
    await pubsub.close()
    await eventually(
        lambda: not dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()]
    )
    assert not [
        task for task in asyncio.all_tasks() if task.get_name() == "pulseboard-subscription"
    ]
    await pubsub.close()


async def test_subscribe_waits_for_redis_until_close(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """subscribe() waited only for the confirmation of Redis.

    After a close() during that wait it never returned.
    """
    port = free_port()
    pubsub = ServicePubSub(RedisClient(RedisAddress("127.0.0.1", port)))
    received = ReceivedUpdates()
    waiting = asyncio.create_task(pubsub.subscribe([f"service:{name}"], received))
    await eventually(lambda: "Redis subscription lost" in caplog.text)
    assert not waiting.done()
    await pubsub.close()
    await asyncio.wait_for(waiting, TIMEOUT_S)

    again = asyncio.create_task(pubsub.subscribe([f"service:{name}"], received))
    with run_valkey(port):
        await asyncio.wait_for(again, TIMEOUT_S)
        await pubsub.publish_status(f"service:{name}", update(1, name))
        await eventually(lambda: received)
        await pubsub.close()


async def test_cancelled_subscribe_leaves_no_task_behind(name: str) -> None:
    pubsub = ServicePubSub(RedisClient(RedisAddress("127.0.0.1", free_port())))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pubsub.subscribe([f"service:{name}"], ReceivedUpdates()), 0.05)
    await eventually(
        lambda: (
            not [
                task for task in asyncio.all_tasks() if task.get_name() == "pulseboard-subscription"
            ]
        )
    )
    await pubsub.close()


async def test_subscribe_without_channels_raises_at_once(pubsub: ServicePubSub) -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        await pubsub.subscribe([], ReceivedUpdates())


async def test_event_loop_is_not_blocked_while_redis_is_frozen(own_valkey: EmbeddedValkey) -> None:
    assert own_valkey.pid is not None
    async with ServicePubSub(RedisClient(own_valkey.address)) as pubsub:
        await pubsub.publish_status(ServiceChannel.BALANCE_SYNC, update())
        os.kill(own_valkey.pid, signal.SIGSTOP)
        try:
            publishing = asyncio.create_task(
                pubsub.publish_status(ServiceChannel.BALANCE_SYNC, update())
            )
            started = time.monotonic()
            await asyncio.sleep(0)
            assert time.monotonic() - started < 1
            assert not publishing.done()
        finally:
            os.kill(own_valkey.pid, signal.SIGCONT)
        await publishing


async def test_subscription_ends_although_the_driver_lost_its_cancellation() -> None:
    """The driver can lose a cancellation (cpython #86296).

    With Redis unreachable, each attempt failed before the code that checks for a lost
    cancellation, so the subscription never ended.
    """
    connecting = asyncio.Event()

    async def lose_cancellation() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            connecting.set()
            await asyncio.sleep(0.01)
        raise OSError("unreachable")

    subscription = Subscription(
        open_async_client(RedisAddress(), None), patterns=("*",), prepare=lose_cancellation
    )
    task = asyncio.create_task(anext(subscription.messages()))
    await connecting.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=TIMEOUT_S)
    assert done
    assert task.cancelled()
