"""Where events are kept: one Valkey, or several of which one is master. They die as a machine kills: by `kill -9`."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Protocol, Self

import redis
from benchmarks._rig import free_port
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.topology import Cluster, Node, Sentinel
from tests.support.topology.node import call

from chaos.waiting import wait_until
from pulseboard.embedded.valkey import find_binary
from pulseboard.process import spawn

START_S = 20.0
AHEAD_BYTES, AHEAD_WITHIN_S = 1_000_000, 60.0


class Store(Protocol):
    """What the rig needs of Redis, however many servers that is. It is owned by whoever entered it."""

    @property
    def url(self) -> str:
        """What a service or a server gets as REDIS_URL."""

    @property
    def plain_url(self) -> str:
        """What a plain publisher gets, whose client knows of no cluster."""

    def connect(self) -> redis.Redis:
        """Return a client of the one that holds the feed at the moment."""


class Valkey:
    """One Valkey with an append-only file, started again at the same port, with its data or without."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "valkey"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    plain_url = url

    def connect(self) -> redis.Redis:
        """Return a client of it."""
        return client_of(self.port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.kill()

    async def start(self, *, skew_s: float = 0.0) -> None:
        """Start it, its clock ahead by `skew_s`, and wait until it has loaded what it has and answers."""
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
        env = {**os.environ, **_wrong_clock(skew_s)} if skew_s else None
        self._process = spawn(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if not await wait_until(self._answers, START_S):
            raise TimeoutError("the Valkey did not start")

    def kill(self, *, forget: bool = False) -> None:
        """Kill it with SIGKILL; with `forget` its files go too, as where there is no persistence."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if forget:
            shutil.rmtree(self._folder)

    async def _answers(self) -> bool:
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


class Replicas:
    """A master with replicas, of which one takes over when it dies: watched by sentinels, or in a cluster."""

    def __init__(self, topology: Sentinel | Cluster) -> None:
        self._topology = topology
        self.url = topology.url
        if isinstance(topology, Cluster):
            stays = next(node for node in topology.masters if node is not topology.master)
            self.plain_url = f"redis://127.0.0.1:{stays.port}"
        else:
            self.plain_url = topology.url

    def connect(self) -> redis.Redis:
        """Return a client of the master."""
        return client_of(self._topology.master.port)

    async def kill_master(self) -> Node:
        """Kill the master, and return it once another has taken over."""
        node = self._topology.kill_master()
        await asyncio.to_thread(self._topology.wait_failover, node)
        return node

    async def kill_master_ahead(self) -> Node:
        """Kill the master when its replica lacks some of what it took, and return it once that replica has taken over."""
        master, replica = self._topology.master, self._replica()
        replica.freeze()
        try:
            # Not what is in the kernel's buffers, which goes out even after a kill.
            if not await wait_until(lambda: _unsent_bytes(master) > AHEAD_BYTES, AHEAD_WITHIN_S):
                raise TimeoutError("the master never got ahead of its replica")
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
        """Start it again, as the replica that it is by then."""
        await asyncio.to_thread(self._topology.revive, node)


def _wrong_clock(skew_s: float) -> dict[str, str]:
    """Return the environment of a process whose clock is ahead by so much."""
    # Not under `faketime` itself, which stays between us and its child: a kill would not reach that one.
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


def client_of(port: int) -> redis.Redis:
    """Return a client that tries each command once."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(
        port=port, protocol=2, socket_timeout=5, socket_connect_timeout=2, retry=retry
    )
