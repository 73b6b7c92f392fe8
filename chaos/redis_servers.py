"""The Redis of a deployment: one Valkey, or a master with replicas; kills are `kill -9`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Protocol, Self

import redis
from benchmarks._environment import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.topology import Cluster, Node, Sentinel
from tests.support.topology.node import call

from chaos.waiting import wait_until
from pulseboard.embedded.valkey import find_binary
from pulseboard.process import spawn

START_S = 20.0
AHEAD_BYTES, AHEAD_WITHIN_S = 1_000_000, 60.0


class RedisServers(Protocol):
    """One or several Redis servers. The context manager that created them also ends them."""

    @property
    def url(self) -> str:
        """The REDIS_URL of services and servers."""

    @property
    def single_node_url(self) -> str:
        """The URL for the publisher of external messages, whose client has no cluster support."""

    def connect(self) -> redis.Redis:
        """Return a client of the server that has the feed at this moment."""


class SingleValkey:
    """One Valkey with an append-only file. It restarts at the same port, with or without data."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "valkey"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    single_node_url = url

    def connect(self) -> redis.Redis:
        """Return a client of the server."""
        return connect_to(self.port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.kill()

    async def start(self, *, skew_s: float = 0.0) -> None:
        """Start it with a clock that is ahead by `skew_s`; wait until it has loaded its data."""
        self._folder.mkdir(exist_ok=True)
        argv = [
            str(find_binary()),
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            str(self._folder),
        ]
        argv += ["--appendonly", "yes", "--save", "", "--logfile", "", "--loglevel", "warning"]
        env = {**os.environ, **_skewed_clock_environment(skew_s)} if skew_s else None
        self._process = spawn(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not await wait_until(self._responds, START_S):
            raise TimeoutError("Valkey did not start")

    def kill(self, *, delete_data: bool = False) -> None:
        """Kill it with SIGKILL; with `delete_data`, delete its files, as without persistence."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if delete_data:
            shutil.rmtree(self._folder)

    async def _responds(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.transport.abort()


class ReplicatedRedis:
    """A master with replicas, monitored by sentinels or in a cluster: a replica takes over."""

    def __init__(self, topology: Sentinel | Cluster) -> None:
        self._topology = topology
        self.url = topology.url
        if isinstance(topology, Cluster):
            survivor = next(node for node in topology.masters if node is not topology.master)
            self.single_node_url = f"redis://127.0.0.1:{survivor.port}"
        else:
            self.single_node_url = topology.url

    def connect(self) -> redis.Redis:
        """Return a client of the master."""
        return connect_to(self._topology.master.port)

    async def kill_master(self) -> Node:
        """Kill the master, wait for the failover, and return the killed node."""
        node = self._topology.kill_master()
        await asyncio.to_thread(self._topology.wait_failover, node)
        return node

    async def kill_master_ahead(self) -> Node:
        """Kill the master while its replica lacks its last writes; return it after the failover."""
        master, replica = self._topology.master, self._replica()
        replica.freeze()
        try:
            # Bytes in the buffers of the kernel do not count: it sends them even after a kill.
            if not await wait_until(lambda: _unsent_bytes(master) > AHEAD_BYTES, AHEAD_WITHIN_S):
                raise TimeoutError("the master never had more data than its replica")
            master.kill()
        finally:
            replica.thaw()
        await asyncio.to_thread(self._topology.wait_failover, master)
        return master

    def _replica(self) -> Node:
        if isinstance(self._topology, Cluster):
            return self._topology.replica
        return next(node for node in self._topology.nodes if node is not self._topology.master)

    async def revive(self, node: Node) -> None:
        """Start a killed node again; it becomes a replica."""
        await asyncio.to_thread(self._topology.revive, node)


def _skewed_clock_environment(skew_s: float) -> dict[str, str]:
    """Return environment variables that put the clock of a process ahead by `skew_s`."""
    # The process does not run under `faketime` itself, because a kill of that parent process would
    # not end its child.
    preload = subprocess.run(
        ["faketime", "-f", "+0s", "printenv", "LD_PRELOAD"],
        capture_output=True,
        check=True,
        text=True,
    )
    return {
        "LD_PRELOAD": preload.stdout.strip(),
        "FAKETIME": f"{skew_s:+.0f}s",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _unsent_bytes(master: Node) -> int:
    clients: bytes = call(master, "CLIENT", "LIST", "TYPE", "REPLICA")
    return sum(map(int, re.findall(rb" omem=(\d+)", clients)))


def connect_to(port: int) -> redis.Redis:
    """Return a client that tries each command once."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(
        port=port, protocol=2, socket_timeout=5, socket_connect_timeout=2, retry=retry
    )
