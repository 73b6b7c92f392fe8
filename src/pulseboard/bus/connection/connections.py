"""Connections of redis-py, sync and asyncio, to the node that `Failover` chooses.

The classes override the steps of redis-py that open a socket, check the connection before a command
and read an answer. `failover.py` makes all decisions; these classes only send and receive.
"""

from collections.abc import Generator
from typing import Any, TypeVar

import redis
from redis.asyncio import connection as asynchronous
from redis.connection import AbstractConnection

from pulseboard.bus.connection.address import Endpoint, RedisAddress
from pulseboard.bus.connection.discovery import Locator
from pulseboard.bus.connection.failover import Failover, translate_error

CONNECT_TIMEOUT_S = 3.0

T = TypeVar("T")
Questions = Generator[Endpoint, Any, T]
"""A generator of `Failover`: yields nodes to ask, receives answers, returns the result."""


class _SyncConnection(AbstractConnection):
    """The common part of the sync connections."""

    def __init__(self, *, locator: Locator | None = None, **options: Any) -> None:
        self._failover = Failover(locator) if locator is not None else None
        super().__init__(**options)

    def _connect(self) -> Any:
        if self._failover is not None:
            self.host, self.port = self._ask_nodes(self._failover, self._failover.find_node())
        return super()._connect()  # type: ignore[safe-super]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health)
        if self._failover is not None and self._failover.locator.needs_master:
            self.send_command("ROLE", check_health=False)
            self._failover.verify_role(self.read_response())

    def check_health(self) -> None:
        self.check_node()
        super().check_health()

    def check_node(self) -> None:
        """Close the connection and raise ConnectionError if another node took over.

        Asks the known nodes at most once every `check_every_s` of the locator. The calls in between
        return at once.
        """
        if self._failover is None or not self._failover.is_check_due():
            return
        if (error := self._ask_nodes(self._failover, self._failover.check_node())) is not None:
            self.disconnect()
            raise error

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except redis.RedisError as error:
            if (translated := translate_error(error, self._host_error())) is None:
                raise
            self.disconnect()
            raise translated from error

    @staticmethod
    def _ask_nodes(failover: Failover, questions: Questions[T]) -> T:
        locator = failover.locator
        connection_class = redis.SSLConnection if locator.tls else redis.Connection
        try:
            node = next(questions)
            while True:
                connection = connection_class(**locator.ask_options(node))
                try:
                    connection.connect()
                    connection.send_command(*locator.question)
                    answer = connection.read_response()
                except (redis.RedisError, OSError) as error:
                    answer = error
                finally:
                    connection.disconnect()
                node = questions.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result


class TcpConnection(_SyncConnection, redis.Connection):
    """A sync connection over TCP."""


class TlsConnection(_SyncConnection, redis.SSLConnection):
    """A sync connection over TLS."""


class UnixConnection(_SyncConnection, redis.UnixDomainSocketConnection):
    """A sync connection over a Unix socket."""


class AsyncConnection(asynchronous.AbstractConnection):
    """The common part of the asyncio connections."""

    def __init__(self, *, locator: Locator | None = None, **options: Any) -> None:
        self._failover = Failover(locator) if locator is not None else None
        super().__init__(**options)

    async def _connect(self) -> None:
        if self._failover is not None:
            self.host, self.port = await self._ask_nodes(self._failover, self._failover.find_node())
        await super()._connect()  # type: ignore[safe-super]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        if self._failover is not None and self._failover.locator.needs_master:
            await self.send_command("ROLE", check_health=False)
            self._failover.verify_role(await self.read_response())

    async def check_health(self) -> None:
        await self.check_node()
        await super().check_health()

    async def check_node(self) -> None:
        """Close the connection and raise ConnectionError if another node took over.

        Asks the known nodes at most once every `check_every_s` of the locator. The calls in between
        return at once.
        """
        if self._failover is None or not self._failover.is_check_due():
            return
        error = await self._ask_nodes(self._failover, self._failover.check_node())
        if error is not None:
            await self.disconnect(nowait=True)
            raise error

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        try:
            await super().send_packed_command(*args, **options)
        except RuntimeError as error:
            # uvloop raises RuntimeError for a write to a transport that Redis has closed meanwhile;
            # asyncio raises nothing there. redis-py translates neither.
            if self._writer is not None and not self._writer.is_closing():
                raise
            await self.disconnect(nowait=True)
            raise redis.ConnectionError(
                f"Redis closed the connection to {self._host_error()}"
            ) from error

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except redis.RedisError as error:
            if (translated := translate_error(error, self._host_error())) is None:
                raise
            await self.disconnect(nowait=True)
            raise translated from error

    @staticmethod
    async def _ask_nodes(failover: Failover, questions: Questions[T]) -> T:
        locator = failover.locator
        # Without a locator, these classes add only their translation of errors.
        connection_class = AsyncTlsConnection if locator.tls else AsyncTcpConnection
        try:
            node = next(questions)
            while True:
                connection = connection_class(**locator.ask_options(node))
                try:
                    await connection.connect()
                    await connection.send_command(*locator.question)
                    answer = await connection.read_response()
                except (redis.RedisError, OSError) as error:
                    answer = error
                finally:
                    await connection.disconnect(nowait=True)
                node = questions.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result


class AsyncTcpConnection(AsyncConnection, asynchronous.Connection):
    """An asyncio connection over TCP."""


class AsyncTlsConnection(AsyncConnection, asynchronous.SSLConnection):
    """An asyncio connection over TLS."""


class AsyncUnixConnection(AsyncConnection, asynchronous.UnixDomainSocketConnection):
    """An asyncio connection over a Unix socket."""


def sync_connection_class(address: RedisAddress) -> type[_SyncConnection]:
    """Return the class of sync connections to an address."""
    if address.path is not None:
        return UnixConnection
    return TlsConnection if address.tls else TcpConnection


def async_connection_class(address: RedisAddress) -> type[AsyncConnection]:
    """Return the class of asyncio connections to an address."""
    if address.path is not None:
        return AsyncUnixConnection
    return AsyncTlsConnection if address.tls else AsyncTcpConnection


def connection_options(
    address: RedisAddress, locator: Locator | None, timeout_s: float | None
) -> dict[str, Any]:
    """Return the keyword arguments for a connection pool, except for `connection_class`.

    `timeout_s` is the longest wait for an answer; with None, a connection waits for ever.
    """
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        # Version 2 of the Redis protocol (RESP): every Redis and Valkey gives the same answers in
        # it. Version 3 adds a handshake, for push messages that this package does not use.
        "protocol": 2,
        "socket_timeout": timeout_s,
        "client_name": "pulseboard",
    }
    if address.path is not None:
        # redis-py's Unix connections accept no connect timeout, because a local socket connects at
        # once.
        return options | {"path": address.path}
    options |= {
        "host": address.host,
        "port": address.port,
        "socket_connect_timeout": min(CONNECT_TIMEOUT_S, timeout_s or CONNECT_TIMEOUT_S),
        "socket_keepalive": True,
    }
    options |= address.tls_options()
    if locator is not None:
        options["locator"] = locator
    return options
