"""Clients of Redis: how they connect, how long they wait, what they log. The seed's `RedisClient` is here too.

A blocking loop of ours never relies on redis-py to come back by itself (it gives up for good): each supervises its own
connection, and waits `retry_delay_s` between attempts.
"""

import asyncio

# Not for its names: socket imports it to look up the first host, in the SDK in a thread. A child forked meanwhile has
# half a module, and can look up no host for as long as it lives ("unknown encoding: idna").
import encodings.idna  # noqa: F401
import logging
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import AbstractBackoff, NoBackoff
from redis.retry import Retry

from pulseboard.bus.address import RedisAddress

CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 5.0
SEED_ATTEMPTS = 20
"""ioredis gives a command up after 20 reconnections (its maxRetriesPerRequest), which the seed leaves as it is."""

FAILURES = (redis.RedisError, OSError, TimeoutError)
"""What any call on a client raises when Redis is away or refuses."""

log = logging.getLogger("pulseboard.bus")


def retry_delay_s(attempt: int) -> float:
    """Return the seed's pause before reconnecting, `min(attempt * 50, 2000)` ms, in seconds (seed, section 3)."""
    return min(attempt * 50, 2000) / 1000


def describe(error: BaseException) -> str:
    """Return one line on a failure of the link; redis-py's messages name hosts and ports, never passwords."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


def check_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and does not know it.

    redis-py awaits with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes in the same tick as
    the answer (cpython #86296): a loop over Redis calls would then never end. Call it once in each turn of such a loop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def is_refusal(error: BaseException) -> bool:
    """Say whether Redis answered with a no that will be a no again, so that trying once more is in vain."""
    passing = (redis.ReadOnlyError, redis.OutOfMemoryError)
    return isinstance(error, redis.ResponseError | redis.DataError) and not isinstance(error, passing)


def open_client(address: RedisAddress, *, timeout_s: float = ANSWER_TIMEOUT_S) -> redis.Redis:
    """Return a synchronous client that tries each command once. It connects at its first command."""
    return redis.Redis(**_options(address, timeout_s), retry=Retry(NoBackoff(), 0))


def open_async_client(
    address: RedisAddress, *, timeout_s: float | None = ANSWER_TIMEOUT_S, **options: Any
) -> redis.asyncio.Redis:
    """Return an asyncio client that tries each command once, unless `options` say otherwise. It connects at its first command."""
    return redis.asyncio.Redis(**{**_options(address, timeout_s), "retry": AsyncRetry(NoBackoff(), 0), **options})


def _options(address: RedisAddress, timeout_s: float | None) -> dict[str, Any]:
    return address.connection_options() | {
        # RESP2: the same answers from every Redis and Valkey, and no handshake for push messages that we do not use.
        "protocol": 2,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "client_name": "pulseboard",
    }


class RedisClient:
    """The seed's client: one publisher and one subscriber, each made at first use, reconnecting with the seed's delay."""

    def __init__(self, address: RedisAddress | None = None) -> None:
        self.address = address or RedisAddress.from_env()
        self._publisher: redis.asyncio.Redis | None = None
        self._subscriber: redis.asyncio.Redis | None = None

    def get_publisher(self) -> redis.asyncio.Redis:
        """Return the client that publishes; a command is tried again while Redis is away, 20 times."""
        if self._publisher is None:
            retry = AsyncRetry(_LoggedDelay("Publisher"), SEED_ATTEMPTS)
            self._publisher = open_async_client(
                self.address,
                retry=retry,
                retry_on_error=[redis.ConnectionError],
                redis_connect_func=_log_connect("Publisher"),
            )
        return self._publisher

    def get_subscriber(self) -> redis.asyncio.Redis:
        """Return the client whose connection subscribes. `Subscription` supervises it, so it tries once."""
        if self._subscriber is None:
            self._subscriber = open_async_client(self.address, redis_connect_func=_log_connect("Subscriber"))
        return self._subscriber

    async def close(self) -> None:
        """Close both; they are made again at the next use."""
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
    """The seed's retry delay, with an error line for the first failure of an outage."""

    def __init__(self, role: str) -> None:
        self._role = role

    def compute(self, failures: int) -> float:
        if failures == 1:
            log.error("Redis %s lost its connection, trying again", self._role)
        return retry_delay_s(failures)
