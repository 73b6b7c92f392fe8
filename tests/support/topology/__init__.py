"""Redis topologies on loopback: standalone, TLS, ACL users, unix socket, Sentinel, Cluster.

Each is a context manager whose `url` is a REDIS_URL. Nothing here imports pytest, so other programs
may use it too. Invariant: no server outlives the block in which it was started, nor the process.
"""

from tests.support.topology.alone import Standalone, Tls, UnixSocket, WithUsers
from tests.support.topology.cluster import Cluster
from tests.support.topology.node import (
    MissingProgram,
    Node,
    redis_program,
    valkey_program,
    wait_for,
)
from tests.support.topology.sentinel import Sentinel

__all__ = [
    "Cluster",
    "MissingProgram",
    "Node",
    "Sentinel",
    "Standalone",
    "Tls",
    "UnixSocket",
    "WithUsers",
    "redis_program",
    "valkey_program",
    "wait_for",
]
