"""The decisions of a connection that follows its node through failovers, without any I/O.

`connections.py` sends and receives the bytes, once for sync and once for asyncio connections.
Invariant: an answer that another node, or this node at a later time, can improve becomes a
ConnectionError. It is never reported as a refusal, so a caller that retries after a ConnectionError
recovers from a failover by itself.
"""

import time
from collections.abc import Generator
from typing import Any, TypeAlias

import redis

from pulseboard.bus.connection.address import Endpoint
from pulseboard.bus.connection.discovery import Locator
from pulseboard.bus.connection.errors import is_wrong_node

SEARCH_TIMEOUT_S = 3.0
"""A search asks no further node after this time."""

Search: TypeAlias = Generator[Endpoint, Any, Endpoint]
Recheck: TypeAlias = Generator[Endpoint, Any, redis.ConnectionError | None]


class Failover:
    """Decides which node one connection uses, and when to check it.

    The generators yield each node to ask, and receive its answer to `locator.question`, or the
    exception.
    """

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self._node: Endpoint | None = None
        self._check_at = float("inf")

    def find_node(self) -> Search:
        """Return the node to connect to; raise ConnectionError when none was found in time."""
        self._node = yield from self._search()
        self._schedule_check()
        return self._node

    def is_check_due(self) -> bool:
        """Return whether a check of the node is due; True once per `locator.check_every_s`."""
        if time.monotonic() < self._check_at:
            return False
        self._schedule_check()
        return True

    def check_node(self) -> Recheck:
        """Return the error that ends the connection when another node took over, else None."""
        try:
            node = yield from self._search()
        except redis.ConnectionError:
            return None  # No node named another, so there is no proof of a failover.
        if node == self._node:
            return None
        return redis.ConnectionError(f"{self._node} was replaced by {node}")

    def verify_role(self, role: Any) -> None:
        """Raise ConnectionError unless the answer to ROLE is that of a master."""
        if role[0] not in (b"master", "master"):
            raise redis.ConnectionError(f"{self._node} is not a master at this moment")

    def _schedule_check(self) -> None:
        self._check_at = time.monotonic() + self.locator.check_every_s

    def _search(self) -> Search:
        deadline = time.monotonic() + SEARCH_TIMEOUT_S
        search = self.locator.search()
        try:
            node = next(search)
            while True:
                out_of_time = time.monotonic() >= deadline
                node = search.send(_make_timeout() if out_of_time else (yield node))
        except StopIteration as found:
            return Endpoint(*found.value)


def translate_error(error: redis.RedisError, host: str) -> redis.ConnectionError | None:
    """Return the ConnectionError that ends the connection after this answer, else None."""
    if not is_wrong_node(error):
        return None
    if isinstance(error, redis.ConnectionError):
        return error
    return redis.ConnectionError(
        f"{host} cannot execute the command at this moment ({type(error).__name__} {error})"
    )


def _make_timeout() -> redis.TimeoutError:
    return redis.TimeoutError(
        f"the search ended after {SEARCH_TIMEOUT_S:.0f} s without asking this node"
    )
