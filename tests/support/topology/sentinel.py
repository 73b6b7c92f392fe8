"""A master and a replica that three sentinels monitor."""

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
    """A master, a replica (`nodes`), and three `sentinels` that monitor them."""

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
        credentials = f":{self._password}@" if self._password else ""
        options = f"?sentinel_password={self._sentinel_password}" if self._sentinel_password else ""
        return f"redis+sentinel://{credentials}{hosts}/{MASTER_NAME}{options}"

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
        """Fail over gracefully, as for maintenance, and return the new master."""
        old = self.master
        # Sentinel refuses while a replica is new or an earlier failover has not ended.
        wait_for(
            lambda: call(self.sentinels[0], "SENTINEL", "FAILOVER", MASTER_NAME) == b"OK",
            "a replica that can take over",
        )
        new = self.wait_failover(old)
        # Until the old master becomes a replica, it accepts writes that will be lost.
        wait_for(self._is_stable, "the old master to follow the new one")
        return new

    def _is_stable(self) -> bool:
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
        client_options: dict[str, Any] = {"password": self._password or None}
        common = [*secrets, "--repl-diskless-sync-delay", "0"]
        master = self._launch(*common, **client_options)
        replica = self._launch(*common, "--replicaof", HOST, str(master.port), **client_options)
        wait_for(lambda: is_in_sync(replica), "the replica to synchronise")
        for number in range(3):
            self._launch_sentinel(number, master.port)
        wait_for(
            lambda: all(map(_knows_all, self.sentinels)), "the sentinels to discover each other"
        )

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
        config = folder / "sentinel.conf"  # the sentinel rewrites it with its discoveries
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


def _knows_all(sentinel: Node) -> bool:
    flat = [part.decode() for part in call(sentinel, "SENTINEL", "MASTER", MASTER_NAME)]
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    return (facts["num-other-sentinels"], facts["num-slaves"], facts["flags"]) == (
        "2",
        "1",
        "master",
    )
