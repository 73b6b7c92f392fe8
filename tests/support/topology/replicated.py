"""What arrangements of a master and replicas have in common: the master can be killed, and another takes over."""

from tests.support.topology.node import Node, Topology, call, wait_for


class Replicated(Topology):
    """A master with replicas which take over when it dies. Who is master is asked of those who decide it."""

    @property
    def master(self) -> Node:
        """The server that is master at this moment, in the eyes of those who decide it."""
        raise NotImplementedError

    def kill_master(self) -> Node:
        """Kill the master as a power cut would, and return it. `wait_failover` waits for the next one."""
        node = self.master
        node.kill()
        return node

    def wait_failover(self, old: Node) -> Node:
        """Wait until another server than `old` is master and takes writes; return it."""

        def find() -> Node | None:
            node = self.master
            if node is old:
                return None
            return node if role(node) == "master" else None

        found: Node = wait_for(find, "the failover")
        return found

    def revive(self, node: Node) -> None:
        """Start a killed server again, with the data it left on disk, and wait until all is in order again.

        It comes back as the master that it was, until those who decide tell it better: with Sentinel some 10 s.
        """
        node.start()
        wait_for(self._is_settled, f"the server at port {node.port} to find its place")

    def _is_settled(self) -> bool:
        raise NotImplementedError

    def _node_at(self, port: int) -> Node:
        return next(node for node in self.nodes if node.port == port)


def role(node: Node) -> str:
    """Return what a server takes itself for: `master` or `slave`."""
    return str(call(node, "ROLE")[0].decode())


def is_in_sync(node: Node) -> bool:
    """Say whether a server is a replica that follows its master."""
    role = call(node, "ROLE")
    return bool(role[0] in (b"slave", b"replica") and role[3] == b"connected")
