"""A cluster of three masters with one replica each."""

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
    """Three masters with one replica each.

    `master` is the owner of the slot that holds the keys of `namespace`.
    """

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
        """The servers that own slots, in the order of their slots, by majority of running nodes."""
        views = [_owners(node) for node in self.nodes if node.running]
        ports = max(views, key=views.count)
        return [self._node_at(port) for _, _, port in ports]

    @property
    def master(self) -> Node:
        # All nodes must agree, or some would still redirect clients to the dead master.
        views = [_owners(node) for node in self.nodes if node.running]
        owners = {
            port for view in views for first, last, port in view if first <= self.slot <= last
        }
        if len(owners) != 1:
            raise redis.ConnectionError("the nodes do not agree yet on the owner of the slot")
        return self._node_at(owners.pop())

    @property
    def replica(self) -> Node:
        """A replica of `master`."""
        master_id = call(self.master, "CLUSTER", "MYID").decode()
        for node in self.nodes:
            if node.running and any(
                "myself" in flags and master_of_node == master_id
                for _, _, flags, master_of_node, *_ in _describe(node)
            ):
                return node
        raise redis.ConnectionError("the master has no replica")

    def fail_over(self) -> Node:
        """Let the replica take over gracefully, as for maintenance, and return it."""
        old = self.master
        call(self.replica, "CLUSTER", "FAILOVER")
        return self.wait_failover(old)

    def move_slot(self) -> Node:
        """Move the slot with its keys to another master, like resharding; return the owner."""
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
        wait_for(self._is_stable, "the cluster to be complete")

    def _is_stable(self) -> bool:
        return (
            all(map(_is_complete, self.nodes))
            and all(role(node) == "master" or is_in_sync(node) for node in self.nodes)
            # A node does not list a replica for clients before it knows the replica's offset.
            and all(
                _listed_ports(node) == {other.port for other in self.nodes} for node in self.nodes
            )
        )


def _owners(node: Node) -> list[tuple[int, int, int]]:
    """Return (first slot, last slot, port of the master) of each range, from one node."""
    return sorted(
        (first, last, master[1]) for first, last, master, *_ in call(node, "CLUSTER", "SLOTS")
    )


def _listed_ports(node: Node) -> set[int]:
    """Return the ports of the masters and replicas that one node lists for clients."""
    return {server[1] for _, _, *servers in call(node, "CLUSTER", "SLOTS") for server in servers}


def _describe(node: Node) -> list[list[str]]:
    """Return the fields of CLUSTER NODES for each node, from one node."""
    return [line.split() for line in call(node, "CLUSTER", "NODES").decode().splitlines()]


def _is_complete(node: Node) -> bool:
    facts = call(node, "CLUSTER", "INFO").decode().splitlines()
    return (
        "cluster_state:ok" in facts
        and f"cluster_slots_ok:{SLOTS}" in facts
        and len(_owners(node)) == 3
    )
