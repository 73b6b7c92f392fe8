"""Discovery of the node to use: the master of sentinels, or the owner of a cluster slot.

All keys of a namespace are in one slot, so exactly one node is right at any time. A locator does no
I/O: it names the nodes to ask, receives each answer, and follows the majority, because a single
sentinel or node may be cut off from the others.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

import redis
from redis.crc import key_slot

from pulseboard.bus.connection.address import DEFAULT_PORT, Endpoint, RedisAddress
from pulseboard.bus.keys import Keys

POLL_MAX = 5
"""A majority of at most this many nodes decides.

A cluster may have hundreds of nodes, and each new connection starts a poll.
"""
NODES_MAX = 32
ASK_TIMEOUT_S = 1.0
CHECK_EVERY_S = 10.0
"""How long a connection may use a master that was cut off and does not know its successor."""

Search: TypeAlias = Generator[Endpoint, Any, Endpoint]
"""Yields a node to ask, receives its answer or exception, and returns the node to use."""


class Locator(ABC):
    """Finds the node for the connections of one client.

    `question` is the command that each of the known nodes is asked.
    """

    question: tuple[str, ...]
    needs_master = False
    """Whether the node must be asked for its ROLE, because its answers do not show it."""
    check_every_s = CHECK_EVERY_S

    def __init__(self, address: RedisAddress) -> None:
        self.tls = address.tls
        self._address = address
        self._configured = address.nodes
        self._nodes: Sequence[Endpoint] = address.nodes
        self._discovered: list[Endpoint] = []

    def ask_options(self, node: Endpoint) -> dict[str, Any]:
        """Return the keyword arguments of a redis-py connection that asks `node`."""
        timeouts = {"socket_timeout": ASK_TIMEOUT_S, "socket_connect_timeout": ASK_TIMEOUT_S}
        username, password = self._credentials()
        target = {
            "host": node.host,
            "port": node.port,
            "username": username,
            "password": password,
            "protocol": 2,
        }
        return target | timeouts | self._address.tls_options()

    def search(self) -> Search:
        """Poll the nodes; raise redis.ConnectionError when none of them knows the node to use."""
        votes: Counter[Endpoint] = Counter()
        majority = min(len(self._nodes), POLL_MAX) // 2 + 1
        problem = ""
        for node in tuple(self._nodes):
            answer = yield node
            try:
                place = self._read(answer, node)
            except (redis.RedisError, OSError, LookupError, ValueError, TypeError) as error:
                problem = f"{node}: {(str(error) or type(error).__name__)[:120]}"
                # It is asked last the next time, because a host that is down costs a timeout.
                self._nodes = _put_last(self._nodes, node)
                continue
            votes[place] += 1
            if votes[place] >= majority:
                break
        if not votes:
            raise redis.ConnectionError(f"{self._describe()}: {problem}")
        found = votes.most_common(1)[0][0]
        self._reorder(found)
        return found

    def _read(self, answer: Any, asked: Endpoint) -> Endpoint:
        if isinstance(answer, Exception):
            raise answer
        return self._parse(answer, asked)

    def _reorder(self, found: Endpoint) -> None:
        # The discovered nodes are included: otherwise the cluster would be unreachable when all
        # configured nodes are down. The owner is last: a node that was cut off continues to name
        # itself as the owner.
        known = list(dict.fromkeys((*self._configured, *self._discovered)))[:NODES_MAX]
        in_order = [node for node in self._nodes if node in known]
        self._nodes = _put_last(
            [*in_order, *(node for node in known if node not in in_order)], found
        )

    def _credentials(self) -> tuple[str | None, str | None]:
        return self._address.username, self._address.password

    @abstractmethod
    def _parse(self, answer: Any, asked: Endpoint) -> Endpoint: ...

    @abstractmethod
    def _describe(self) -> str: ...


class SentinelLocator(Locator):
    """Asks sentinels for the master of one name.

    Source: https://redis.io/docs/latest/develop/reference/sentinel-clients/
    """

    needs_master = True

    def __init__(self, address: RedisAddress) -> None:
        super().__init__(address)
        self._master = address.master or ""
        self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._master)

    def _credentials(self) -> tuple[str | None, str | None]:
        return self._address.sentinel_username, self._address.sentinel_password

    def _parse(self, answer: Any, asked: Endpoint) -> Endpoint:
        if answer is None:
            raise LookupError(f"it watches no master named {self._master!r}")
        host, port = answer
        return Endpoint(_text(host), int(port))

    def _describe(self) -> str:
        return f"no sentinel says where the master {self._master!r} is"


class ClusterLocator(Locator):
    """Asks the nodes of a cluster for the owner of a slot: that of the keys, or slot 0."""

    question = ("CLUSTER", "SLOTS")

    def __init__(self, address: RedisAddress, keys: Keys | None) -> None:
        super().__init__(address)
        self._slot = key_slot(keys.feed.encode()) if keys is not None else 0
        if keys is not None:
            # A node that is cut off or is not the owner refuses every command that names a key.
            self.check_every_s = float("inf")

    def _parse(self, answer: Any, asked: Endpoint) -> Endpoint:
        owner = None
        self._discovered = []
        for first, last, *nodes in answer:
            places = [_parse_endpoint(node, asked) for node in nodes]
            self._discovered += places
            if first <= self._slot <= last:
                owner = places[0]
        if owner is None:
            raise LookupError(f"no node owns slot {self._slot}")
        return owner

    def _describe(self) -> str:
        return f"no node of the cluster says who owns slot {self._slot}"


def make_locator(address: RedisAddress, keys: Keys | None) -> Locator | None:
    """Return the locator for these keys at this address; None if the address is a single node."""
    if not address.nodes:
        return None
    return ClusterLocator(address, keys) if address.master is None else SentinelLocator(address)


def _put_last(nodes: Sequence[Endpoint], node: Endpoint) -> Sequence[Endpoint]:
    return sorted(nodes, key=node.__eq__)


def _parse_endpoint(node: Sequence[Any], asked: Endpoint) -> Endpoint:
    # A node that does not know its own name is listed as "" or "?". It is the node that was asked.
    host = _text(node[0])
    return Endpoint(asked.host if host in ("", "?") else host, int(node[1]) or DEFAULT_PORT)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
