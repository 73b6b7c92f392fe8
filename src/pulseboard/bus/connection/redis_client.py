"""`RedisClient`, the client of the original specification (section 3)."""

import logging
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import AbstractBackoff

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.backoff import retry_delay_s
from pulseboard.bus.connection.client import open_async_client

PUBLISH_ATTEMPTS = 20
"""ioredis fails a command after 20 reconnections (maxRetriesPerRequest).

The original specification keeps this default.
"""

log = logging.getLogger("pulseboard.bus")


class RedisClient:
    """One publisher and one subscriber, each opened at first use.

    Both reconnect, with `retry_delay_s` between two attempts.
    """

    def __init__(self, address: RedisAddress | None = None) -> None:
        self.address = address or RedisAddress.from_env()
        self._publisher: redis.asyncio.Redis | None = None
        self._subscriber: redis.asyncio.Redis | None = None

    def get_publisher(self) -> redis.asyncio.Redis:
        """Return the client that publishes.

        While Redis is unreachable it tries a command 20 times.
        """
        if self._publisher is None:
            self._publisher = open_async_client(
                self.address,
                None,
                retry=Retry(_LoggedDelay("Publisher"), PUBLISH_ATTEMPTS),
                retry_on_error=[redis.ConnectionError],
                redis_connect_func=_log_connect("Publisher"),
            )
        return self._publisher

    def get_subscriber(self) -> redis.asyncio.Redis:
        """Return the client that subscribes.

        It tries a command once, because `Subscription` supervises it.
        """
        if self._subscriber is None:
            self._subscriber = open_async_client(
                self.address, None, redis_connect_func=_log_connect("Subscriber")
            )
        return self._subscriber

    async def close(self) -> None:
        """Close both clients. The next use opens them again."""
        publisher, self._publisher = self._publisher, None
        subscriber, self._subscriber = self._subscriber, None
        for client in (publisher, subscriber):
            if client is not None:
                await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def _log_connect(role: str) -> Any:
    async def on_connect(connection: Any) -> None:
        await connection.on_connect()
        log.info("Redis %s connected", role)

    return on_connect


class _LoggedDelay(AbstractBackoff):
    """The delay between two attempts, with one ERROR line for the first failure of an outage."""

    def __init__(self, role: str) -> None:
        self._role = role

    def compute(self, failures: int) -> float:
        if failures == 1:
            log.error("Redis %s lost its connection, trying again", self._role)
        return retry_delay_s(failures)
