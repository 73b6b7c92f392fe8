"""A Valkey that is killed as a machine kills: `kill -9`, and started again at the same port, with its data or without."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import redis
from benchmarks._rig import free_port

from chaos.waiting import wait_until
from pulseboard.embedded.valkey import find_binary
from pulseboard.process import spawn

START_S = 20.0


class Valkey:
    """One Valkey with an append-only file, owned."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "valkey"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def connect(self) -> redis.Redis:
        """Return a client of it."""
        return redis.Redis(port=self.port, protocol=2, socket_timeout=5, socket_connect_timeout=2)

    async def start(self) -> None:
        """Start it, and wait until it has loaded what it has and answers."""
        self._folder.mkdir(exist_ok=True)
        argv = [str(find_binary()), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        argv += ["--appendonly", "yes", "--save", "", "--logfile", "", "--loglevel", "warning"]
        self._process = spawn(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
