"""A cluster of three masters, with a replica each."""

import redis
from redis.crc import key_slot
from tests.support.topology.node import (
    HOST,
    Node,
    ProgramLocator,
    call,
    pick_port,
    valkey_program,
    wait_for,
)
from tests.support.topology.replicated import Replicated, is_in_sync, role

NODE_TIMEOUT_MS = 1_000
SLOTS = 16_384


class Cluster(Replicated):
    """Three masters with a replica each. Its `master` is the one that owns the slot of `namespace`'s keys."""

    def __init__(
        self, namespace: str = "pulseboard", program: ProgramLocator = valkey_program
    ) -> None:
        super().__init__(program)
        self.slot = key_slot(namespace.encode())

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{HOST}:{node.port}' for node in self.nodes[:3])}"

    @property
    def masters(self) -> list[Node]:
        """The servers that own slots, in the order of their slots, as most of those that run see it."""
        views = [_owners(node) for node in self.nodes if node.running]
        ports = max(views, key=views.count)
        return [self._node_at(port) for _, _, port in ports]

    @property
    def master(self) -> Node:
        # The whole cluster must agree, or some would still be sent to the one that is gone.
        views = [_owners(node) for node in self.nodes if node.running]
        owners = {
            port for view in views for first, last, port in view if first <= self.slot <= last
        }
        if len(owners) != 1:
            raise redis.ConnectionError("the cluster does not agree yet on the owner of the slot")
        return self._node_at(owners.pop())

    @property
    def replica(self) -> Node:
        """A replica of `master`."""
        master_id = call(self.master, "CLUSTER", "MYID").decode()
        for node in self.nodes:
            if node.running and any(
                "myself" in flags and of == master_id for _, _, flags, of, *_ in _describe(node)
            ):
                return node
        raise redis.ConnectionError("the master has no replica")

    def fail_over(self) -> Node:
        """Let the master's replica take over in order, as for maintenance, and return it."""
        old = self.master
        call(self.replica, "CLUSTER", "FAILOVER")
        return self.wait_failover(old)

    def move_slot(self) -> Node:
        """Move the slot to another master, keys and all, as a resharding does; return the new owner."""
        source = self.master
        target = next(node for node in self.masters if node is not source)
        ids = {node: call(node, "CLUSTER", "MYID").decode() for node in (source, target)}
        call(target, "CLUSTER", "SETSLOT", self.slot, "IMPORTING", ids[source])
        call(source, "CLUSTER", "SETSLOT", self.slot, "MIGRATING", ids[target])
        while keys := call(source, "CLUSTER", "GETKEYSINSLOT", self.slot, 100):
            call(source, "MIGRATE", HOST, target.port, "", 0, 5_000, "KEYS", *keys)
        for node in (
            target,
            source,
            *(other for other in self.masters if other not in (source, target)),
        ):
            call(node, "CLUSTER", "SETSLOT", self.slot, "NODE", ids[target])
        return self.wait_failover(source)

    def _start(self) -> None:
        for _ in range(6):
            self._launch(
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
                *(
                    "--cluster-node-timeout",
                    f"{NODE_TIMEOUT_MS}",
                    "--cluster-port",
                    f"{pick_port()}",
                ),
                *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
            )
        masters, replicas = self.nodes[:3], self.nodes[3:]
        bounds = [SLOTS * part // 3 for part in range(4)]
        for number, node in enumerate(self.nodes):
            call(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, first, end in zip(masters, bounds, bounds[1:], strict=False):
            call(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in self.nodes[1:]:
            bus_port = call(node, "CONFIG", "GET", "cluster-port")[1].decode()
            call(self.nodes[0], "CLUSTER", "MEET", HOST, node.port, bus_port)
        wait_for(
            lambda: all(len(_describe(node)) == len(self.nodes) for node in self.nodes),
            "the nodes to meet",
        )
        for master, replica in zip(masters, replicas, strict=True):
            call(replica, "CLUSTER", "REPLICATE", call(master, "CLUSTER", "MYID").decode())
        wait_for(self._is_settled, "the cluster to be whole")

    def _is_settled(self) -> bool:
        return (
            all(map(_is_whole, self.nodes))
            and all(role(node) == "master" or is_in_sync(node) for node in self.nodes)
            # Until a node has heard how far a replica is, it tells clients nothing of that replica.
            and all(
                _told_ports(node) == {other.port for other in self.nodes} for node in self.nodes
            )
        )


def _owners(node: Node) -> list[tuple[int, int, int]]:
    """Return (first slot, last slot, port of the master) of each range, as one node sees it."""
    return sorted(
        (first, last, master[1]) for first, last, master, *_ in call(node, "CLUSTER", "SLOTS")
    )


def _told_ports(node: Node) -> set[int]:
    """Return the ports of the masters and replicas that one node tells a client of."""
    return {server[1] for _, _, *servers in call(node, "CLUSTER", "SLOTS") for server in servers}


def _describe(node: Node) -> list[list[str]]:
    """Return what a node of a cluster knows of each node, itself included (the Redis command CLUSTER NODES)."""
    return [line.split() for line in call(node, "CLUSTER", "NODES").decode().splitlines()]


def _is_whole(node: Node) -> bool:
    facts = call(node, "CLUSTER", "INFO").decode().splitlines()
    return (
        "cluster_state:ok" in facts
        and f"cluster_slots_ok:{SLOTS}" in facts
        and len(_owners(node)) == 3
    )
