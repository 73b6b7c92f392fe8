"""Common parts of topologies with replicas: the master can be killed and a replica takes over."""

from tests.support.topology.node import Node, Topology, call, wait_for


class Replicated(Topology):
    """A master with replicas that take over when it dies.

    `master` asks the servers that decide on a failover.
    """

    @property
    def master(self) -> Node:
        """The current master, according to the servers that decide on a failover."""
        raise NotImplementedError

    def kill_master(self) -> Node:
        """Kill the master and return it; `wait_failover` waits for the next master."""
        node = self.master
        node.kill()
        return node

    def wait_failover(self, old: Node) -> Node:
        """Wait until another server than `old` is master and accepts writes; return it."""

        def find() -> Node | None:
            node = self.master
            if node is old:
                return None
            return node if role(node) == "master" else None

        found: Node = wait_for(find, "the failover")
        return found

    def revive(self, node: Node) -> None:
        """Restart a killed server with its data on disk, and wait until the topology is stable.

        It starts as a master and becomes a replica on order; with Sentinel after about 10 s.
        """
        node.start()
        wait_for(self._is_stable, f"the server at port {node.port} to become a replica")

    def _is_stable(self) -> bool:
        raise NotImplementedError

    def _node_at(self, port: int) -> Node:
        return next(node for node in self.nodes if node.port == port)


def role(node: Node) -> str:
    """Return the role that a server reports: `master` or `slave`."""
    return str(call(node, "ROLE")[0].decode())


def is_in_sync(node: Node) -> bool:
    """Return whether a server is a replica that follows its master."""
    role = call(node, "ROLE")
    return bool(role[0] in (b"slave", b"replica") and role[3] == b"connected")
