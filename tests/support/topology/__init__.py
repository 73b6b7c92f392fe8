"""Redis as people run it, on loopback: alone, behind TLS, an ACL or a socket, with Sentinel, as a cluster.

Each is a context manager whose `url` is a REDIS_URL. Nothing here knows pytest, so other programs may use it too.
Invariant: no server outlives the block it was started in, nor the process.
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
