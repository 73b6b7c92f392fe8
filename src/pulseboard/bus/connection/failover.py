"""Connections that find their node anew each time they connect, and end when they learn that it is the wrong one.

Whoever retries after a failure therefore comes back by itself after a failover. Built on redis-py's own connections, of
which these override how the socket is opened, and what happens around a command.
Invariant: an answer that only another node, or this one later, can give better is a ConnectionError, never a refusal.
"""

import re
import time
from typing import Any

import redis
import redis.asyncio
from redis import exceptions
from redis.asyncio import connection as asynchronous
from redis.connection import AbstractConnection

from pulseboard.bus.connection.address import Endpoint, RedisAddress
from pulseboard.bus.connection.discovery import Locator

CONNECT_TIMEOUT_S = 3.0
SEARCH_TIMEOUT_S = 3.0

_ELSEWHERE = (
    *(
        exceptions.ReadOnlyError,
        exceptions.MovedError,
        exceptions.AskError,
        exceptions.TryAgainError,
    ),
    *(exceptions.ClusterDownError, exceptions.BusyLoadingError),
)
# What redis-py has no class for; and Redis 6 wraps what a script's command was answered.
_ELSEWHERE_WORDS = re.compile(
    r"(UNBLOCKED|NOREPLICAS) |Error running script .* -(READONLY|CLUSTERDOWN|NOREPLICAS) ",
    re.DOTALL,
)
_FAILURES = (redis.RedisError, OSError)


def is_elsewhere(error: BaseException) -> bool:
    """Say whether an answer means that the command belongs to another node, or to this one at another time."""
    return isinstance(error, _ELSEWHERE) or _ELSEWHERE_WORDS.match(str(error)) is not None


def link_options(
    address: RedisAddress, locator: Locator | None, timeout_s: float | None
) -> dict[str, Any]:
    """Return the keyword arguments of a pool of links to an address, but for their class."""
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
    }
    options |= {
        # RESP2: the same answers from every Redis and Valkey, and no handshake for push messages that we do not use.
        "protocol": 2,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(CONNECT_TIMEOUT_S, timeout_s or CONNECT_TIMEOUT_S),
        "client_name": "pulseboard",
    }
    if address.path is not None:
        # redis-py's connections over a unix socket have no time to connect, for that takes none.
        del options["socket_connect_timeout"]
        return options | {"path": address.path}
    options |= {
        "host": address.host,
        "port": address.port,
        "socket_keepalive": True,
    } | address.tls_options()
    if locator is not None:
        options["locator"] = locator
    return options


class _Whereabouts:
    """Where a link goes: what it was located by, and when that is to be asked again."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.place: Endpoint | None = None
        self._check_at = float("inf")

    def note(self, place: Endpoint) -> None:
        """Note where the link is going."""
        self.place = place
        self._check_at = time.monotonic() + self.locator.check_every_s

    def is_due(self) -> bool:
        """Say whether it is time to ask again; once in each period."""
        if time.monotonic() < self._check_at:
            return False
        self._check_at = time.monotonic() + self.locator.check_every_s
        return True

    def explain(self, place: Endpoint) -> redis.ConnectionError:
        return redis.ConnectionError(f"{self.place} was given up: {place} has taken its place")


def _require_master(role: Any, place: Endpoint | None) -> None:
    if role[0] not in (b"master", "master"):
        raise redis.ConnectionError(f"{place} is no master at this moment")


def _translate(error: Exception, host: str) -> Exception:
    if isinstance(error, redis.ConnectionError):
        return error
    return redis.ConnectionError(
        f"{host} is not the node to talk to at this moment ({type(error).__name__} {error})"
    )


class _Link(AbstractConnection):
    """What the synchronous links have in common."""

    def __init__(self, *, locator: Locator | None = None, **options: Any) -> None:
        self._where = _Whereabouts(locator) if locator is not None else None
        super().__init__(**options)

    def _connect(self) -> Any:
        if self._where is not None:
            place = self._find(self._where)
            self._where.note(place)
            self.host, self.port = place
        return super()._connect()  # type: ignore[safe-super]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        super().on_connect_check_health(check_health)
        if self._where is not None and self._where.locator.needs_master:
            self.send_command("ROLE", check_health=False)
            _require_master(self.read_response(), self._where.place)

    def check_health(self) -> None:
        self.check_place()
        super().check_health()

    def check_place(self) -> None:
        """End the link, and raise ConnectionError, when another node is in its place; ask only now and then."""
        if self._where is None or not self._where.is_due():
            return
        try:
            place = self._find(self._where)
        except redis.ConnectionError:
            return  # that nobody tells is no reason to leave
        if place != self._where.place:
            self.disconnect()
            raise self._where.explain(place)

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except redis.RedisError as error:
            if not is_elsewhere(error):
                raise
            self.disconnect()
            raise _translate(error, self._host_error()) from error

    def _find(self, where: _Whereabouts) -> Endpoint:
        deadline = time.monotonic() + SEARCH_TIMEOUT_S
        search = where.locator.search()
        try:
            node = next(search)
            while True:
                node = search.send(
                    self._ask(node, where) if time.monotonic() < deadline else _out_of_time()
                )
        except StopIteration as found:
            return Endpoint(*found.value)

    @staticmethod
    def _ask(node: Endpoint, where: _Whereabouts) -> Any:
        kind = redis.SSLConnection if where.locator.tls else redis.Connection
        connection = kind(**where.locator.ask_options(node))
        try:
            connection.connect()
            connection.send_command(*where.locator.question)
            return connection.read_response()
        except _FAILURES as error:
            return error
        finally:
            connection.disconnect()


class TcpLink(_Link, redis.Connection):
    """A synchronous link over TCP."""


class TlsLink(_Link, redis.SSLConnection):
    """A synchronous link over TLS."""


class UnixLink(_Link, redis.UnixDomainSocketConnection):
    """A synchronous link over a unix socket."""


class AsyncLink(asynchronous.AbstractConnection):
    """What the asyncio links have in common."""

    def __init__(self, *, locator: Locator | None = None, **options: Any) -> None:
        self._where = _Whereabouts(locator) if locator is not None else None
        super().__init__(**options)

    async def _connect(self) -> None:
        if self._where is not None:
            place = await self._find(self._where)
            self._where.note(place)
            self.host, self.port = place
        await super()._connect()  # type: ignore[safe-super]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)
        if self._where is not None and self._where.locator.needs_master:
            await self.send_command("ROLE", check_health=False)
            _require_master(await self.read_response(), self._where.place)

    async def check_health(self) -> None:
        await self.check_place()
        await super().check_health()

    async def check_place(self) -> None:
        """End the link, and raise ConnectionError, when another node is in its place; ask only now and then."""
        if self._where is None or not self._where.is_due():
            return
        try:
            place = await self._find(self._where)
        except redis.ConnectionError:
            return  # that nobody tells is no reason to leave
        if place != self._where.place:
            await self.disconnect(nowait=True)
            raise self._where.explain(place)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except redis.RedisError as error:
            if not is_elsewhere(error):
                raise
            await self.disconnect(nowait=True)
            raise _translate(error, self._host_error()) from error

    async def _find(self, where: _Whereabouts) -> Endpoint:
        deadline = time.monotonic() + SEARCH_TIMEOUT_S
        search = where.locator.search()
        try:
            node = next(search)
            while True:
                node = search.send(
                    await self._ask(node, where) if time.monotonic() < deadline else _out_of_time()
                )
        except StopIteration as found:
            return Endpoint(*found.value)

    @staticmethod
    async def _ask(node: Endpoint, where: _Whereabouts) -> Any:
        kind = asynchronous.SSLConnection if where.locator.tls else asynchronous.Connection
        connection = kind(**where.locator.ask_options(node))
        try:
            await connection.connect()
            await connection.send_command(*where.locator.question)
            return await connection.read_response()
        except _FAILURES as error:
            return error
        finally:
            await connection.disconnect(nowait=True)


class AsyncTcpLink(AsyncLink, asynchronous.Connection):
    """An asyncio link over TCP."""


class AsyncTlsLink(AsyncLink, asynchronous.SSLConnection):
    """An asyncio link over TLS."""


class AsyncUnixLink(AsyncLink, asynchronous.UnixDomainSocketConnection):
    """An asyncio link over a unix socket."""


def _out_of_time() -> redis.TimeoutError:
    return redis.TimeoutError(f"no time was left to ask it within {SEARCH_TIMEOUT_S:.0f} s")
