"""The interface of the original specification (section 4): publish and subscribe.

A message published here is an external message: it has no instance and no heartbeat, and a server
ingests it into the feed. Services in Python should use `pulseboard.Service` instead.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Self

from pulseboard.bus.connection.errors import describe_error
from pulseboard.bus.connection.redis_client import RedisClient
from pulseboard.bus.ingest.subscription import Subscription
from pulseboard.bus.rejections import Rejections
from pulseboard.wire.codec import encode
from pulseboard.wire.errors import InvalidEvent
from pulseboard.wire.events.status import ServiceStatusUpdate, parse_status_update
from pulseboard.wire.names import DEFAULT_PREFIX, parse_channel

log = logging.getLogger("pulseboard.pubsub")


class ServiceChannel(StrEnum):
    """The channels of the original specification.

    Any other `service:<name>` can be given as a string.
    """

    BALANCE_SYNC = "service:balance-sync"
    ACCOUNT_DISCOVERY = "service:account-discovery"
    ACCOUNT_ENRICHMENT = "service:account-enrichment"
    ALL_SERVICES = "service:*"


Callback = Callable[[str, ServiceStatusUpdate], None]


class ServicePubSub:
    """Publishes status updates, and calls a function for each received update."""

    def __init__(self, client: RedisClient | None = None) -> None:
        self.client = client or RedisClient()
        self.rejections = Rejections()
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish_status(
        self, channel: ServiceChannel | str, status: ServiceStatusUpdate
    ) -> None:
        """Publish one update; wait about 10 s while Redis cannot be reached.

        A failure is logged and not raised, as in the original specification.
        """
        try:
            parse_channel(channel, DEFAULT_PREFIX)
            service = status.service
            await self.client.get_publisher().publish(str(channel), encode(status))
            log.debug("published to %s: %s", channel, service)
        # Redis cannot be reached or refuses, the name is invalid, or encoding the status as JSON
        # raises any exception.
        except Exception as error:  # noqa: BLE001
            log.error(
                "failed to publish status to %s: %s",
                ascii(str(channel)[:80]),
                describe_error(error),
            )

    async def subscribe(self, channels: Sequence[ServiceChannel | str], callback: Callback) -> None:
        """Call `callback(channel, message)` for each update.

        Return when Redis has confirmed the subscription.

        With `ServiceChannel.ALL_SERVICES` among the channels, the method subscribes to the pattern
        `service:*` only, otherwise to each channel. The subscription survives outages of Redis and
        ends with `close()`. The method drops an invalid message and counts it in `rejections`, and
        logs an exception of the callback. Raises ValueError when `channels` is empty.
        """
        if not channels:
            raise ValueError("name at least one channel to subscribe to")
        all_services = ServiceChannel.ALL_SERVICES in channels
        subscription = Subscription(
            self.client.get_subscriber(),
            channels=() if all_services else [str(channel) for channel in channels],
            patterns=(str(ServiceChannel.ALL_SERVICES),) if all_services else (),
        )
        task = asyncio.create_task(
            self._deliver(subscription, callback), name="pulseboard-subscription"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        confirmed = asyncio.ensure_future(subscription.subscribed.wait())
        try:
            # The task ends first when close() is called while Redis cannot be reached.
            await asyncio.wait([confirmed, task], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            confirmed.cancel()
        if subscription.subscribed.is_set():
            log.info("subscribed to %s", ", ".join(str(channel) for channel in channels))

    async def close(self) -> None:
        """End every subscription and close the client."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _deliver(self, subscription: Subscription, callback: Callback) -> None:
        async with aclosing(subscription.messages()) as messages:
            async for channel, payload in messages:
                try:
                    message = parse_status_update(payload)
                except InvalidEvent as error:
                    self.rejections.add(error, channel)
                    continue
                try:
                    callback(channel, message)
                except Exception:
                    log.exception("the callback for %s failed", channel)
