"""The seed's own surface: publish_status, subscribe, and that neither an outage nor a callback ends it."""

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


class Heard(list[tuple[str, ServiceStatusUpdate]]):
    """What a callback was called with."""

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
    """A service of this test alone: the seed's channels have a fixed prefix."""
    return f"s-{uuid.uuid4().hex[:12]}"


def test_the_seeds_channels_are_there() -> None:
    assert {channel.name: str(channel) for channel in ServiceChannel} == {
        "BALANCE_SYNC": "service:balance-sync",
        "ACCOUNT_DISCOVERY": "service:account-discovery",
        "ACCOUNT_ENRICHMENT": "service:account-enrichment",
        "ALL_SERVICES": "service:*",
    }


async def test_a_published_status_is_the_seeds_json(
    pubsub: ServicePubSub, raw: redis.Redis, name: str
) -> None:
    observed_until: Any = raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    observed_until.subscribe(f"service:{name}")
    observed_until.get_message(timeout=5)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    message = await asyncio.to_thread(observed_until.get_message, timeout=5)
    assert json.loads(message["data"]) == {
        "service": name,
        "timestamp": 1_765_584_000_000,
        "status": {"n": 1},
    }
    observed_until.close()


async def test_exactly_the_channels_named_are_heard(pubsub: ServicePubSub, name: str) -> None:
    observed_until = Heard()
    channels = [f"service:{name}-a", f"service:{name}-b"]
    await pubsub.subscribe(channels, observed_until)
    for number, service in enumerate(
        [f"{name}-a", f"{name}-c", f"{name}-b", f"{name}-ab", f"{name}-a"]
    ):
        await pubsub.publish_status(f"service:{service}", update(number, service))
    await eventually(lambda: len(observed_until) >= 3)
    assert [(channel, message.status["n"]) for channel, message in observed_until] == [
        (channels[0], 0),
        (channels[1], 2),
        (channels[0], 4),
    ]


async def test_the_pattern_hears_every_service_once_whatever_else_is_named(
    pubsub: ServicePubSub, name: str
) -> None:
    observed_until = Heard()
    await pubsub.subscribe([ServiceChannel.ALL_SERVICES, f"service:{name}"], observed_until)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    await pubsub.publish_status(f"service:{name}-2", update(2, f"{name}-2"))
    await eventually(lambda: 2 in observed_until.numbers)
    assert observed_until.numbers == [1, 2]


async def test_several_subscriptions_share_a_client(pubsub: ServicePubSub, name: str) -> None:
    one, two = Heard(), Heard()
    await pubsub.subscribe([f"service:{name}"], one)
    await pubsub.subscribe([f"service:{name}"], two)
    await pubsub.publish_status(f"service:{name}", update(1, name))
    await eventually(lambda: one and two)


async def test_a_subscription_survives_a_restart(own_valkey: EmbeddedValkey, name: str) -> None:
    async with ServicePubSub(RedisClient(own_valkey.address)) as pubsub:
        observed_until = Heard()
        await pubsub.subscribe([f"service:{name}"], observed_until)
        await pubsub.publish_status(f"service:{name}", update(1, name))
        await eventually(lambda: observed_until.numbers == [1])
        with restart(own_valkey), redis.Redis(port=own_valkey.address.port) as raw:
            await eventually(
                lambda: dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()]
            )
            await pubsub.publish_status(f"service:{name}", update(2, name))
            await eventually(lambda: observed_until.numbers == [1, 2])


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(ServiceStatusUpdate("a", 1, {"x": object()}), id="an object"),
        pytest.param(ServiceStatusUpdate("a", 1, {"x": "\ud800"}), id="half a surrogate pair"),
        pytest.param(ServiceStatusUpdate("a", 1, {("a", "b"): 1}), id="a key that is no text"),  # type: ignore[dict-item]
        pytest.param(ServiceStatusUpdate("a", 1, {"x": 10**5_000}), id="5,000 digits"),
        pytest.param(None, id="no update at all"),
    ],
)
async def test_a_status_that_can_not_be_published_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture, status: Any
) -> None:
    await pubsub.publish_status("service:a", status)
    assert caplog.text.count("failed to publish status") == 1


async def test_a_status_that_runs_in_a_circle_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture
) -> None:
    circle: dict[str, Any] = {}
    circle["x"] = circle
    await pubsub.publish_status("service:a", ServiceStatusUpdate("a", 1, circle))
    assert caplog.text.count("failed to publish status") == 1


@pytest.mark.parametrize(
    "channel", [ServiceChannel.ALL_SERVICES, "balance-sync", "service:logs", "service:a\r\nb"]
)
async def test_a_channel_of_no_service_is_logged_and_not_raised(
    pubsub: ServicePubSub, caplog: pytest.LogCaptureFixture, channel: str
) -> None:
    await pubsub.publish_status(channel, update())
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "failed to publish status" in record.message
    assert record.message.isprintable()


async def test_redis_away_is_logged_and_not_raised(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulseboard.bus.connection.redis_client.PUBLISH_ATTEMPTS", 2)
    async with ServicePubSub(RedisClient(RedisAddress("127.0.0.1", free_port()))) as pubsub:
        await pubsub.publish_status(ServiceChannel.BALANCE_SYNC, update())
    assert caplog.text.count("failed to publish status") == 1


async def test_what_is_no_update_is_dropped_and_counted_by_its_reason(
    pubsub: ServicePubSub, raw: redis.Redis, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    observed_until = Heard()
    await pubsub.subscribe([f"service:{name}"], observed_until)
    for payload in (b"hello", b"\xff", b"[]", b'{"service":"a"}', b'{"a":' * 100_000, b""):
        raw.publish(f"service:{name}", payload)
    raw.publish(f"service:{name}", b'{"service":"a","timestamp":1.5,"status":{"n":1}}')
    await eventually(lambda: observed_until)
    assert observed_until.numbers == [1]
    assert pubsub.rejections.counts == {"malformed": 3, "wrong-type": 2, "too-deep": 1}


async def test_an_exception_of_the_callback_is_logged_and_the_next_message_comes(
    pubsub: ServicePubSub, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    observed_until = Heard()

    def callback(channel: str, message: ServiceStatusUpdate) -> None:
        observed_until(channel, message)
        if message.status["n"] == 1:
            raise KeyError("the host's own")

    await pubsub.subscribe([f"service:{name}"], callback)
    for n in (1, 2):
        await pubsub.publish_status(f"service:{name}", update(n, name))
    await eventually(lambda: observed_until.numbers == [1, 2])
    assert "the host's own" in caplog.text


async def test_close_ends_every_subscription_and_connection(
    address: RedisAddress, raw: redis.Redis, name: str
) -> None:
    pubsub = ServicePubSub(RedisClient(address))
    for _ in range(3):
        await pubsub.subscribe([f"service:{name}"], Heard())
    assert dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()] == 3
    await pubsub.close()
    await eventually(
        lambda: not dict(raw.pubsub_numsub(f"service:{name}"))[f"service:{name}".encode()]
    )
    assert not [
        task for task in asyncio.all_tasks() if task.get_name() == "pulseboard-subscription"
    ]
    await pubsub.close()


async def test_subscribe_waits_for_redis_and_close_ends_the_wait(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The wait was for a confirmation alone, and whoever closed meanwhile left it waiting for ever."""
    port = free_port()
    pubsub = ServicePubSub(RedisClient(RedisAddress("127.0.0.1", port)))
    observed_until = Heard()
    waiting = asyncio.create_task(pubsub.subscribe([f"service:{name}"], observed_until))
    await eventually(lambda: "Redis subscription lost" in caplog.text)
    assert not waiting.done()
    await pubsub.close()
    await asyncio.wait_for(waiting, TIMEOUT_S)

    again = asyncio.create_task(pubsub.subscribe([f"service:{name}"], observed_until))
    with run_valkey(port):
        await asyncio.wait_for(again, TIMEOUT_S)
        await pubsub.publish_status(f"service:{name}", update(1, name))
        await eventually(lambda: observed_until)
        await pubsub.close()


async def test_a_cancelled_subscribe_leaves_nothing_behind(name: str) -> None:
    pubsub = ServicePubSub(RedisClient(RedisAddress("127.0.0.1", free_port())))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pubsub.subscribe([f"service:{name}"], Heard()), 0.05)
    await eventually(
        lambda: (
            not [
                task for task in asyncio.all_tasks() if task.get_name() == "pulseboard-subscription"
            ]
        )
    )
    await pubsub.close()


async def test_to_subscribe_to_nothing_is_an_error_at_once(pubsub: ServicePubSub) -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        await pubsub.subscribe([], Heard())


async def test_the_event_loop_goes_on_while_redis_is_frozen(own_valkey: EmbeddedValkey) -> None:
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


async def test_a_subscription_ends_though_the_driver_lost_its_cancellation_and_redis_is_away() -> (
    None
):
    """cpython #86296. Each attempt failed before it came to where that is looked at, for ever."""
    connecting = asyncio.Event()

    async def lose() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            connecting.set()
            await asyncio.sleep(0.01)
        raise OSError("away")

    subscription = Subscription(
        open_async_client(RedisAddress(), None), patterns=("*",), prepare=lose
    )
    task = asyncio.create_task(anext(subscription.messages()))
    await connecting.wait()
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=TIMEOUT_S)
    assert done
    assert task.cancelled()
