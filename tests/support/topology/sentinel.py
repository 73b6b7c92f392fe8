"""A master and a replica that three sentinels watch."""

from typing import Any

import redis
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

MASTER_NAME = "pulse"
DOWN_AFTER_MS = 800
FAILOVER_TIMEOUT_MS = 2_000


class Sentinel(Replicated):
    """A master, a replica, and three sentinels that watch them. `nodes` are the first two, `sentinels` the others."""

    def __init__(
        self,
        program: ProgramLocator = valkey_program,
        *,
        password: str = "",
        sentinel_password: str = "",
    ) -> None:
        super().__init__(program)
        self._password = password
        self._sentinel_password = sentinel_password
        self.sentinels: list[Node] = []

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.sentinels)
        who = f":{self._password}@" if self._password else ""
        options = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{who}{hosts}/{MASTER_NAME}{options}"

    @property
    def master(self) -> Node:
        problem: Exception = redis.ConnectionError("no sentinel runs")
        for sentinel in self.sentinels:
            try:
                _, port = call(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
            except (redis.RedisError, OSError) as error:
                problem = error
            else:
                return self._node_at(int(port))
        raise problem

    def fail_over(self) -> Node:
        """Let the sentinels hand over in order, as for maintenance, and return the new master."""
        old = self.master
        # Refused while a replica has just come, or a failover before this one is not over.
        wait_for(
            lambda: call(self.sentinels[0], "SENTINEL", "FAILOVER", MASTER_NAME) == b"OK",
            "a replica to hand to",
        )
        new = self.wait_failover(old)
        # Until the old one is told, it goes on as a master, and loses what it takes.
        wait_for(self._is_settled, "the old master to follow the new one")
        return new

    def _is_settled(self) -> bool:
        master = self.master
        return role(master) == "master" and all(
            is_in_sync(node) for node in self.nodes if node is not master
        )

    def _start(self) -> None:
        secrets = (
            ["--requirepass", self._password, "--masterauth", self._password]
            if self._password
            else []
        )
        known: dict[str, Any] = {"password": self._password or None}
        common = [*secrets, "--repl-diskless-sync-delay", "0"]
        master = self._launch(*common, **known)
        replica = self._launch(*common, "--replicaof", HOST, str(master.port), **known)
        wait_for(lambda: is_in_sync(replica), "the replica to follow")
        for number in range(3):
            self._launch_sentinel(number, master.port)
        wait_for(lambda: all(map(_sees_all, self.sentinels)), "the sentinels to see each other")

    def _launch_sentinel(self, number: int, master_port: int) -> None:
        folder = self._folder / f"sentinel-{number}"
        folder.mkdir()
        port = pick_port()
        lines = [
            f"port {port}",
            f"bind {HOST}",
            f"dir {folder}",
            f"sentinel monitor {MASTER_NAME} {HOST} {master_port} 2",
        ]
        lines += [
            f"sentinel {option} {MASTER_NAME} {value}" for option, value in self._timings().items()
        ]
        if self._password:
            lines.append(f"sentinel auth-pass {MASTER_NAME} {self._password}")
        if self._sentinel_password:
            lines += [
                f"requirepass {self._sentinel_password}",
                f"sentinel sentinel-pass {self._sentinel_password}",
            ]
        config = folder / "sentinel.conf"  # rewritten by the sentinel itself, with what it learns
        config.write_text("\n".join(lines) + "\n", "utf-8")
        options = [str(config), "--sentinel"]
        node = Node(
            self._program(self._folder),
            folder,
            options,
            port=port,
            password=self._sentinel_password or None,
        )
        self.sentinels.append(node)
        node.start()

    @staticmethod
    def _timings() -> dict[str, int]:
        return {
            "down-after-milliseconds": DOWN_AFTER_MS,
            "failover-timeout": FAILOVER_TIMEOUT_MS,
            "parallel-syncs": 1,
        }

    def _close_nodes(self) -> None:
        for node in [*self.sentinels, *self.nodes]:
            node.close()


def _sees_all(sentinel: Node) -> bool:
    flat = [part.decode() for part in call(sentinel, "SENTINEL", "MASTER", MASTER_NAME)]
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    return (facts["num-other-sentinels"], facts["num-slaves"], facts["flags"]) == (
        "2",
        "1",
        "master",
    )
