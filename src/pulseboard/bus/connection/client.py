"""Clients of Redis, among them the one that all parts of a server process share.

redis-py gives up after a fixed number of retries. The blocking loops of this package therefore do
not use its retries: each supervises its own connection, and waits `retry_delay_s` between two
attempts.
"""

import asyncio

# These imports are not used by name. socket imports the first when it looks up a host, and redis-py
# the others when it connects, which happens in a thread of the SDK. A process that is forked during
# such an import keeps a half-loaded module for the rest of its life ("unknown encoding: idna").
import encodings.idna  # noqa: F401
import hmac  # noqa: F401
import secrets  # noqa: F401
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.utils import get_lib_version

from pulseboard.bus.connection.address import RedisAddress
from pulseboard.bus.connection.connections import (
    AsyncConnection,
    async_connection_class,
    connection_options,
    sync_connection_class,
)
from pulseboard.bus.connection.discovery import make_locator
from pulseboard.bus.keys import Keys

# redis-py reads its own version at every connect. Since Python 3.13, importlib.metadata imports
# private modules of its own for that: so the version is read (and cached) once here, for the same
# reason as the imports above.
get_lib_version()  # type: ignore[no-untyped-call]

ANSWER_TIMEOUT_S = 5.0
CONCURRENT_COMMANDS = 16
"""Commands that one server process runs at the same time, and so its connections for them.

A few connections keep Redis, which executes one command at a time, busy. More would only hide a
queue.
"""


def open_client(
    address: RedisAddress, keys: Keys | None, *, timeout_s: float = ANSWER_TIMEOUT_S
) -> redis.Redis:
    """Return a sync client that tries each command once, and connects at its first command.

    `keys` are the keys of its commands: in a cluster they determine the node. With None the client
    can only publish and subscribe, which every node does.
    """
    options = connection_options(address, make_locator(address, keys), timeout_s)
    pool = redis.ConnectionPool(
        connection_class=sync_connection_class(address), retry=Retry(NoBackoff(), 0), **options
    )
    return redis.Redis.from_pool(pool)


def open_async_client(
    address: RedisAddress,
    keys: Keys | None,
    *,
    timeout_s: float | None = ANSWER_TIMEOUT_S,
    **options: Any,
) -> redis.asyncio.Redis:
    """Return an asyncio client that tries each command once, unless `options` differ.

    `keys` are as in `open_client`; a `timeout_s` of None waits for ever for an answer.
    """
    return redis.asyncio.Redis.from_pool(_make_pool(address, keys, timeout_s, options))


def _make_pool(
    address: RedisAddress, keys: Keys | None, timeout_s: float | None, options: dict[str, Any]
) -> redis.asyncio.ConnectionPool:
    options = {"retry": AsyncRetry(NoBackoff(), 0)} | options
    options |= connection_options(address, make_locator(address, keys), timeout_s)
    return redis.asyncio.ConnectionPool(connection_class=async_connection_class(address), **options)


async def check_node(pubsub: PubSub) -> None:
    """Raise ConnectionError if another node replaced the one that a subscription listens to.

    Every other connection checks this by itself before it sends a command; a subscription sends
    none.
    """
    connection: Any = pubsub.connection
    if isinstance(connection, AsyncConnection):
        await connection.check_node()


class _BoundedRedis(redis.asyncio.Redis):
    """A client that runs a limited number of commands at a time; the others wait.

    The limit is a semaphore and not redis-py's BlockingConnectionPool: a task that is cancelled
    while it returns a connection to that pool leaks the connection, and some such leaks would
    exhaust the pool for ever.
    """

    def __init__(self, concurrent_commands: int, pool: redis.asyncio.ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True
        self._concurrent_commands = concurrent_commands
        self._turns = asyncio.Semaphore(concurrent_commands)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._turns.locked():
            await self._wait_for_turn()
        else:
            await self._turns.acquire()
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            self._turns.release()

    async def _wait_for_turn(self) -> None:
        # No command needs a second connection, and each ends within its timeouts, so the wait
        # cannot be a deadlock.
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise redis.ConnectionError(
                f"all {self._concurrent_commands} connections to Redis were busy "
                f"for {ANSWER_TIMEOUT_S:.0f} s"
            ) from None


class BusClient:
    """The client that all parts of one server process share. Its owner closes it.

    Commands of different parts run concurrently, each on a connection of its own, so one slow
    command does not delay the others. Blocking reads and subscriptions open clients of their own.
    """

    def __init__(
        self,
        address: RedisAddress,
        keys: Keys,
        *,
        concurrent_commands: int = CONCURRENT_COMMANDS,
    ) -> None:
        self.address = address
        self.keys = keys
        self.redis: redis.asyncio.Redis = _BoundedRedis(
            concurrent_commands, _make_pool(address, keys, ANSWER_TIMEOUT_S, {})
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
