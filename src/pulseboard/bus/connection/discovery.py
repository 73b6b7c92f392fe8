"""Which node to talk to, where several could be meant: the master that sentinels name, the owner of our slot in a cluster.

All keys of a namespace are in one slot, so there is always exactly one. A locator does no I/O: it says whom to ask, is
given each answer, and takes the word of most, for one sentinel or node alone may be cut off from the others.
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
"""More than half of so many must agree; a cluster may have hundreds of nodes, and a poll is taken for each connection."""
NODES_MAX = 32
ASK_TIMEOUT_S = 1.0
CHECK_EVERY_S = 10.0
"""How long a master that was cut off, and knows nothing of the next one, may be taken for the master."""

Search: TypeAlias = Generator[Endpoint, Any, Endpoint]
"""Yields whom to ask, is sent the answer or the exception that came instead, and returns the node to talk to."""


class Locator(ABC):
    """Finds the node for the connections of one client. `question` is the command that is put to each of `nodes`."""

    question: tuple[str, ...]
    needs_master = False
    """Whether the node must be asked for its ROLE, since nothing in its answers would tell."""
    check_every_s = CHECK_EVERY_S

    def __init__(self, address: RedisAddress) -> None:
        self.tls = address.tls
        self._address = address
        self._named = address.nodes
        self._nodes: Sequence[Endpoint] = address.nodes
        self._learnt: list[Endpoint] = []

    def ask_options(self, node: Endpoint) -> dict[str, Any]:
        """Return the keyword arguments of redis-py's connections by which `node` is asked."""
        limits = {"socket_timeout": ASK_TIMEOUT_S, "socket_connect_timeout": ASK_TIMEOUT_S}
        username, password = self._credentials()
        who = {
            "host": node.host,
            "port": node.port,
            "username": username,
            "password": password,
            "protocol": 2,
        }
        return who | limits | self._address.tls_options()

    def search(self) -> Search:
        """Take a poll; raise redis.ConnectionError when nobody can tell."""
        votes: Counter[Endpoint] = Counter()
        enough = min(len(self._nodes), POLL_MAX) // 2 + 1
        problem = ""
        for node in tuple(self._nodes):
            answer = yield node
            try:
                place = self._read(answer, node)
            except (redis.RedisError, OSError, LookupError, ValueError, TypeError) as error:
                problem = f"{node}: {(str(error) or type(error).__name__)[:120]}"
                # Asked last the next time: a host that is gone costs a timeout.
                self._nodes = _put_last(self._nodes, node)
                continue
            votes[place] += 1
            if votes[place] >= enough:
                break
        if not votes:
            raise redis.ConnectionError(f"{self._describe()}: {problem}")
        found = votes.most_common(1)[0][0]
        self._note(found)
        return found

    def _read(self, answer: Any, asked: Endpoint) -> Endpoint:
        if isinstance(answer, Exception):
            raise answer
        return self._parse(answer, asked)

    def _note(self, found: Endpoint) -> None:
        # Also those learnt, or the cluster would be out of reach as soon as the named ones are gone. The owner last: a
        # node that was cut off goes on to call itself the owner.
        known = list(dict.fromkeys((*self._named, *self._learnt)))[:NODES_MAX]
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
    """Asks sentinels for the master of one name (https://redis.io/docs/latest/develop/reference/sentinel-clients/)."""

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
    """Asks nodes of a cluster who owns the slot of our keys. Without `keys` any owner will do, and is that of slot 0."""

    question = ("CLUSTER", "SLOTS")

    def __init__(self, address: RedisAddress, keys: Keys | None) -> None:
        super().__init__(address)
        self._slot = key_slot(keys.feed.encode()) if keys is not None else 0
        if keys is not None:
            # A node that is not the owner, or is cut off, says so to every command that names a key.
            self.check_every_s = float("inf")

    def _parse(self, answer: Any, asked: Endpoint) -> Endpoint:
        owner = None
        self._learnt = []
        for first, last, *nodes in answer:
            places = [_place(node, asked) for node in nodes]
            self._learnt += places
            if first <= self._slot <= last:
                owner = places[0]
        if owner is None:
            raise LookupError(f"no node owns slot {self._slot}")
        return owner

    def _describe(self) -> str:
        return f"no node of the cluster says who owns slot {self._slot}"


def make_locator(address: RedisAddress, keys: Keys | None) -> Locator | None:
    """Return what finds the node for these keys at this address, or None where there is but one."""
    if not address.nodes:
        return None
    return ClusterLocator(address, keys) if address.master is None else SentinelLocator(address)


def _put_last(nodes: Sequence[Endpoint], node: Endpoint) -> Sequence[Endpoint]:
    return sorted(nodes, key=node.__eq__)


def _place(node: Sequence[Any], asked: Endpoint) -> Endpoint:
    # A node that does not know its own name stands there as nothing or as "?": the one that was asked.
    host = _text(node[0])
    return Endpoint(asked.host if host in ("", "?") else host, int(node[1]) or DEFAULT_PORT)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
