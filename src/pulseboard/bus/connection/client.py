"""Clients of Redis: how they connect, how long they wait, what they log. The seed's `RedisClient` is here too.

A blocking loop of ours never relies on redis-py to come back by itself (it gives up for good): each supervises its own
connection, and waits `retry_delay_s` between attempts.
"""

import asyncio

# Not for their names: socket imports the first to look up a host, and redis-py the others when it connects, in the SDK in a
# thread. A child forked meanwhile has half a module for as long as it lives ("unknown encoding: idna").
import encodings.idna  # noqa: F401
import hmac  # noqa: F401
import logging
import secrets  # noqa: F401
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import AbstractBackoff, NoBackoff
from redis.retry import Retry
from redis.utils import get_lib_version

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.discovery import make_locator
from pulseboard.bus.connection.failover import (
    AsyncLink,
    AsyncTcpLink,
    AsyncTlsLink,
    AsyncUnixLink,
    TcpLink,
    TlsLink,
    UnixLink,
    is_elsewhere,
    link_options,
)
from pulseboard.bus.keys import Keys
from pulseboard.wire.errors import BusUnavailable

# redis-py asks for its own version whenever it connects, and what importlib.metadata imports for the answer is, since
# Python 3.13, of its private parts: so it is asked once before.
get_lib_version()  # type: ignore[no-untyped-call]

ANSWER_TIMEOUT_S = 5.0
PUBLISH_ATTEMPTS = 20
"""ioredis gives a command up after 20 reconnections (its maxRetriesPerRequest), which the seed leaves as it is."""

FAILURES = (redis.RedisError, OSError, TimeoutError)
"""What any call on a client raises when Redis is away or refuses."""

_PASSING = ("MISCONF ", "BUSY ")
"""A disk that is full, a script of somebody's that runs for long: the same command may be taken a moment later."""

log = logging.getLogger("pulseboard.bus")


def retry_delay_s(attempt: int) -> float:
    """Return the seed's pause before reconnecting, `min(attempt * 50, 2000)` ms, in seconds (seed, section 3)."""
    return min(attempt * 50, 2000) / 1000


def describe(error: BaseException) -> str:
    """Return one line on a failure of the link; redis-py's messages name hosts and ports, never passwords."""
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__


@contextmanager
def bus_errors() -> Iterator[None]:
    """Raise BusUnavailable for any failure of a call on a client, with the driver's error as its cause."""
    try:
        yield
    except FAILURES as error:
        raise BusUnavailable(describe(error)) from error


def check_cancelled() -> None:
    """Raise CancelledError if this task was cancelled and does not know it.

    redis-py awaits with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes in the same tick as
    the answer (cpython #86296): a loop over Redis calls would then never end. Call it once in each turn of such a loop.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def run_for_ever(work: Coroutine[Any, Any, None]) -> None:
    """Run what ends only by being cancelled; raise RuntimeError when it says so and nobody cancelled it.

    A task group passes over a part of it that ended like that, and the rest would go on as if all was well.
    """
    try:
        await work
    except asyncio.CancelledError as error:
        check_cancelled()
        raise RuntimeError("a part of the server was cancelled by nobody") from error


def was_refused(error: BusUnavailable) -> bool:
    """Say whether it is by a refusal of Redis' that it could not be asked."""
    return error.__cause__ is not None and is_refusal(error.__cause__)


def is_refusal(error: BaseException) -> bool:
    """Say whether Redis answered with a no that will be a no again, so that trying once more is in vain."""
    if not isinstance(error, redis.ResponseError | redis.DataError):
        return False
    passing = isinstance(error, redis.OutOfMemoryError) or str(error).startswith(_PASSING)
    return not passing and not is_elsewhere(error)


def open_client(
    address: RedisAddress, keys: Keys | None, *, timeout_s: float = ANSWER_TIMEOUT_S
) -> redis.Redis:
    """Return a synchronous client that tries each command once. It connects at its first command.

    `keys` are those that its commands will name: in a cluster they say which node that is. With None it can only
    publish and subscribe, which any node does.
    """
    options = link_options(address, make_locator(address, keys), timeout_s)
    link: type[TcpLink | TlsLink | UnixLink] = TlsLink if address.tls else TcpLink
    pool = redis.ConnectionPool(
        connection_class=UnixLink if address.path is not None else link,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return redis.Redis.from_pool(pool)


def open_async_client(
    address: RedisAddress,
    keys: Keys | None,
    *,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
    **options: Any,
) -> redis.asyncio.Redis:
    """Return an asyncio client that tries each command once, unless `options` say otherwise; else as `open_client`."""
    options = {"retry": AsyncRetry(NoBackoff(), 0)} | options
    options |= link_options(address, make_locator(address, keys), timeout_s)
    link: type[AsyncTcpLink | AsyncTlsLink | AsyncUnixLink] = (
        AsyncTlsLink if address.tls else AsyncTcpLink
    )
    pool = redis.asyncio.ConnectionPool(
        connection_class=AsyncUnixLink if address.path is not None else link, **options
    )
    return redis.asyncio.Redis.from_pool(pool)


async def check_place(pubsub: PubSub) -> None:
    """Raise ConnectionError when what a subscription hears is no longer the node to listen to; ask now and then.

    A link that only listens sends no command, before which any other link sees to that itself.
    """
    link: Any = pubsub.connection
    if isinstance(link, AsyncLink):
        await link.check_place()


class RedisClient:
    """The seed's client: one publisher and one subscriber, each made at first use, reconnecting with the seed's delay."""

    def __init__(self, address: RedisAddress | None = None) -> None:
        self.address = address or RedisAddress.from_env()
        self._publisher: redis.asyncio.Redis | None = None
        self._subscriber: redis.asyncio.Redis | None = None

    def get_publisher(self) -> redis.asyncio.Redis:
        """Return the client that publishes; a command is tried again while Redis is away, 20 times."""
        if self._publisher is None:
            retry = AsyncRetry(_LoggedDelay("Publisher"), PUBLISH_ATTEMPTS)
            self._publisher = open_async_client(
                self.address,
                None,
                retry=retry,
                retry_on_error=[redis.ConnectionError],
                redis_connect_func=_log_connect("Publisher"),
            )
        return self._publisher

    def get_subscriber(self) -> redis.asyncio.Redis:
        """Return the client whose connection subscribes. `Subscription` supervises it, so it tries once."""
        if self._subscriber is None:
            self._subscriber = open_async_client(
                self.address, None, redis_connect_func=_log_connect("Subscriber")
            )
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
